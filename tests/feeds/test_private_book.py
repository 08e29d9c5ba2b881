"""The private book against a dict: whatever a venue sends, both hold the same levels."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feeds.errors import DecodeError
from shm.enums import BookReason, BookState
from tests.kit.feed_kit import FeedBench, depth_frame, instrument, snapshot_body
from tests.kit.naive_book import NaiveBook

CENTER = 6_180_000
WINDOW_TICKS = 16_384
PRICE_END = 2**62
Level = tuple[int, int]


def prices(tick: int) -> st.SearchStrategy[int]:
    """Prices near the middle, at the window's borders, far away, off the grid, and anywhere.

    Of a coarse grid only those that are a price at all: a strategy that threw most of them away would be
    refused by hypothesis on an unlucky seed.
    """
    lowest, highest = -((CENTER - 1) // tick), (PRICE_END - 1 - CENTER) // tick
    borders = [q * WINDOW_TICKS // 4 + k for q in (-1, 1, 3) for k in range(-3, 4)]
    near = st.integers(max(-40, lowest), min(40, highest)).map(lambda k: CENTER + k * tick)
    border = [CENTER + k * tick for k in borders if lowest <= k <= highest]
    off_grid = st.integers(-300, 300).map(lambda k: CENTER + k)
    far = st.integers(1, 10**15)
    return st.one_of(near, near, *([st.sampled_from(border)] if border else []), off_grid, far)


QUANTITIES = st.one_of(st.just(0), st.integers(1, 10_000), st.sampled_from([2**32 - 1, 2**32, 10**15]))


def frames(tick: int) -> st.SearchStrategy[list[tuple[list[Level], list[Level]]]]:
    side = st.lists(st.tuples(prices(tick), QUANTITIES), max_size=12)
    return st.lists(st.tuples(side, side), min_size=1, max_size=20)


def assert_equal(bench: FeedBench, naive: NaiveBook) -> None:
    assert bench.core.book(1) == (naive.bids(), naive.asks())
    assert bench.core.is_crossed(1) == naive.is_crossed()


@given(st.sampled_from([1, 10, 7, 1000, 2**40, 2**60]).flatmap(lambda t: st.tuples(st.just(t), frames(t))))
@settings(max_examples=120, deadline=None)
def test_the_book_equals_a_dict_after_every_frame(
    case: tuple[int, list[tuple[list[Level], list[Level]]]],
) -> None:
    tick, updates = case
    bench, naive = FeedBench(instrument(tick=tick)), NaiveBook()
    for i, (bids, asks) in enumerate(updates):
        bench.core.apply_depth(1, depth_frame(i, i, i - 1 if i else 0, bids, asks), i)
        naive.apply(bids, asks)
        assert_equal(bench, naive)


@given(st.sampled_from([1, 4, 32, 100]), frames(10))
@settings(max_examples=60, deadline=None)
def test_the_slab_holds_the_top_of_the_book_after_every_applied_frame(
    depth: int, updates: list[tuple[list[Level], list[Level]]]
) -> None:
    bench, naive = FeedBench(instrument(), depth=depth), NaiveBook()
    bench.go_live(snapshot_body(100, [], []))
    sequence = 100
    for bids, asks in updates:
        result = bench.core.on_frame(depth_frame(sequence + 1, sequence + 1, sequence, bids, asks), 5)
        naive.apply(bids, asks)
        sequence += 1
        assert_equal(bench, naive)
        if result != 0:
            assert result == 8 and naive.is_crossed()
            return
        held = bench.slab.load(1)
        assert held is not None
        assert list(held.bids) == naive.bids()[:depth]
        assert list(held.asks) == naive.asks()[:depth]
        assert held.certificate.last_sequence == sequence


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_market_that_wanders_far_moves_the_window_and_loses_nothing(seed: int) -> None:
    rng = random.Random(seed)
    bench, naive = FeedBench(instrument()), NaiveBook()
    middle = CENTER
    for i in range(600):
        middle = max(20_000, middle + rng.randrange(-9_000, 9_001) * 10)
        updates: tuple[list[Level], list[Level]] = ([], [])
        for side, sign in ((0, -1), (1, 1)):
            for _ in range(rng.randrange(30)):
                distance = int(rng.expovariate(1 / rng.choice((20, 2_000, 60_000)))) + 1
                price = middle + sign * distance * 10 + (rng.randrange(10) if rng.random() < 0.1 else 0)
                if price > 0:
                    updates[side].append((price, rng.choice((0, rng.randrange(1, 10**6), 2**33))))
            held = list(naive.sides[side])
            updates[side].extend((p, 0) for p in rng.sample(held, min(len(held), rng.randrange(20))))
        bench.core.apply_depth(1, depth_frame(i, i, 0, *updates), i)
        naive.apply(*updates)
        if i % 20 == 0:
            assert_equal(bench, naive)
    assert_equal(bench, naive)
    assert bench.core.statistics()["recenters"] > 10


def test_many_far_levels_come_and_go_in_any_order() -> None:
    rng = random.Random(5)
    bench, naive = FeedBench(instrument(tick=1)), NaiveBook()
    pool = [10**9 + k * 10**6 for k in range(3_000)]
    bench.core.apply_depth(1, depth_frame(1, 1, 0, [(1000, 1)], []), 1)
    naive.apply([(1000, 1)], [])
    for i in range(40):
        changes = [
            (p, rng.choice((0, 0, 1, 2)) if i % 2 else rng.randrange(3)) for p in rng.sample(pool, 700)
        ]
        bench.core.apply_depth(1, depth_frame(2, 2, 1, [], changes), i)
        naive.apply([], changes)
        assert_equal(bench, naive)
    empty = [(p, 0) for p in pool]
    rng.shuffle(empty)
    bench.core.apply_depth(1, depth_frame(2, 2, 1, [], empty), 1)
    assert bench.core.book(1) == ([(1000, 1)], [])


def test_one_side_may_be_empty_and_removing_what_is_absent_is_normal() -> None:
    bench = FeedBench(instrument())
    bench.core.apply_depth(1, depth_frame(1, 1, 0, [(CENTER, 5)], [(CENTER + 10, 0)]), 1)
    assert bench.core.book(1) == ([(CENTER, 5)], [])
    bench.core.apply_depth(1, depth_frame(2, 2, 1, [(CENTER, 0)], []), 1)
    assert bench.core.book(1) == ([], [])


def test_a_side_never_takes_more_levels_than_its_bound() -> None:
    bench = FeedBench(instrument(tick=1))
    step = 100_000
    held = 0
    with pytest.raises(DecodeError, match="too many levels"):
        for i in range(40):
            levels = [(10**9 + (i * 8_000 + k) * step, 1) for k in range(8_000)]
            bench.core.apply_depth(1, depth_frame(1, 1, 0, [], levels), 1)
            held += len(levels)
    assert 60_000 < held == len(bench.core.book(1)[1])


def test_a_private_book_stays_within_its_memory() -> None:
    bench = FeedBench(instrument())
    rng = random.Random(1)
    bids = [(CENTER - 10 * k, 1) for k in range(1, 1001)]
    asks = [(CENTER + 10 * k, 1) for k in range(1, 1001)]
    bench.go_live(snapshot_body(1, bids, asks))
    for i in range(400):
        far = [(CENTER - 10 * int(rng.uniform(1, 60_000)), 1) for _ in range(12)]
        near = [(CENTER + 10 * int(rng.uniform(1, 60_000)), 1) for _ in range(12)]
        bench.core.on_frame(depth_frame(i + 2, i + 2, i + 1, far, near), 1)
    assert len(bench.core.book(1)[0]) > 5_000
    assert bench.core.book_bytes(1) <= 350_000


def test_a_book_of_state_live_is_what_readers_see() -> None:
    bench = FeedBench(instrument())
    bench.core.load_snapshot(1, snapshot_body(9, [(CENTER, 1)], [(CENTER + 10, 2)]), 3)
    before = bench.slab.load(1)
    assert before is not None and before.bids == () and before.certificate.state == BookState.SYNCING
    bench.core.set_state(1, BookState.LIVE, BookReason.PROVEN, 4)
    after = bench.slab.load(1)
    assert after is not None
    assert (after.bids, after.asks) == (((CENTER, 1),), ((CENTER + 10, 2),))
