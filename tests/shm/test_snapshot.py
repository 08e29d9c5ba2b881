"""Seqlocked values in one process; torn reads across processes see tests/stress."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shm.errors import LayoutError
from shm.snapshot import SeqlockArray


def make(count: int = 4, value_bytes: int = 96) -> tuple[SeqlockArray, bytearray]:
    buffer = bytearray(SeqlockArray.bytes_needed(count, value_bytes))
    return SeqlockArray.create(buffer, count, value_bytes), buffer


@given(st.lists(st.tuples(st.integers(0, 3), st.binary(min_size=1, max_size=96)), max_size=30))
def test_load_returns_the_newest_store_zero_filled(stores: list[tuple[int, bytes]]) -> None:
    array, buffer = make()
    reader = SeqlockArray.attach(memoryview(buffer).toreadonly(), 4, 96)
    expected = [bytes(96)] * 4
    for i, value in stores:
        array.store(i, value)
        expected[i] = value.ljust(96, b"\0")
    assert [reader.load(i) for i in range(4)] == expected


def test_a_value_left_half_written_is_busy_until_a_new_writer_repairs_it() -> None:
    array, buffer = make()
    array.store(1, b"whole")
    stride = len(buffer) // 4
    buffer[stride] |= 1  # killed between the odd and the even count
    buffer[stride + 8] = 0xFF
    assert array.load(1) is None
    assert array.load(0) == bytes(96)
    array.store(1, b"new")
    assert array.load(1) == b"new".ljust(96, b"\0")
    assert buffer[stride] % 2 == 0


def test_values_stand_on_their_own_cache_lines() -> None:
    assert SeqlockArray.bytes_needed(3, 56) == 3 * 64
    assert SeqlockArray.bytes_needed(3, 64) == 3 * 128


def test_misuse_is_refused() -> None:
    array, buffer = make()
    for i in (-1, 4):
        with pytest.raises(IndexError):
            array.load(i)
        with pytest.raises(IndexError):
            array.store(i, b"x")
    with pytest.raises(LayoutError, match="97 bytes"):
        array.store(0, bytes(97))
    with pytest.raises(LayoutError, match="read-only"):
        SeqlockArray.attach(bytes(buffer), 4, 96).store(0, b"x")
    with pytest.raises(LayoutError, match="need"):
        SeqlockArray.attach(buffer, 5, 96)
    with pytest.raises(LayoutError, match="multiple of 8"):
        SeqlockArray.bytes_needed(1, 12)
    with pytest.raises(LayoutError, match="read-only"):
        SeqlockArray.create(bytes(buffer), 4, 96)
