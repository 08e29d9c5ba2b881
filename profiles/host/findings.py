"""What a check says, and what it is given to look at."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum

from profiles.host.activity import Activity
from profiles.host.measured import Measured
from profiles.host.reader import MIB, Host, Unreadable

NOT_WATCHED = "not watched (--quick)"
NOT_MEASURED = "not measured"


class State(StrEnum):
    """How a check ended."""

    OK = "ok"
    ADVICE = "advice"
    UNFIT = "unfit"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Finding:
    """One fact about the machine, judged.

    Attributes:
        id: stable name, `group.fact`.
        group: what it is about.
        title: the fact in a few words.
        state: the judgment.
        value: what was measured or read.
        why: why it matters, in one sentence.
        fix: what to do: a command, a kernel parameter or a setting of a service unit; empty when nothing.
        weight: how much it can cost a trading engine: 1 much, 2 some, 3 little.
    """

    id: str
    group: str
    title: str
    state: State
    value: str
    why: str
    fix: str = ""
    weight: int = 2


@dataclass(frozen=True, slots=True)
class Needs:
    """What a configuration asks of the machine.

    Attributes:
        pinned: workers that want a core of their own.
        shm_bytes: all segments together.
        memory_bytes: segments and processes together.
        disk_bytes: journals and reports that must fit before the first is given back.
        descriptors: files one process has open at most.
        state_dir: folder of the instances.
        lock_memory: whether the engine is asked to lock its memory.
        huge_required: whether it is asked to refuse a start without huge pages.
        realtime: priority under SCHED_FIFO that it is asked to insist on, 0 = none.
    """

    pinned: int = 2
    shm_bytes: int = 64 * MIB
    memory_bytes: int = 512 * MIB
    disk_bytes: int = 256 * MIB
    descriptors: int = 256
    state_dir: str = "/"
    lock_memory: bool = False
    huge_required: bool = False
    realtime: int = 0


@dataclass(frozen=True, slots=True)
class Subject:
    """Everything a check may look at.

    Attributes:
        host: the reader.
        cores: cores this process may use.
        pinned: those of them that workers would be pinned to.
        needs: of the configuration.
        activity: what happened while the machine was watched, None when it was not.
        measured: figures of the measuring loops; empty when they did not run.
    """

    host: Host
    cores: tuple[int, ...]
    pinned: tuple[int, ...]
    needs: Needs = Needs()
    activity: Activity | None = None
    measured: Measured = field(default_factory=Measured)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a check found: state, value and what to do."""

    state: State
    value: str
    fix: str = ""


def ok(value: str) -> Outcome:
    """As it should be."""
    return Outcome(State.OK, value)


def advice(value: str, fix: str) -> Outcome:
    """Usable, but better with the fix."""
    return Outcome(State.ADVICE, value, fix)


def unfit(value: str, fix: str) -> Outcome:
    """Not usable for trading until the fix is made."""
    return Outcome(State.UNFIT, value, fix)


def unknown(reason: str) -> Outcome:
    """Can not be told, and why."""
    return Outcome(State.UNKNOWN, reason)


@dataclass(frozen=True, slots=True)
class Check:
    """A named question about the machine; calling it answers."""

    id: str
    title: str
    why: str
    weight: int
    look: Callable[[Subject], Outcome]

    def __call__(self, subject: Subject) -> Finding:
        """Look, and judge; a fact that can not be read is *unknown*, never an error."""
        try:
            found = self.look(subject)
        except Unreadable as error:
            found = unknown(str(error))
        group = self.id.partition(".")[0]
        return Finding(self.id, group, self.title, found.state, found.value, self.why, found.fix, self.weight)


def check(
    id: str,  # noqa: A002 - the word of the JSON object
    title: str,
    why: str,
    weight: int = 2,
) -> Callable[[Callable[[Subject], Outcome]], Check]:
    """Make a check of a pure function over a `Subject`."""
    return lambda look: Check(id, title, why, weight, look)
