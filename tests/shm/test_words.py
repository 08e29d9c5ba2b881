"""Single words: the number that was stored, at the place that was named, or a refusal."""

from __future__ import annotations

import mmap

import pytest

from shm.errors import LayoutError
from shm.words import load_acquire, load_relaxed, store_relaxed, store_release


def test_a_word_comes_back_and_its_neighbors_stay() -> None:
    payload = bytearray(b"\xee" * 24)
    store_release(payload, 8, 2**64 - 1)
    assert load_acquire(payload, 8) == load_relaxed(memoryview(payload).toreadonly(), 8) == 2**64 - 1
    store_relaxed(payload, 8, 5)
    assert payload == b"\xee" * 8 + (5).to_bytes(8, "little") + b"\xee" * 8


@pytest.mark.parametrize("offset", [-8, 20, 24, 10**9])
def test_a_word_outside_the_payload_is_refused(offset: int) -> None:
    with pytest.raises(LayoutError):
        load_acquire(bytes(24), offset)
    with pytest.raises(LayoutError):
        store_release(bytearray(24), offset, 1)


def test_an_unaligned_word_is_refused() -> None:
    with pytest.raises(LayoutError, match="aligned"):
        load_acquire(mmap.mmap(-1, 4096), 4)


def test_a_number_beyond_64_bits_is_refused() -> None:
    payload = bytearray(8)
    with pytest.raises(OverflowError):
        store_release(payload, 0, 2**64)
    assert payload == bytes(8)
