"""Changes of the trading state: each audited (who, when, from where, why), lowered in two steps only.

The word itself is in the control segment and changes first: an audit that can not be written (a full disk)
keeps nobody from halting. It is written before a clear: a clear that can not be audited is refused.
"""

from __future__ import annotations

import os
import pwd
import socket
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import orjson

from engine.errors import ControlError
from risk.halt import HaltEvent, step
from shm.audit import AUDIT_NAME, AuditEntry, append, read
from shm.control import Control
from shm.enums import Reason, TradingState
from shm.errors import AuditError

ARMED_NAME: Final = "halt.armed"


def who() -> dict[str, Any]:
    """Who changes something, and from where: user, process, program, host, terminal, ssh peer."""
    uid = os.getuid()
    try:
        user = pwd.getpwuid(uid).pw_name
    except KeyError:
        user = str(uid)
    found: dict[str, Any] = {
        "user": user,
        "pid": os.getpid(),
        "program": Path(sys.argv[0]).name,
        "host": socket.gethostname(),
    }
    with suppress(OSError):
        found["terminal"] = os.ttyname(0)
    for name, key in (("SUDO_USER", "sudo_user"), ("SSH_CONNECTION", "ssh")):
        if os.environ.get(name):
            found[key] = os.environ[name]
    return found


def audit_path(state_dir: str | Path) -> Path:
    """Where an instance's audit is."""
    return Path(state_dir) / AUDIT_NAME


def note(state_dir: str | Path, event: str, by: str, why: str, **facts: Any) -> AuditEntry:
    """Audit one event.

    Args:
        state_dir: of the instance.
        event: what happened: halt, reduce, arm, clear, withdrawn, restored.
        by: operator, supervisor or sentinel.
        why: in words.
        facts: more, as JSON values.

    Raises:
        OSError, AuditError: it can not be written.
    """
    return append(audit_path(state_dir), {"event": event, "by": by, "why": why, **who(), **facts})


def raise_state(
    control: Control, state_dir: str | Path, state: TradingState, reason: Reason, by: str, why: str
) -> bool:
    """Raise the trading state and audit it; returns whether it changed.

    The same state again counts as a new request: it undoes the first step of a clear, and everything is
    canceled once more, what was placed by hand since then included.

    Raises:
        OSError, AuditError: it is raised, and could not be audited.
    """
    before = control.halt_state()[0]
    changed: bool = control.set_halt(state, reason, again=True)
    event = "halt" if state is TradingState.HALTED else "reduce"
    facts = {"from": before.name, "to": control.halt_state()[0].name, "count": control.halt_count}
    note(state_dir, event, by, why, epoch=control.epoch, changed=changed, reason=reason.name, **facts)
    _disarm(state_dir)
    return changed


@dataclass(frozen=True, slots=True)
class Armed:
    """The first step of a clear: of which run and which halt."""

    epoch: int
    count: int


def read_armed(state_dir: str | Path) -> Armed | None:
    """What is armed, or None."""
    try:
        data = orjson.loads((Path(state_dir) / ARMED_NAME).read_bytes())
        return Armed(int(data["epoch"]), int(data["count"]))
    except (OSError, orjson.JSONDecodeError, KeyError, TypeError, ValueError):
        return None


def _disarm(state_dir: str | Path) -> None:
    with suppress(FileNotFoundError):
        (Path(state_dir) / ARMED_NAME).unlink()


def _is_armed(control: Control, state_dir: str | Path) -> bool:
    return read_armed(state_dir) == Armed(control.epoch, control.halt_count)


def arm(control: Control, state_dir: str | Path, why: str) -> TradingState:
    """The first step of a clear; a newer halt undoes it.

    Raises:
        ControlError: there is nothing to clear.
        OSError, AuditError: it can not be audited; nothing changed.
    """
    state, _ = control.halt_state()
    done = step(state, _is_armed(control, state_dir), HaltEvent.ARM)
    if not done.obeyed:
        raise ControlError(f"trading state is {state.name}: there is nothing to clear")
    armed = Armed(control.epoch, control.halt_count)
    note(state_dir, "arm", "operator", why, state=state.name, epoch=armed.epoch, count=armed.count)
    path = Path(state_dir) / ARMED_NAME
    path.write_bytes(orjson.dumps({"epoch": armed.epoch, "count": armed.count}))
    path.chmod(0o600)
    return state


def clear(control: Control, state_dir: str | Path, why: str) -> TradingState:
    """The second step: back to ACTIVE, if nobody halted since the first; returns the state it was in.

    Raises:
        ControlError: it is not armed, or a halt came in between.
        OSError, AuditError: it can not be audited; nothing changed.
    """
    state, _ = control.halt_state()
    count = control.halt_count
    armed = _is_armed(control, state_dir)
    if not step(state, armed, HaltEvent.CLEAR).obeyed:
        if state is TradingState.ACTIVE:
            raise ControlError("trading state is ACTIVE: there is nothing to clear")
        raise ControlError(f"trading state is {state.name} and not armed since: `resume --arm` comes first")
    facts = {"from": state.name, "to": TradingState.ACTIVE.name, "epoch": control.epoch}
    note(state_dir, "clear", "operator", why, count=count, **facts)
    _disarm(state_dir)
    if not control.clear_halt(count):
        note(state_dir, "clear refused", "operator", "a halt came in between", count=control.halt_count)
        raise ControlError("a halt came in between: nothing was cleared")
    return state


def last_state(state_dir: str | Path) -> tuple[TradingState, Mapping[str, Any]]:
    """The trading state the audit ends with, and the entry that says so.

    Raises:
        AuditError, OSError: it can not be read or is not what was written.
    """
    state, facts = TradingState.ACTIVE, {}
    for entry in read(audit_path(state_dir)):
        if "to" in entry.facts:
            state, facts = TradingState[str(entry.facts["to"])], dict(entry.facts)
        elif entry.facts.get("event") == "clear refused":
            state = TradingState.HALTED
    return state, facts


def restore(control: Control, state_dir: str | Path) -> str:
    """Begin a run in the state the last one left; returns what was done, "" for nothing.

    An audit that is not what was written counts as a halt: nobody knows.
    """
    try:
        state, facts = last_state(state_dir)
        why = f"the last run ended {state.name}: {facts.get('why', '')}"
    except (AuditError, OSError, KeyError) as error:
        state, why = TradingState.HALTED, f"the audit can not be read: {error}"
    if state is TradingState.ACTIVE:
        return ""
    control.set_halt(state, Reason.HALTED)
    with suppress(AuditError, OSError):
        note(state_dir, "restored", "supervisor", why, to=state.name, epoch=control.epoch)
    return f"trading begins {state.name}: {why}"
