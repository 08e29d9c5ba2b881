"""The control segment: the halt latch, fields, slots."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shm.control import Control
from shm.enums import TradingState
from shm.errors import LayoutError
from shm.layout import STRUCTS

SLOT_FIELDS = (
    "heartbeat_ns", "cycles", "generation", "cycle_ns_max",
    "state", "pid", "incarnation", "restarts", "started_ns",
)  # fmt: skip


def make() -> tuple[Control, bytearray]:
    buffer = bytearray(Control.bytes_needed())
    return Control.create(buffer, 7, 1234), buffer


def test_fresh_control_is_active_and_nothing_is_set() -> None:
    control, _buffer = make()
    assert control.halt_state() == (TradingState.ACTIVE, 0)
    assert (control.epoch, control.supervisor_pid, control.generation, control.stopping) == (7, 1234, 0, 0)
    slot = control.slot(63)
    assert [getattr(slot, f) for f in SLOT_FIELDS] == [0] * len(SLOT_FIELDS)
    assert (slot.bell_fd, slot.core, slot.role, slot.is_parked) == (-1, -1, "", False)


@given(st.lists(st.tuples(st.sampled_from([None, *TradingState]), st.integers(0, 2**24 - 1)), max_size=20))
def test_halt_latches_upwards_and_only_clear_brings_it_down(
    steps: list[tuple[TradingState | None, int]],
) -> None:
    control, _ = make()
    state, reason, count = TradingState.ACTIVE, 0, 0
    for wanted, why in steps:
        if wanted is None:
            assert control.clear_halt() == (state > 0)
            if state > 0:
                state, reason, count = TradingState.ACTIVE, 0, count + 1
        else:
            assert control.set_halt(wanted, why) == (wanted > state)
            if wanted > state:
                state, reason, count = wanted, why, count + 1
        assert (control.halt_state(), control.halt_count) == ((state, reason), count)


def test_the_second_step_of_a_clear_does_not_undo_a_newer_halt() -> None:
    control, _ = make()
    control.set_halt(TradingState.REDUCING, 2)
    seen = control.halt_count
    control.set_halt(TradingState.HALTED, 1)
    assert not control.clear_halt(seen)
    assert control.halt_state() == (TradingState.HALTED, 1)
    assert control.clear_halt(control.halt_count)


def test_a_state_asked_for_again_counts_and_undoes_a_clear_under_way_but_lowers_nothing() -> None:
    control, _ = make()
    control.set_halt(TradingState.HALTED, 1)
    seen = control.halt_count
    assert not control.set_halt(TradingState.HALTED, 2, again=True)
    assert (control.halt_count, control.halt_state()) == (seen + 1, (TradingState.HALTED, 2))
    assert not control.clear_halt(seen)
    assert not control.set_halt(TradingState.REDUCING, 3, again=True)
    assert (control.halt_count, control.halt_state()) == (seen + 1, (TradingState.HALTED, 2))


def test_halt_refuses_what_is_no_state_or_reason() -> None:
    control, _ = make()
    with pytest.raises(ValueError, match="9"):
        control.set_halt(9, 0)
    with pytest.raises(ValueError, match="24 bits"):
        control.set_halt(TradingState.HALTED, 2**24)
    assert control.halt_state() == (TradingState.ACTIVE, 0)


def test_every_field_stands_where_the_layout_says() -> None:
    control, buffer = make()
    worker = STRUCTS["shm_worker_slot"]
    base = STRUCTS["shm_control"].offset("workers") + 3 * worker.size_bytes
    slot = control.slot(3)
    for n, field in enumerate((*SLOT_FIELDS, "bell_fd", "core"), 100):
        setattr(slot, field, n)
        at = base + worker.offset(field)
        assert int.from_bytes(buffer[at : at + 8], "little") == n, field
        assert getattr(Control.attach(buffer).slot(3), field) == n
    for n, field in enumerate(("generation", "stopping", "supervisor_heartbeat_ns", "run_started_ns"), 200):
        setattr(control, field, n)
        at = STRUCTS["shm_control"].offset(field)
        assert int.from_bytes(buffer[at : at + 8], "little") == n, field
    slot.role = "order_gateway"
    assert slot.role == "order_gateway"
    slot.role = "x" * 50
    assert slot.role == "x" * 32


def test_read_only_control_reads_and_refuses_writes() -> None:
    control, buffer = make()
    control.set_halt(TradingState.HALTED, 4)
    seen = Control.attach(memoryview(buffer).toreadonly())
    assert seen.halt_state() == (TradingState.HALTED, 4)
    with pytest.raises(LayoutError, match="read-only"):
        seen.generation = 3
    with pytest.raises(LayoutError, match="read-only"):
        seen.slot(1).core = 0
    with pytest.raises(LayoutError, match="read-only"):
        seen.clear_halt()


def test_wrong_places_are_refused() -> None:
    control, _ = make()
    with pytest.raises(ValueError, match="worker slot 64"):
        control.slot(64)
    with pytest.raises(LayoutError, match="needs"):
        Control.attach(bytearray(os.sysconf("SC_PAGE_SIZE")))
