"""When the sentinel takes the engine for lost, on a clock of the test's own."""

from __future__ import annotations

import pytest

from engine.sentinel_watch import EngineWatch, WatchLimits
from shm.control import Control
from shm.enums import Reason, TradingState, WorkerState

MS = 1_000_000
SECOND = 1_000 * MS
LIMITS = WatchLimits(500 * MS, 5 * SECOND, 10 * SECOND)
GATEWAY = 3
TICK = 20 * MS


class Scene:
    """An engine that beats as it is told."""

    def __init__(self, state: WorkerState = WorkerState.RUNNING) -> None:
        self.control = Control.create(bytearray(Control.bytes_needed() + 8), 1, 1)
        self.now = 100 * SECOND
        self.process = True
        self.slot = self.control.slot(GATEWAY)
        self.slot.state = int(state)
        self.slot.role = "trade"
        self.watch = EngineWatch(self.control, [GATEWAY], LIMITS, lambda _pid: self.process)
        self.beat()
        self.run(1)

    def beat(self) -> None:
        self.slot.heartbeat_ns = self.control.supervisor_heartbeat_ns = self.now

    def run(self, ms: int, *, gateway: bool = False, supervisor: bool = True) -> str:
        """Let time pass, looking every 20 ms; the last cause."""
        end, cause = self.now + ms * MS, ""
        while self.now < end and not cause:
            self.now = min(self.now + TICK, end)
            if gateway:
                self.slot.heartbeat_ns = self.now
            if supervisor:
                self.control.supervisor_heartbeat_ns = self.now
            self.watch.look(self.now)
            cause = self.watch.cause(self.now, supervisor_gone=False)
        return cause


def test_a_gateway_that_beats_is_well() -> None:
    scene = Scene()
    assert scene.run(3_000, gateway=True) == ""
    assert scene.watch.is_well(scene.now)


def test_a_gateway_without_heartbeat_hangs_after_the_limit_and_not_before() -> None:
    scene = Scene()
    assert scene.run(490) == ""
    assert "trade (pid 0) hangs" in scene.run(40)
    assert not scene.watch.is_well(scene.now)


def test_a_gateway_that_died_has_time_to_come_back() -> None:
    scene = Scene()
    scene.process = False  # the supervisor has not reaped it yet
    assert scene.run(700) == ""
    scene.slot.state = int(WorkerState.STARTING)
    assert scene.run(4_000) == ""
    assert not scene.watch.is_well(scene.now)
    scene.slot.state = int(WorkerState.RUNNING)
    assert scene.run(8_000, gateway=True) == ""


@pytest.mark.parametrize("state", [WorkerState.FAILED, WorkerState.STARTING, WorkerState.STOPPED])
def test_a_gateway_that_does_not_come_back_is_given_up(state: WorkerState) -> None:
    scene = Scene()
    scene.slot.state = int(state)
    assert scene.run(4_900) == ""
    assert "not back after 5.0 s" in scene.run(200)


def test_a_dead_gateway_that_no_supervisor_sees_is_given_up_once_that_is_silent() -> None:
    scene = Scene()
    scene.process = False
    assert scene.run(1_900, supervisor=False) == ""
    assert "hangs" in scene.run(400, supervisor=False)


def test_a_gateway_that_never_ran_is_waited_for() -> None:
    scene = Scene(WorkerState.STARTING)
    assert scene.run(20_000) == ""
    assert not scene.watch.has_traded
    assert scene.watch.has_stopped()


def test_a_machine_that_slept_blames_nobody() -> None:
    scene = Scene()
    scene.now += 60 * SECOND
    scene.watch.look(scene.now)
    assert scene.watch.cause(scene.now, supervisor_gone=False) == ""
    assert scene.run(480, supervisor=False) == ""
    assert "hangs" in scene.run(40, supervisor=False)


def test_halted_reducing_and_a_lost_supervisor() -> None:
    scene = Scene()
    scene.control.set_halt(TradingState.REDUCING, Reason.REDUCING)
    assert scene.run(100, gateway=True) == ""
    scene.control.set_halt(TradingState.HALTED, Reason.HALTED)
    assert scene.run(20, gateway=True) == "HALTED (HALTED)"
    assert scene.watch.cause(scene.now, supervisor_gone=True) == "the supervisor is gone"


def test_a_supervisor_that_hangs_is_borne_for_its_limit() -> None:
    scene = Scene()
    assert scene.run(9_900, gateway=True, supervisor=False) == ""
    assert "the supervisor hangs" in scene.run(200, gateway=True, supervisor=False)


def test_an_ordered_stop_is_not_disturbed() -> None:
    scene = Scene()
    scene.control.stopping = 1
    assert scene.run(3_000) == ""
    assert not scene.watch.has_stopped()
    scene.slot.state = int(WorkerState.STOPPED)
    assert scene.watch.has_stopped()
