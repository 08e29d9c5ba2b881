"""`ringlane bench`: the shipped benchmarks, each beside its floor or peer in the same run."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

BENCHES = ("decode", "ring")


def bench(
    name: Annotated[str, typer.Argument(help="decode or ring")],
    runs: Annotated[int, typer.Option(help="how often each way is measured; the table shows medians")] = 5,
    json: Annotated[bool, typer.Option("--json", help="print one JSON object")] = False,
    data: Annotated[
        Path | None,
        typer.Option(help="folder of recorded frames (default $RINGLANE_DATA or ../shared/market-data)"),
    ] = None,
) -> None:
    """Measure one part of the engine beside its peer and its floor."""
    if name not in BENCHES:
        raise typer.BadParameter(f"no bench {name!r}; there are: {', '.join(BENCHES)}")
    if runs < 1:
        raise typer.BadParameter("--runs must be at least 1")
    if name == "decode":
        from tools.bench.decode import bench_decode

        folder = data or Path(os.environ.get("RINGLANE_DATA", "../shared/market-data"))
        result = bench_decode(folder if folder.is_dir() else None, runs)
    else:
        from tools.bench.ring import bench_ring

        result = bench_ring(runs)
    if json:
        typer.echo(result.to_json())
    else:
        result.show()
