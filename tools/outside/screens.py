"""What the verbs of the outside screens do alike: a table of rows, and a session on the screen."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from rich.console import RenderableType

from tools.live import Options, Show, Window, run_show
from tools.outside import draw
from tools.outside.draw import Cell, Column
from tools.outside.session import RunLook, Session

Row = TypeVar("Row")
Look = Callable[[], RunLook[Row]]


def table_show(
    look: Look[Row],
    options: Options,
    columns: tuple[Column, ...],
    *,
    key: str,
    noun: str,
    ordered: Callable[[list[Row]], list[Row]],
    lines_of: Callable[[Row], list[list[Cell]]],
    json_of: Callable[[Row], dict[str, Any]],
) -> Show[RunLook[Row]]:
    """A table in which a row may have several lines.

    Args:
        look: takes a look.
        options: of the screen.
        columns: of the table.
        key: of the rows in a JSON document.
        noun: what the rows are, for the head line.
        ordered: puts the rows in order.
        lines_of: the lines of a row.
        json_of: a row as a JSON object.
    """

    def all_lines(seen: RunLook[Row]) -> list[list[Cell]]:
        return [line for row in ordered(list(seen.rows)) for line in lines_of(row)]

    def picture(seen: RunLook[Row], window: Window) -> RenderableType:
        table = draw.make_table(columns, window.cut(all_lines(seen)), window.width)
        return draw.page(seen, draw.head(seen, f"{len(seen.rows)} {noun}", options.interval_s), table)

    return Show(
        look=look,
        draw=picture,
        head_lines=draw.page_lines,
        row_count=lambda seen: len(all_lines(seen)),
        to_json=lambda seen: {
            **draw.document(seen.facts, seen, options.interval_s),
            key: [json_of(row) for row in ordered(list(seen.rows))],
        },
        ended=lambda seen: seen.ended,
    )


def show_session(
    session: Session[Row], show_of: Callable[[Look[Row]], Show[RunLook[Row]]], options: Options
) -> int:
    """Show a session's looks until told to stop, and let go of the run; returns the exit code."""
    try:
        return run_show(show_of(session.look), options)
    finally:
        session.close()
