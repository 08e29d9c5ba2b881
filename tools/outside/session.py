"""Looks at a run over its whole life: one reader per attachment, the last rows kept after the end."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from engine.run_file import RunNote
from shm.clock import utc_ns
from tools.outside.follow import RunFollower
from tools.outside.rates import Rates
from tools.outside.view import RunView
from tools.outside.workers import Machine, WorkerRow, read_workers

Row = TypeVar("Row")
RowCo = TypeVar("RowCo", covariant=True)
Reader = Callable[[Mapping[int, WorkerRow]], list[Row]]
MakeReader = Callable[[RunView, Rates, RunNote], Reader[Row]]


@dataclass(frozen=True, slots=True)
class RunFacts:
    """The run in one line.

    Attributes:
        supervisor_age_ns: since the supervisor's last sign of life, None = none yet.
        uptime_ns: since the run began, None = not said.
    """

    instance: str
    epoch: int
    generation: int
    trading_state: str
    supervisor_age_ns: int | None
    uptime_ns: int | None
    is_stopping: bool

    def to_json(self) -> dict[str, Any]:
        """The facts as the head of a JSON document."""
        age, up = self.supervisor_age_ns, self.uptime_ns
        return {
            "instance": self.instance,
            "epoch": self.epoch,
            "generation": self.generation,
            "trading_state": self.trading_state,
            "supervisor_heartbeat_age_ms": None if age is None else round(age / 1e6, 1),
            "uptime_s": None if up is None else round(up / 1e9, 3),
            "is_stopping": self.is_stopping,
        }


@dataclass(frozen=True, slots=True)
class RunLook(Generic[RowCo]):
    """One look.

    Attributes:
        facts: of the run that is or was on.
        rows: what was read; after the end the last ones.
        problems: segments that could not be read, one sentence each.
        ended: "" while the run is on.
        at_utc_ns: when.
    """

    facts: RunFacts
    rows: Sequence[RowCo]
    problems: Sequence[str]
    ended: str
    at_utc_ns: int


class Session(Generic[Row]):
    """One verb's looks at one instance.

    Args:
        follower: attaches, and attaches again.
        make_reader: makes the reader of one attachment; all its counters begin anew with it.
        machine: clock and processes.
    """

    def __init__(
        self, follower: RunFollower, make_reader: MakeReader[Row], machine: Machine | None = None
    ) -> None:
        self._follower = follower
        self._make_reader = make_reader
        self._machine = Machine() if machine is None else machine
        self._attached = 0
        self._rates = Rates()
        self._reader: Reader[Row]
        self._last: RunLook[Row] | None = None

    def look(self) -> RunLook[Row]:
        """Take a look; never raises because the engine has gone."""
        view = self._follower.look()
        note = self._follower.note
        if view is None:
            return self._after_the_end(note)
        if self._attached != self._follower.attached:
            self._attached = self._follower.attached
            self._rates = Rates()
            self._reader = self._make_reader(view, self._rates, note)
        view.problems.clear()
        workers = read_workers(view.control, note.heartbeat_ns, self._rates, self._machine)
        rows = self._reader(workers)
        facts = read_facts(view, note, self._machine)
        problems = [view.problems[short] for short in sorted(view.problems)]
        self._last = RunLook(facts, rows, problems, "", utc_ns())
        return self._last

    def _after_the_end(self, note: RunNote) -> RunLook[Row]:
        why = f"the engine {note.instance} (epoch {note.epoch}) has ended"
        if self._last is None:
            facts = RunFacts(note.instance, note.epoch, 0, "HALTED", None, None, is_stopping=True)
            return RunLook(facts, [], [], why, utc_ns())
        return RunLook(self._last.facts, self._last.rows, [], why, utc_ns())

    def close(self) -> None:
        """Let go of the run."""
        self._reader = lambda _workers: []
        self._follower.close()


def read_facts(view: RunView, note: RunNote, machine: Machine) -> RunFacts:
    """The run in one line, from its control segment."""
    control = view.control
    now = machine.now_ns()
    beat, began = control.supervisor_heartbeat_ns, control.run_started_ns
    return RunFacts(
        instance=note.instance,
        epoch=note.epoch,
        generation=control.generation,
        trading_state=control.halt_state()[0].name,
        supervisor_age_ns=max(now - beat, 0) if beat else None,
        uptime_ns=max(now - began, 0) if began else None,
        is_stopping=control.stopping != 0,
    )
