"""`ringlane halt`: stop trading now, with the engine running, hung or dead."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Final

import orjson
import typer

from actors.errors import SettingsError
from engine.errors import ControlError, EngineError
from engine.halts import audit_path, note, raise_state
from engine.run_file import RunNote
from exec.errors import ExecError
from shm.audit import read
from shm.clock import now_ns
from shm.control import Control, WorkerSlot
from shm.enums import Reason, TradingState
from shm.errors import AuditError
from tools.attach import ask, open_control
from tools.own_sentinel import SentinelNote, act_ourselves, find_note

ANSWER_S: Final = 1.0
#: A sentinel that has not told what it did by then is not waited for any more.
SENTINEL_S: Final = 15.0
SENTINEL_ROLE: Final = "sentinel"
FRESH_NS: Final = 1_000_000_000
LOOK_S: Final = 0.01


def halt(
    name: Annotated[str | None, typer.Option(help="instance (default: the newest running one)")] = None,
    state: Annotated[Path | None, typer.Option(help="state root the engine was started with")] = None,
    why: Annotated[str, typer.Option(help="for the audit")] = "",
    reduce: Annotated[
        bool, typer.Option("--reduce", help="REDUCING: cancel what could open a position, reduce-only passes")
    ] = False,
    flatten: Annotated[
        bool, typer.Option("--flatten", help="acting ourselves: close positions, too")
    ] = False,
    unless_well: Annotated[
        bool,
        typer.Option(
            "--unless-stopped", help="do nothing if the last run was stopped in order (for ExecStopPost)"
        ),
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="print one JSON object")] = False,
) -> None:
    """Stop trading: nothing new leaves, and whatever rests at the venues is canceled.

    The word is written to shared memory, which every gate reads. Then the sentinel cancels everything; where
    there is none that answers, this command does it, with the keys named in the configuration, from its own
    environment. `ringlane resume` clears a halt in two steps.
    """
    if reduce and flatten:
        raise typer.BadParameter("--flatten belongs to a halt, not to --reduce")
    if unless_well and os.environ.get("SERVICE_RESULT", "") == "success":
        return
    run, found = find_note(name, state)
    state_dir = Path(run.state_dir) if run is not None else found.state_dir
    reason = why or "ringlane halt"
    answer: dict[str, Any] = {"instance": found.instance, "trading_state": None, "supervisor_answers": False}
    wanted = TradingState.REDUCING if reduce else TradingState.HALTED
    sentinel_acted = None
    if run is not None:
        sentinel_acted = _by_engine(run, state_dir, wanted, reason, answer)
    if not reduce and not sentinel_acted and (found.accounts or run is None):
        answer["acted"] = _ourselves(found, state_dir, flatten=flatten, why=reason)
        answer["by"] = "this command"
    elif sentinel_acted:
        answer |= {"acted": sentinel_acted, "by": "the sentinel"}
    _print(answer, as_json=json, asked=not reduce)
    if any(not row["nothing_rests"] and not row.get("is_gone") for row in answer.get("acted", [])):
        raise EngineError("orders may still rest: see above, and look at the venue")


def _by_engine(
    run: RunNote, state_dir: Path, wanted: TradingState, why: str, answer: dict[str, Any]
) -> list[dict[str, Any]] | None:
    """Write the word; what the sentinel did, None if there is none that beats or has something to do."""
    control, segment = open_control(run, writable=True)
    try:
        raise_state(control, state_dir, wanted, Reason.HALTED, "operator", why)
    except (OSError, AuditError) as error:
        typer.echo(f"halted, but not audited: {error}", err=True)
    answer["trading_state"] = control.halt_state()[0].name
    sentinel = _sentinel(control)
    is_there = sentinel is not None and now_ns() - sentinel.heartbeat_ns < FRESH_NS
    acted = None
    if is_there and wanted is TradingState.HALTED:
        mark = control.epoch, control.halt_count
        acted = _wait(lambda: _withdrawal(state_dir, *mark), SENTINEL_S)
    if wanted is TradingState.HALTED:
        try:
            ask(run, "halt", ANSWER_S)
            answer["supervisor_answers"] = True
        except ControlError:
            answer["supervisor_answers"] = False
    del control, sentinel
    segment.close()
    return acted


def _sentinel(control: Control) -> WorkerSlot | None:
    slots = (control.slot(number) for number in range(64))
    return next((slot for slot in slots if slot.role == SENTINEL_ROLE), None)


def _withdrawal(state_dir: Path, epoch: int, count: int) -> list[dict[str, Any]] | None:
    """What was done about a halt, by the audit."""
    try:
        entries = [entry.facts for entry in read(audit_path(state_dir))]
    except (AuditError, OSError):
        return None
    found = [
        e for e in entries if e["event"] == "withdrawn" and (e.get("epoch"), e.get("count")) == (epoch, count)
    ]
    return list(found[-1]["accounts"]) if found else None


def _wait(look: Callable[[], Any], limit_s: float) -> Any:
    give_up = time.monotonic() + limit_s
    while True:
        found = look()
        if found is not None or time.monotonic() > give_up:
            return found
        time.sleep(LOOK_S)


def _ourselves(found: SentinelNote, state_dir: Path, *, flatten: bool, why: str) -> list[dict[str, Any]]:
    try:
        outcomes = asyncio.run(act_ourselves(found, flatten=flatten))
    except (ExecError, SettingsError) as error:
        raise EngineError(f"no sentinel answers, and acting ourselves fails: {error}") from error
    rows = [outcome.facts() for outcome in outcomes]
    try:
        note(state_dir, "withdrawn", "operator", why, accounts=rows)
    except (OSError, AuditError) as error:
        typer.echo(f"withdrawn, but not audited: {error}", err=True)
    return rows


def _print(answer: dict[str, Any], *, as_json: bool, asked: bool = True) -> None:
    if as_json:
        typer.echo(orjson.dumps(answer).decode())
        return
    state = answer["trading_state"]
    silent = " (written to shared memory; the supervisor does not answer)"
    tail = "" if answer["supervisor_answers"] or not asked else silent
    if state is None:
        typer.echo(f"{answer['instance']}: no engine runs")
    else:
        typer.echo(f"{answer['instance']}: trading state {state}{tail if state == 'HALTED' else ''}")
    for row in answer.get("acted", []):
        if row.get("is_gone"):
            typer.echo(f"{row['account']}: a simulated venue, which ended with its engine")
            continue
        rest = "nothing rests"
        if not row["nothing_rests"]:
            rest = f"ORDERS MAY REST: {row.get('error', 'no answer')}"
        closed = f", closed {', '.join(row['closed'])}" if row.get("closed") else ""
        typer.echo(
            f"{row['account']}: {rest} ({row['orders']} orders, {row['foreign']} not ours, "
            f"{row['took_ms']} ms, by {answer['by']}){closed}"
        )
