"""When the engine must be taken for lost; pure but for the shared memory it reads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from shm.control import Control, WorkerSlot
from shm.enums import Reason, TradingState, WorkerState

_UP = frozenset({int(WorkerState.RUNNING), int(WorkerState.STALLED), int(WorkerState.DRAINING)})
_STOPPED = int(WorkerState.STOPPED)
#: A supervisor that beats as seldom as this has not yet seen the end of a process.
SEES_NS = 2_000_000_000


@dataclass(frozen=True, slots=True)
class WatchLimits:
    """How old what may be.

    Args:
        stall_ns: a gateway's heartbeat.
        restart_ns: from a gateway's end until its successor runs.
        supervisor_ns: the supervisor's heartbeat.
    """

    stall_ns: int
    restart_ns: int
    supervisor_ns: int


def is_process(pid: int) -> bool:
    """Whether a process exists and is no zombie (proc(5))."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] not in ("Z", "X")


class EngineWatch:
    """Reads heartbeats and the halt word; says why everything must be canceled.

    Args:
        control: of the run.
        gateways: worker slots that send orders.
        limits: ages.
        is_process: whether a pid exists, replaceable in tests.
    """

    def __init__(
        self,
        control: Control,
        gateways: Sequence[int],
        limits: WatchLimits,
        is_process: Callable[[int], bool] = is_process,
    ) -> None:
        self._control = control
        self._slots: list[WorkerSlot] = [control.slot(number) for number in gateways]
        self._limits = limits
        self._is_process = is_process
        self._down_since: dict[int, int] = {}
        self._has_run: set[int] = set()
        self._looked_ns = 0
        self._awake_ns = 0

    def look(self, now_ns: int) -> None:
        """Say that we are awake: a machine that slept has no fresh heartbeat anywhere, and nobody hangs."""
        if self._looked_ns and now_ns - self._looked_ns > self._limits.stall_ns // 2:
            self._awake_ns = now_ns
        self._looked_ns = now_ns

    @property
    def has_traded(self) -> bool:
        """Whether any gateway was ever up in our time."""
        return bool(self._has_run)

    def cause(self, now_ns: int, *, supervisor_gone: bool) -> str:
        """Why everything must be canceled now, "" = it need not be."""
        if supervisor_gone:
            return "the supervisor is gone"
        state, reason = self._control.halt_state()
        if state is TradingState.HALTED:
            return f"HALTED ({Reason(reason).name if reason in _REASONS else reason})"
        beat_ns = self._control.supervisor_heartbeat_ns
        supervisor_age = self._age(beat_ns, now_ns) if beat_ns else 0
        if supervisor_age > self._limits.supervisor_ns:
            return f"the supervisor hangs: no sign of life for {supervisor_age / 1e6:.0f} ms"
        if self._control.stopping:
            return ""  # an ordered stop has its own limits, and we are asked at its end
        for slot in self._slots:
            text = self._gateway(slot, now_ns, supervisor_age)
            if text:
                return text
        return ""

    def _age(self, beat_ns: int, now_ns: int) -> int:
        return now_ns - max(beat_ns, self._awake_ns)

    def _gateway(self, slot: WorkerSlot, now_ns: int, supervisor_age: int) -> str:
        number = slot.slot
        if slot.state in _UP:
            self._has_run.add(number)
            age = self._age(slot.heartbeat_ns, now_ns)
            if age <= self._limits.stall_ns:
                self._down_since.pop(number, None)
                return ""
            if self._is_process(slot.pid) or supervisor_age > SEES_NS:
                return f"{slot.role} (pid {slot.pid}) hangs: no heartbeat for {age / 1e6:.0f} ms"
        elif number not in self._has_run:
            return ""
        since = self._down_since.setdefault(number, now_ns)
        if now_ns - since > self._limits.restart_ns:
            return f"{slot.role} is not back after {(now_ns - since) / 1e9:.1f} s"
        return ""

    def is_well(self, now_ns: int) -> bool:
        """Whether every gateway runs and beats: the venues' timers may be set anew."""
        return all(
            slot.state in _UP and self._age(slot.heartbeat_ns, now_ns) <= self._limits.stall_ns
            for slot in self._slots
        )

    def has_stopped(self) -> bool:
        """Whether every gateway ended in order, or none was ever up."""
        return not self._has_run or all(slot.state == _STOPPED for slot in self._slots)


_REASONS = frozenset(int(reason) for reason in Reason)
