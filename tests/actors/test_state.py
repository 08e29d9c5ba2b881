"""Saved states: newest whole one wins, a torn save leaves the one before."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.errors import StateError
from actors.runtime.state import SLOT_BYTES, StateStore


def make(actors: int = 2) -> tuple[bytearray, StateStore]:
    memory = bytearray(StateStore.bytes_needed(actors))
    return memory, StateStore(memoryview(memory))


def test_fresh_memory_holds_nothing() -> None:
    assert make()[1].load(1, 7) is None


@settings(max_examples=20, deadline=None)
@given(st.lists(st.binary(max_size=200), min_size=1, max_size=8))
def test_the_newest_state_is_loaded(states: list[bytes]) -> None:
    _, store = make()
    for version, state in enumerate(states):
        store.save(1, 7, version, state)
    assert store.load(1, 7) == (len(states) - 1, states[-1])
    assert store.load(0, 7) is None
    assert store.load(1, 8) is None


@pytest.mark.parametrize("keep", [0, 1, 7, 8, 20, 31, 32, 40])
def test_a_save_cut_short_leaves_the_one_before(keep: int) -> None:
    memory, store = make(1)
    store.save(0, 1, 1, b"first" * 10)
    store.save(0, 1, 1, b"second" * 10)
    before = bytes(memory)
    store.save(0, 1, 1, b"third!" * 10)
    # Bytes are written body first, head last: cut the newest slot anywhere.
    memory[keep:SLOT_BYTES] = before[keep:SLOT_BYTES]
    loaded = StateStore(memoryview(memory)).load(0, 1)
    assert loaded is not None
    assert loaded[1] in (b"second" * 10, b"third!" * 10)


def test_too_large_a_state_and_too_high_an_index_are_refused() -> None:
    _, store = make()
    with pytest.raises(StateError, match="65537 bytes"):
        store.save(0, 1, 1, bytes(65537))
    with pytest.raises(StateError, match="index 2"):
        store.save(2, 1, 1, b"")
