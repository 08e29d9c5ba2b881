"""A doctor's report for people: what is wrong first, then what was measured, then the proposal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from profiles.host.findings import Finding, State
from profiles.host.measured import Hiccups, Timing, time_text
from profiles.host.reader import format_list
from tools.doctor_report import DoctorReport

COLORS = {State.UNFIT: "red", State.ADVICE: "yellow", State.UNKNOWN: "dim", State.OK: "green"}
VERDICT_TEXT = {"fit": "[green]fit[/]", "usable": "[yellow]usable, with advice[/]", "unfit": "[red]unfit[/]"}
LIMITS_SHOWN = 3


def show(report: DoctorReport, console: Console, *, everything: bool = False) -> None:
    """Print a report.

    Args:
        report: what to show.
        console: where to.
        everything: also the checks that found nothing.
    """
    _grid(console, _head(report))
    bad = [f for f in report.findings if f.state in (State.UNFIT, State.ADVICE)]
    fine = [f for f in report.findings if f.state is State.OK]
    rows = [_finding(f) for f in bad] + _unknown(report.findings)
    if everything:
        rows += [_finding(f) for f in fine]
    elif fine:
        rows.append(("[green]ok[/]", f"[dim]{len(fine)} more checks (--all shows them)[/]"))
    console.print()
    _grid(console, rows)
    if report.measured.hiccups:
        _hiccups(report.measured.hiccups, console)
    if report.measured.timings:
        _timings(report.measured.timings, console)
    costs = _costs(report)
    if costs:
        console.print()
        _grid(console, [("costs", ", ".join(costs))])
    console.print()
    _grid(console, _proposal(report))


Row = tuple[str, str]


def _grid(console: Console, rows: Sequence[Row]) -> None:
    """Two columns, of which the second wraps beside the first."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    for row in rows:
        grid.add_row(*row)
    console.print(grid, highlight=False)


def _head(report: DoctorReport) -> list[Row]:
    counts = {state: sum(f.state is state for f in report.findings) for state in State}
    machine = report.machine
    cores = format_list(report.cores)
    found = (
        f"{counts[State.UNFIT]} unfit, {counts[State.ADVICE]} advice, {counts[State.OK]} ok, "
        f"{counts[State.UNKNOWN]} not known"
    )
    rows = [
        (
            "[bold]ringlane doctor[/]",
            f"{machine['cpu']}, cores {cores}, Linux {machine['kernel']}, for {escape(report.configuration)}",
        ),
        ("verdict", f"{VERDICT_TEXT[report.verdict]}: {found}"),
    ]
    reached = report.latency_class
    if reached.use:
        rows.append(("latency class", f"[bold]{reached.name}[/], for {reached.use}: {reached.promise}"))
    else:
        rows.append(("latency class", "not measured"))
    for i, miss in enumerate(reached.limited_by[:LIMITS_SHOWN]):
        rows.append(("" if i else "  limited by", miss))
    if reached.without_pm_qos not in ("", reached.name):
        rows.append(("", f"without PM QoS only {reached.without_pm_qos}"))
    if report.engines:
        names = ", ".join(report.engines)
        rows.append(("[dim]engine[/]", f"[dim]{names} runs: the cores were watched, not measured[/]"))
    return rows


def _finding(finding: Finding) -> Row:
    text = f"[bold]{escape(finding.title)}[/]: {escape(finding.value)}"
    if finding.fix:
        text += f"\n[dim]{escape(finding.why)}[/]\n→ {escape(finding.fix)}"
    return f"[{COLORS[finding.state]}]{finding.state.value}[/]", text


def _unknown(findings: Sequence[Finding]) -> list[Row]:
    """What is not known, by the reason."""
    by_reason: dict[str, list[str]] = {}
    for finding in findings:
        if finding.state is State.UNKNOWN:
            by_reason.setdefault(finding.value, []).append(finding.title)
    return [
        ("[dim]unknown[/]", f"[dim]{escape(', '.join(titles))}: {escape(reason)}[/]")
        for reason, titles in by_reason.items()
    ]


def _table(console: Console, title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    table = Table(box=None, header_style="dim", pad_edge=False)
    table.add_column(title, no_wrap=True)
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    console.print()
    console.print(table)


def _hiccups(rows: Sequence[Hiccups], console: Console) -> None:
    columns = ("p50", "p99", "p99.9", "longest", "> 10 µs", "> 100 µs", "> 1 ms", "lost", "to others")
    _table(
        console,
        f"a message waits for its core ({rows[0].measured_s:.3g} s)",
        columns,
        [
            (
                f"core {h.core}",
                *(time_text(v) for v in (h.delay_ns_p50, h.delay_ns_p99, h.delay_ns_p99_9, h.gap_ns_max)),
                *(f"{n:,}" for n in (h.over_10us, h.over_100us, h.over_1ms)),
                f"{h.lost * 100:.2f} %",
                f"{h.waited * 100:.2f} %",
            )
            for h in rows
        ],
    )


def _timings(rows: Sequence[Timing], console: Console) -> None:
    names = {"wake": "doorbell", "wake unpinned": "doorbell", "timer": "sleep ends late"}
    _table(
        console,
        "a sleeper wakes",
        ("p50", "p99", "p99.9", "longest"),
        [
            (
                f"{names[t.what]}: {t.setting}",
                *(time_text(v) for v in (t.ns_p50, t.ns_p99, t.ns_p99_9, t.ns_max)),
            )
            for t in rows
        ],
    )


def _costs(report: DoctorReport) -> list[str]:
    parts = []
    measured = report.measured
    if measured.clock_ns is not None:
        parts.append(f"clock read {measured.clock_ns:.0f} ns")
    if measured.syscall_ns is not None:
        parts.append(f"system call {measured.syscall_ns:.0f} ns")
    parts += [
        f"cache line core {p.cores[0]} ↔ {p.cores[1]} {time_text(p.round_trip_ns)}" for p in measured.pairs
    ]
    if measured.fsync_ns_max is not None:
        parts.append(f"fsync at worst {time_text(measured.fsync_ns_max)}")
    return parts


def _proposal(report: DoctorReport) -> list[Row]:
    proposal = report.proposal
    rows = [("placement", escape(reason)) for reason in proposal.reasons[:1]]
    rows += [("", escape(reason)) for reason in proposal.reasons[1:]]
    rows.append(("start with", escape(proposal.command)))
    if proposal.unit:
        rows.append(("in the unit", escape(proposal.unit)))
    rows.append(("configuration", escape(proposal.toml.rstrip())))
    return rows
