"""`ringlane bench`: the shipped benchmarks, each beside its floor or peer in the same run."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from tools.bench.common import BenchResult
from tools.terminal import make_console

BENCHES = ("decode", "feed", "memory", "ring", "sharing")


def bench(
    name: Annotated[str, typer.Argument(help=" or ".join((", ".join(BENCHES[:-1]), BENCHES[-1])))],
    runs: Annotated[int, typer.Option(help="how often each way is measured; the table shows medians")] = 5,
    json: Annotated[bool, typer.Option("--json", help="print one JSON object")] = False,
    data: Annotated[
        Path | None,
        typer.Option(
            help="decode, feed: folder of recorded frames (default $RINGLANE_DATA or ../shared/market-data)"
        ),
    ] = None,
    peers: Annotated[
        bool, typer.Option("--peers", help="decode, ring: measure the peers that are installed too")
    ] = False,
    venue: Annotated[
        list[str] | None,
        typer.Option(help="decode, feed: this venue only, or all of this family; may be repeated"),
    ] = None,
    only: Annotated[
        str,
        typer.Option(
            help="ring: measure these contenders only (names with commas between)", metavar="NAME,…"
        ),
    ] = "",
    no_pm_qos: Annotated[
        bool,
        typer.Option(
            "--no-pm-qos", help="memory, ring, sharing: leave the idle states of the cores as they are"
        ),
    ] = False,
) -> None:
    """Measure one part of the engine beside its peer and its floor."""
    if name not in BENCHES:
        raise typer.BadParameter(f"no bench {name!r}; there are: {', '.join(BENCHES)}")
    if runs < 1:
        raise typer.BadParameter("--runs must be at least 1")
    if only and name != "ring":
        raise typer.BadParameter("--only belongs to bench ring")
    if peers and name not in ("decode", "ring"):
        raise typer.BadParameter("--peers belongs to bench decode and bench ring")
    if venue and name not in ("decode", "feed"):
        raise typer.BadParameter("--venue belongs to bench decode and bench feed")
    result: BenchResult
    if name == "decode":
        result = run_decode(data, runs, peers=peers, venues=venue or ())
    elif name == "feed":
        result = run_feed(data, runs, venues=venue or ())
    elif name == "memory":
        from tools.bench.memory import bench_memory

        result = bench_memory(runs, hold_pm_qos=not no_pm_qos)
    elif name == "ring":
        result = run_ring(runs, peers=peers, only=only, hold_pm_qos=not no_pm_qos)
    else:
        from tools.bench.sharing import bench_sharing

        result = bench_sharing(runs, hold_pm_qos=not no_pm_qos)
    if json:
        typer.echo(result.to_json())
    else:
        result.show()


def recordings(folder: Path | None) -> Path | None:
    """The folder of recorded frames, None if there is none."""
    folder = folder or Path(os.environ.get("RINGLANE_DATA", "../shared/market-data"))
    return folder if folder.is_dir() else None


def run_decode(folder: Path | None, runs: int, *, peers: bool, venues: Sequence[str]) -> BenchResult:
    """The decode bench, with a line per way on a terminal."""
    from feeds.errors import VenueError
    from tools.bench.decode.runner import bench_decode

    console = make_console(stderr=True)
    try:
        with console.status("reading") as status:
            return bench_decode(
                recordings(folder), runs, with_peers=peers, venues=venues, progress=status.update
            )
    except VenueError as error:
        raise typer.BadParameter(str(error)) from error


def run_feed(folder: Path | None, runs: int, *, venues: Sequence[str]) -> BenchResult:
    """The feed bench, with a line per step on a terminal."""
    from feeds.errors import VenueError
    from tools.bench.feed import bench_feed

    console = make_console(stderr=True)
    try:
        with console.status("reading") as status:
            return bench_feed(recordings(folder), runs, venues=venues, progress=status.update)
    except VenueError as error:
        raise typer.BadParameter(str(error)) from error


def run_ring(runs: int, *, peers: bool, only: str, hold_pm_qos: bool) -> BenchResult:
    """The ring bench, with a line per trial on a terminal."""
    from tools.bench.ring.runner import bench_ring, contender_names

    names = [name.strip() for name in only.split(",") if name.strip()]
    unknown = [name for name in names if name not in contender_names()]
    if unknown:
        raise typer.BadParameter(f"no contender {unknown[0]!r}; there are: {', '.join(contender_names())}")
    console = make_console(stderr=True)
    with console.status("starting") as status:
        return bench_ring(runs, peers=peers, only=names, hold_pm_qos=hold_pm_qos, progress=status.update)
