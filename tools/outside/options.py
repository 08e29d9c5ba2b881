"""The options that the outside screens share, and how their sessions begin."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypeVar

import typer

from tools.attach import find_run
from tools.live import INTERVAL_MIN_S, Options
from tools.outside.follow import RunFollower
from tools.outside.session import MakeReader, Session

Row = TypeVar("Row")

Name = Annotated[str | None, typer.Option(help="instance (default: the newest running one)")]
State = Annotated[Path | None, typer.Option(help="state root the engine was started with")]
Once = Annotated[bool, typer.Option("--once", help="print one picture and end, also on a terminal")]
Interval = Annotated[
    float, typer.Option(min=INTERVAL_MIN_S, help="seconds between two looks; rates are over this time")
]
Count = Annotated[
    int | None, typer.Option(min=0, help="print that many pictures or JSON lines, 0 = without end")
]


def make_options(once: bool, interval: float, json: bool, count: int | None) -> Options:
    """The options of a screen.

    Raises:
        typer.BadParameter: they contradict each other.
    """
    if once and count not in (None, 1):
        raise typer.BadParameter("--once and --count can not both be given")
    return Options(interval, once, json, count)


def begin(name: str | None, state: Path | None, make_reader: MakeReader[Row]) -> Session[Row]:
    """Find the run and attach to it.

    Raises:
        ControlError: none runs there.
        SegmentError, LayoutError: its control segment can not be read.
    """
    return Session(RunFollower(find_run(name, state)), make_reader)
