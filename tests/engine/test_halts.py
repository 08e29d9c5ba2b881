"""Changes of the trading state: audited, lowered in two steps, kept over runs if so wished."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.errors import ControlError
from engine.halts import arm, audit_path, clear, last_state, note, raise_state, read_armed, restore
from shm.audit import read
from shm.control import Control
from shm.enums import Reason, TradingState

ACTIVE, REDUCING, HALTED = TradingState.ACTIVE, TradingState.REDUCING, TradingState.HALTED


def make_control(epoch: int = 3) -> Control:
    return Control.create(bytearray(Control.bytes_needed() + 8), epoch, 1)


@pytest.fixture
def control() -> Iterator[Control]:
    yield make_control()


def halt(control: Control, folder: Path, state: TradingState = HALTED) -> bool:
    return raise_state(control, folder, state, Reason.HALTED, "operator", "a test")


def events(folder: Path) -> list[str]:
    return [str(entry.facts["event"]) for entry in read(audit_path(folder))]


def test_two_steps_lead_back_to_active_and_each_is_audited_with_who_where_and_why(
    control: Control, tmp_path: Path
) -> None:
    assert halt(control, tmp_path)
    assert arm(control, tmp_path, "looked at it") is HALTED
    assert control.halt_state()[0] is HALTED
    assert clear(control, tmp_path, "all is well") is HALTED
    assert control.halt_state()[0] is ACTIVE
    assert events(tmp_path) == ["halt", "arm", "clear"]
    facts = list(read(audit_path(tmp_path)))[-1].facts
    assert (facts["from"], facts["to"], facts["why"]) == ("HALTED", "ACTIVE", "all is well")
    assert {"user", "pid", "host", "program", "epoch"} <= facts.keys()


@pytest.mark.parametrize("state", [REDUCING, HALTED])
def test_a_clear_without_its_first_step_changes_nothing(
    control: Control, tmp_path: Path, state: TradingState
) -> None:
    halt(control, tmp_path, state)
    with pytest.raises(ControlError, match="arm` comes first"):
        clear(control, tmp_path, "")
    assert control.halt_state()[0] is state
    assert "clear" not in events(tmp_path)


def test_nothing_to_clear_is_said(control: Control, tmp_path: Path) -> None:
    with pytest.raises(ControlError, match="nothing to clear"):
        arm(control, tmp_path, "")
    with pytest.raises(ControlError, match="nothing to clear"):
        clear(control, tmp_path, "")


def test_a_halt_between_the_steps_undoes_the_first(control: Control, tmp_path: Path) -> None:
    halt(control, tmp_path, REDUCING)
    arm(control, tmp_path, "")
    halt(control, tmp_path)
    with pytest.raises(ControlError, match="arm` comes first"):
        clear(control, tmp_path, "")
    # Even one that changed no word: whoever armed did not know of it.
    arm(control, tmp_path, "")
    assert not halt(control, tmp_path)
    assert read_armed(tmp_path) is None
    with pytest.raises(ControlError, match="arm` comes first"):
        clear(control, tmp_path, "")


def test_an_arm_of_another_run_counts_for_nothing(tmp_path: Path) -> None:
    first, second = make_control(3), make_control(4)
    halt(first, tmp_path)
    arm(first, tmp_path, "")
    second.set_halt(HALTED, Reason.HALTED)
    with pytest.raises(ControlError, match="arm` comes first"):
        clear(second, tmp_path, "")


def test_a_clear_that_can_not_be_audited_is_refused_and_a_halt_is_not(
    control: Control, tmp_path: Path
) -> None:
    halt(control, tmp_path)
    arm(control, tmp_path, "")
    audit_path(tmp_path).unlink()
    audit_path(tmp_path).mkdir()
    with pytest.raises(OSError, match="directory"):
        clear(control, tmp_path, "")
    assert control.halt_state()[0] is HALTED
    fresh = make_control()
    with pytest.raises(OSError, match="directory"):
        halt(fresh, tmp_path)
    assert fresh.halt_state()[0] is HALTED


def test_a_new_run_begins_in_the_state_the_last_one_left(control: Control, tmp_path: Path) -> None:
    assert restore(make_control(4), tmp_path) == ""
    halt(control, tmp_path, REDUCING)
    second = make_control(4)
    assert "REDUCING" in restore(second, tmp_path)
    assert second.halt_state()[0] is REDUCING
    halt(second, tmp_path)
    assert last_state(tmp_path)[0] is HALTED
    arm(second, tmp_path, "")
    clear(second, tmp_path, "")
    third = make_control(5)
    assert restore(third, tmp_path) == ""
    assert third.halt_state()[0] is ACTIVE


def test_an_audit_that_was_changed_counts_as_a_halt(control: Control, tmp_path: Path) -> None:
    halt(control, tmp_path, REDUCING)
    path = audit_path(tmp_path)
    path.write_bytes(path.read_bytes().replace(b"REDUCING", b"ACTIVE"))
    second = make_control(4)
    assert "not what was written" in restore(second, tmp_path)
    assert second.halt_state()[0] is HALTED


@pytest.mark.parametrize("state", [REDUCING, HALTED])
def test_the_same_state_again_is_a_new_request_that_a_clear_under_way_must_not_undo(
    control: Control, tmp_path: Path, state: TradingState, monkeypatch: pytest.MonkeyPatch
) -> None:
    halt(control, tmp_path, state)
    count = control.halt_count
    assert not halt(control, tmp_path, state)  # it did not change,
    assert control.halt_count == count + 1  # but whoever acts on halts acts again
    arm(control, tmp_path, "")
    write = note

    def halted_meanwhile(folder: Path, event: str, *args: Any, **facts: Any) -> Any:
        entry = write(folder, event, *args, **facts)
        if event == "clear":  # behind its look at the first step, before the word is lowered
            control.set_halt(state, 1, again=True)
        return entry

    monkeypatch.setattr("engine.halts.note", halted_meanwhile)
    with pytest.raises(ControlError, match="a halt came in between"):
        clear(control, tmp_path, "")
    assert control.halt_state()[0] is state
