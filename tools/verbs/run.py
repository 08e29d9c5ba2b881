"""`ringlane run`: the engine, from its configuration to its report."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer
import uvloop
from rich.console import Console
from rich.live import Live
from rich.text import Text

from engine.checking import check_config, check_settings, key_warnings
from engine.config import Config, RunConfig, load_config, parse_config
from engine.reporting import Progress
from engine.supervisor import Supervisor
from tools.folders import make_folder
from tools.simulated_check import simulated_mistakes
from tools.terminal import make_console

DEFAULT_CONFIG = Path(__file__).resolve().parent.parent / "default.toml"
REPORT_FILE = "report.json"
LIVE_S = 0.5
PLAIN_S = 5.0


def run(
    config: Annotated[
        Path | None, typer.Argument(help="configuration file (default: the embedded one)")
    ] = None,
    duration: Annotated[float | None, typer.Option(min=0.001, help="stop after that many seconds")] = None,
    report: Annotated[Path | None, typer.Option(help="folder for report.json")] = None,
    state: Annotated[Path | None, typer.Option(help="state root (default: the XDG state home)")] = None,
    json: Annotated[bool, typer.Option("--json", help="print the report as one JSON object")] = False,
) -> None:
    """Run the engine until Ctrl-C, SIGTERM or the end of --duration, then print its report."""
    resolved = with_duration(load(config), duration)
    check_config(resolved, str(config or "embedded default"), simulated_mistakes)
    for text in key_warnings(resolved):
        typer.echo(f"warning: {text}", err=True)
    if report is not None:
        make_folder(report, "--report")

    def write(data: dict[str, Any]) -> str:
        return write_report(data, report or supervisor.instance.state_dir / "report")

    supervisor = Supervisor(resolved, config, state_root=state, report_writer=write, check=check_settings)
    # With --json, standard output belongs to the report alone.
    console = make_console(stderr=json)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        code = runner.run(_run(supervisor, console))
    finish(supervisor, write if report is not None else None, console, as_json=json)
    raise typer.Exit(code)


def load(config: Path | None) -> Config:
    """The configuration of a file, or the embedded one.

    Raises:
        ConfigError: it is refused.
    """
    if config is not None:
        return load_config(config)
    return parse_config(DEFAULT_CONFIG.read_text(), "embedded default", DEFAULT_CONFIG.parent)


def with_duration(config: Config, duration: float | None) -> Config:
    """The configuration with the duration given on the command line."""
    if duration is None:
        return config
    return config.model_copy(update={"run": RunConfig(duration_s=duration, seed=config.run.seed)})


def write_report(data: dict[str, Any], folder: Path) -> str:
    """Store a report whole or not at all; returns its path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / REPORT_FILE
    temporary = path.with_suffix(".new")
    temporary.write_bytes(orjson.dumps(data, option=orjson.OPT_INDENT_2) + b"\n")
    temporary.replace(path)
    return str(path)


async def _run(supervisor: Supervisor, console: Console) -> int:
    showing: list[asyncio.Task[None]] = []

    def on_running() -> None:
        show_header(supervisor, console)
        showing.append(asyncio.ensure_future(show_progress(supervisor, console)))

    try:
        return await supervisor.run(on_running)
    finally:
        for task in showing:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


def show_header(supervisor: Supervisor, console: Console) -> None:
    """Who runs, where, and under which conditions figures are made."""
    facts = supervisor.facts()
    console.print(
        f"[bold]ringlane[/]  instance {facts.instance}, epoch {facts.epoch}\n"
        f"placement  {facts.placement}\nPM QoS     {facts.pm_qos}",
        highlight=False,
    )


def progress_text(progress: Progress, rate: float) -> str:
    """One line of live figures."""
    live = progress.books.get("LIVE", 0)
    net = ", ".join(f"{float(v):+,.2f} {k}" for k, v in progress.net.items()) or "0"
    parts = [
        f"{progress.elapsed_s:6.1f} s",
        f"{progress.updates:>10,} updates",
        f"{rate:>8,.0f}/s",
        f"books {live}/{sum(progress.books.values())} live",
        f"{progress.orders:,} orders",
        f"{progress.fills:,} fills",
        f"net {net}",
    ]
    if progress.trading_state != "ACTIVE":
        parts.append(progress.trading_state)
    if progress.restarts:
        parts.append(f"{progress.restarts} restarts")
    return "  ".join(parts)


async def show_progress(supervisor: Supervisor, console: Console) -> None:
    """Keep one line up to date on a terminal; elsewhere print a plain line every few seconds."""
    step_s = LIVE_S if console.is_terminal else PLAIN_S
    before = supervisor.progress()
    live = Live(console=console, auto_refresh=False, transient=True) if console.is_terminal else None
    if live is not None:
        live.start()
    try:
        while True:
            await asyncio.sleep(step_s)
            now = supervisor.progress()
            passed = now.elapsed_s - before.elapsed_s
            text = progress_text(now, (now.updates - before.updates) / passed if passed > 0 else 0.0)
            before = now
            if live is not None:
                live.update(Text(text, no_wrap=True, overflow="ellipsis"), refresh=True)
            else:
                console.print(text, highlight=False, soft_wrap=True)
    finally:
        if live is not None:
            live.stop()


def finish(
    supervisor: Supervisor, writer: Callable[[dict[str, Any]], str] | None, console: Console, *, as_json: bool
) -> None:
    """Show and store the report of a run that has ended."""
    data = supervisor.report
    if data is None:
        console.print(f"ended before it was up: {supervisor.ended}", highlight=False)
        return
    if as_json:
        sys.stdout.write(orjson.dumps(data).decode() + "\n")
    else:
        from tools.report_view import show

        show(data, console)
    if writer is not None:
        where = writer(data)
        console.print(f"report written to {where}", highlight=False)
