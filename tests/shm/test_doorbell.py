"""The doorbell inside one process; across processes see tests/stress."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from shm.control import Control
from shm.doorbell import BellSet, Parker
from shm.enums import SegmentKind
from shm.errors import LayoutError
from shm.segment import Segment


@pytest.fixture
def payload() -> memoryview:
    segment = Segment.anonymous("control", SegmentKind.CONTROL, Control.bytes_needed())
    Control.create(segment.payload, 1, os.getpid())
    return segment.payload


@pytest.fixture
def bell(payload: memoryview) -> Iterator[int]:
    fd = os.eventfd(0, os.EFD_NONBLOCK)
    Control.attach(payload).slot(2).bell_fd = fd
    yield fd
    os.close(fd)


def test_an_awake_worker_costs_no_write(payload: memoryview, bell: int) -> None:
    BellSet(payload).signal(2)
    with pytest.raises(BlockingIOError):
        os.read(bell, 8)


def test_signal_takes_the_parked_word_and_writes_once(payload: memoryview, bell: int) -> None:
    parker, bells = Parker(payload, 2), BellSet(payload)
    assert parker.fd == bell
    parker.arm()
    assert parker.is_parked
    bells.signal(2)
    bells.signal(2)
    assert (parker.is_parked, parker.clear(), parker.clear()) == (False, 1, 0)


def test_disarm_takes_the_announcement_back(payload: memoryview, bell: int) -> None:
    parker = Parker(payload, 2)
    parker.arm()
    parker.disarm()
    BellSet(payload).signal(2)
    assert parker.clear() == 0


def test_a_full_eventfd_does_not_block_the_publisher(payload: memoryview, bell: int) -> None:
    os.eventfd_write(bell, 2**64 - 2)
    parker, bells = Parker(payload, 2), BellSet(payload)
    parker.arm()
    bells.signal(2)  # EAGAIN inside
    assert parker.clear() == 2**64 - 2


def test_wake_writes_whatever_the_parked_word_says(payload: memoryview, bell: int) -> None:
    BellSet(payload).wake(2)
    assert Parker(payload, 2).clear() == 1


def test_a_worker_without_a_bell_is_signaled_in_silence(payload: memoryview) -> None:
    parker = Parker(payload, 9)
    parker.arm()
    BellSet(payload).signal(9)
    assert not parker.is_parked
    assert parker.clear() == 0


@pytest.mark.parametrize("slot", [-1, 64])
def test_slots_out_of_range_are_refused(payload: memoryview, slot: int) -> None:
    with pytest.raises(ValueError, match="worker slot"):
        Parker(payload, slot)
    with pytest.raises(ValueError, match="worker slot"):
        BellSet(payload).signal(slot)


def test_a_control_segment_that_can_not_be_one_is_refused(payload: memoryview) -> None:
    with pytest.raises(LayoutError, match="writable"):
        BellSet(payload.toreadonly())
    with pytest.raises(LayoutError, match="needs"):
        Parker(payload[:1000], 1)
