"""The rate ledger against its naive twin, and against venues that count in windows of their own."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shm.enums import RateLane, RateScope, RateStop, RateUnit
from shm.errors import LayoutError
from shm.layout import STRUCTS
from shm.rate_ledger import NEVER, RateLedger, RateTake
from shm.rate_rules import KEPT, NOTHING_KEPT, SECOND_NS, RateRule, scaled
from tests.kit.naive_rate import CountingVenue, NaiveBucket

START_NS = 5 * SECOND_NS


def rule(
    name: str = "venue.orders", limit: int = 60, window_ns: int = 2 * SECOND_NS, **more: Any
) -> RateRule:
    return RateRule(name, 3, RateScope.ACCOUNT, RateUnit.ORDERS, limit, window_ns, **more)


def make(*rules: RateRule) -> RateLedger:
    return RateLedger.create(bytearray(RateLedger.bytes_needed(rules)), rules)


@st.composite
def limits(draw: st.DrawFn) -> RateRule:
    limit = draw(st.integers(1, 300))
    return rule(
        limit=limit,
        window_ns=draw(st.sampled_from([1_000, 999_983, SECOND_NS, 10 * SECOND_NS])),
        burst=draw(st.integers(0, limit)),
        slack_ns=draw(st.sampled_from([-1, 0, 77])),
        kept=draw(st.sampled_from([KEPT, NOTHING_KEPT, (0, 10, 200, 255)])),
    )


@st.composite
def steps(draw: st.DrawFn) -> list[tuple[int, int, int]]:
    """Pauses in millionths of a window, lanes, weights."""
    pause = st.one_of(st.just(0), st.integers(0, 20_000), st.integers(0, 1_500_000))
    return draw(st.lists(st.tuples(pause, st.integers(0, 3), st.integers(1, 40)), min_size=1, max_size=60))


@settings(max_examples=60)
@given(limits(), steps())
def test_takes_and_waits_are_those_of_a_bucket_in_exact_fractions(
    one: RateRule, wanted: list[tuple[int, int, int]]
) -> None:
    ledger = make(one)
    view = ledger.view(0, 0)
    twin = NaiveBucket(view.burst, view.interval_ns, one.kept)
    assert list(view.shares) == twin.shares
    now = START_NS
    for pause, lane, weight in wanted:
        now += pause * one.window_ns // 1_000_000
        wait = ledger.wait_ns(0, lane, weight, now)
        assert ledger.take(0, lane, weight, now) == wait == twin.take(lane, weight, now)
        if wait > 0:
            assert ledger.wait_ns(0, lane, weight, now + wait - 1) == 1
            assert ledger.wait_ns(0, lane, weight, now + wait) == 0


@settings(max_examples=60)
@given(limits(), steps(), st.integers(0, 10**12))
def test_no_window_of_the_venue_counts_over_the_limit_wherever_it_begins(
    one: RateRule, wanted: list[tuple[int, int, int]], phase_ns: int
) -> None:
    """The taker takes as early and as much as it is let: each refusal is asked again when it said."""
    ledger, venue = make(one), CountingVenue()
    now = START_NS
    for pause, lane, weight in wanted:
        now += pause * one.window_ns // 1_000_000
        for _ in range(3):
            wait = ledger.take(0, lane, weight, now)
            if wait == 0:
                venue.add(now, weight)
            elif wait > 0:
                now += wait
    assert venue.most_in_any(one.window_ns + one.slack) <= one.limit
    assert venue.most_in_fixed(one.window_ns, phase_ns) <= one.limit


@settings(max_examples=40)
@given(limits(), st.integers(1, 30), st.integers(0, 2**32))
def test_requests_that_spread_on_their_way_within_the_slack_stay_below_the_limit(
    one: RateRule, weight: int, seed: int
) -> None:
    ledger, venue = make(one), CountingVenue()
    now = START_NS
    for number in range(200):
        wait = ledger.take(0, RateLane.CANCEL, weight, now)
        if wait == 0:
            late_ns = (number * 7919 + seed) % (one.slack + 1)
            venue.add(now + late_ns, weight)
        elif wait == NEVER:
            return
        now += wait
    assert venue.most_in_any(one.window_ns) <= one.limit


@given(st.integers(1, 500), st.data())
@settings(max_examples=40)
def test_burst_and_lasting_rate_use_the_whole_limit(limit: int, data: st.DataObject) -> None:
    """One unit at a time as early as possible: the fullest window holds exactly the limit."""
    one = rule(limit=limit, window_ns=SECOND_NS, slack_ns=0, burst=data.draw(st.integers(1, limit)))
    ledger, venue = make(one), CountingVenue()
    now = START_NS
    for _ in range(3 * limit):
        while (wait := ledger.take(0, RateLane.CANCEL, 1, now)) > 0:
            now += wait
        venue.add(now, 1)
    assert venue.most_in_any(SECOND_NS) == limit


def test_a_lane_never_eats_what_is_kept_for_the_lanes_before_it() -> None:
    ledger = make(rule(limit=400, burst=100))
    taken = {}
    for lane in reversed(RateLane):
        taken[lane] = 0
        while ledger.take(0, lane, 1, START_NS) == 0:
            taken[lane] += 1
    assert taken == {RateLane.NEW: 50, RateLane.RESYNC: 25, RateLane.RECONCILE: 12, RateLane.CANCEL: 13}


def test_cancel_goes_first_for_as_long_as_it_wants_when_the_bucket_is_full() -> None:
    ledger = make(rule(limit=400, burst=100))
    while ledger.take(0, RateLane.CANCEL, 1, START_NS) == 0:
        pass
    interval = ledger.view(0, 0).interval_ns
    now = START_NS
    for _ in range(20):
        now += interval
        assert ledger.take(0, RateLane.NEW, 1, now) > 0
        assert ledger.take(0, RateLane.CANCEL, 1, now) == 0


@given(steps(), st.lists(st.tuples(st.integers(0, 60), st.integers(0, 900_000)), max_size=60))
@settings(max_examples=60)
def test_what_others_use_counts_and_the_venue_stays_below_its_limit(
    wanted: list[tuple[int, int, int]], foreign: list[tuple[int, int]]
) -> None:
    """Each answer carries the venue's count of its window; others use the same address meanwhile."""
    one = rule(limit=60, window_ns=SECOND_NS, slack_ns=0, burst=20)
    ledger = make(one)
    window, used = START_NS // SECOND_NS, 0
    now, others = START_NS, list(foreign)
    for pause, lane, weight in wanted:
        now += pause * SECOND_NS // 1_000_000
        if now // SECOND_NS != window:
            window, used = now // SECOND_NS, 0
        if others:
            used = min(used + others.pop()[0], one.limit)  # others never go over by themselves
            ledger.correct(0, used, now, window * SECOND_NS)
        if ledger.take(0, lane, weight, now) == 0:
            used += weight
        assert used <= one.limit


@given(limits(), steps())
@settings(max_examples=40)
def test_the_venues_echo_of_our_own_use_changes_nothing(
    one: RateRule, wanted: list[tuple[int, int, int]]
) -> None:
    ledger, venue = make(one), CountingVenue()
    now = START_NS
    for pause, lane, weight in wanted:
        now += pause * one.window_ns // 1_000_000
        if ledger.take(0, lane, weight, now) == 0:
            venue.add(now, weight)
        since = now // one.window_ns * one.window_ns
        used = sum(w for at, w in venue.taken if at >= since)
        rolling = sum(w for at, w in venue.taken if at >= now - one.window_ns)
        assert not ledger.correct(0, used, now, since)
        assert not ledger.correct(0, rolling, now)


def test_an_older_answer_that_comes_late_takes_nothing_back() -> None:
    ledger = make(rule(limit=60, window_ns=SECOND_NS, burst=30))
    assert ledger.correct(0, 25, START_NS, START_NS)
    assert ledger.view(0, START_NS).used == 25
    assert not ledger.correct(0, 10, START_NS, START_NS)
    assert not ledger.correct(0, 50, START_NS, START_NS - SECOND_NS)
    assert ledger.view(0, START_NS).used == 25


def test_a_count_beyond_the_limit_is_believed_for_one_window_and_no_longer() -> None:
    ledger = make(rule(limit=60, window_ns=SECOND_NS, burst=30, slack_ns=0))
    ledger.correct(0, 5_000, START_NS, START_NS)
    interval = ledger.view(0, START_NS).interval_ns
    assert ledger.take(0, RateLane.CANCEL, 1, START_NS + SECOND_NS - interval) > 0
    assert ledger.take(0, RateLane.CANCEL, 1, START_NS + SECOND_NS + interval) == 0


def test_after_a_lower_limit_no_whole_window_counts_over_it() -> None:
    ledger, venue = make(rule(limit=60, window_ns=SECOND_NS, burst=30)), CountingVenue()
    ledger.set_limit(0, 20, START_NS)
    assert ledger.view(0, START_NS)[1:3] == (20, 10)
    assert ledger.view(0, START_NS).free == (0, 0, 0, 0), "nothing is left of the old credit"
    now = START_NS
    for _ in range(300):
        now += SECOND_NS // 100
        if ledger.take(0, RateLane.CANCEL, 1, now) == 0:
            venue.add(now, 1)
    assert len(venue.taken) > 20
    assert venue.most_in_any(SECOND_NS) <= 20


def test_a_higher_limit_is_used_at_once_and_a_limit_without_a_pace_is_refused() -> None:
    ledger = make(rule(limit=20, window_ns=SECOND_NS, burst=10))
    ledger.set_limit(0, 200, START_NS)
    assert ledger.view(0, START_NS).free[0] == 100
    with pytest.raises(ValueError, match="no pace"):
        ledger.set_limit(0, 200, START_NS, burst=201)


STOPPED = {
    RateStop.NEW: {(0, RateLane.NEW)},
    RateStop.BUCKET: {(0, lane) for lane in RateLane},
    RateStop.ADDRESS: {(bucket, lane) for bucket in (0, 1) for lane in RateLane},
}


@pytest.mark.parametrize("stop", list(RateStop))
def test_a_refusal_stops_exactly_those_whom_it_concerns_until_the_time_it_names(stop: RateStop) -> None:
    """Buckets 0 and 1 share an address, 2 has its own. Cancels pass a refused order count, but no ban."""
    ledger = make(rule("a"), rule("b"), rule("c", address="other"))
    until = START_NS + SECOND_NS
    assert ledger.penalize(0, until, stop)
    assert not ledger.penalize(0, until - 1, stop), "the latest word stands"
    waits = {(b, lane): ledger.wait_ns(b, lane, 1, START_NS) for b in range(3) for lane in RateLane}
    assert {place for place, wait in waits.items() if wait} == STOPPED[stop]
    assert {wait for wait in waits.values() if wait} == {SECOND_NS}
    for bucket, lane in waits:
        assert ledger.take(bucket, lane, 1, START_NS) == waits[bucket, lane]
    assert all(ledger.take(bucket, lane, 1, until) == 0 for bucket, lane in waits)
    assert ledger.view(0, START_NS).refused == tuple((0, lane) in STOPPED[stop] for lane in RateLane)


def test_several_buckets_are_taken_together_or_not_at_all() -> None:
    ledger = make(rule("count", limit=8, burst=4, kept=NOTHING_KEPT), rule("weight", limit=100, burst=50))
    take = RateTake(ledger, ((ledger.bucket("count"), 1), (ledger.bucket("weight"), 5)))
    assert [take.take(RateLane.NEW, START_NS) for _ in range(4)] == [0, 0, 0, 0]
    assert take.take(RateLane.NEW, START_NS) == ledger.wait_ns(0, RateLane.NEW, 1, START_NS) > 0
    assert ledger.view(1, START_NS).granted == (0, 0, 0, 20)
    assert RateTake(ledger, ((0, 1), (1, 30))).take(RateLane.NEW, START_NS) == NEVER


def test_each_instrument_has_its_bucket_where_the_venue_counts_them_apart() -> None:
    ledger = make(rule("first"), rule("each", count=3, limit=8, burst=2, kept=NOTHING_KEPT), rule("last"))
    assert [ledger.bucket("each", i) for i in range(3)] == [1, 2, 3]
    assert (ledger.bucket("last", 7), ledger.count) == (4, 5)
    while ledger.take(ledger.bucket("each", 1), RateLane.NEW, 1, START_NS) == 0:
        pass
    assert ledger.take(ledger.bucket("each", 2), RateLane.NEW, 1, START_NS) == 0
    with pytest.raises(ValueError, match="instrument 3"):
        ledger.bucket("each", 3)
    with pytest.raises(KeyError):
        ledger.bucket("none")


def test_who_attaches_sees_the_same_ledger_and_read_only_can_only_look() -> None:
    rules = (rule("a", slack_ns=5), rule("b", address="second"))
    buffer = bytearray(RateLedger.bytes_needed(rules))
    ledger = RateLedger.create(buffer, rules)
    assert ledger.take(1, RateLane.NEW, 3, START_NS) == 0
    seen = RateLedger.attach(memoryview(buffer).toreadonly())
    assert seen.view(1, START_NS) == ledger.view(1, START_NS)
    assert seen.view(1, START_NS).used == 3
    assert [r.name for r in seen.rule_views()] == ["a", "b"]
    assert seen.rule_views()[0].slack_ns == 5
    assert [(a.venue_id, a.name) for a in seen.address_views()] == [(3, ""), (3, "second")]
    for change in (
        lambda: seen.take(0, 0, 1, 0),
        lambda: seen.correct(0, 1, 1, 0),
        lambda: seen.penalize(0, 1, 1),
        lambda: seen.set_limit(0, 1, 0),
        lambda: RateTake(seen, ((0, 1),)).take(0, 0),
    ):
        with pytest.raises(LayoutError, match="read-only"):
            change()


def test_every_word_of_a_bucket_stands_where_the_layout_says() -> None:
    rules = (rule("a", limit=60, burst=30),)
    buffer = bytearray(RateLedger.bytes_needed(rules))
    ledger = RateLedger.create(buffer, rules)
    ledger.take(0, RateLane.RESYNC, 2, START_NS)
    ledger.penalize(0, 77, RateStop.BUCKET)
    ledger.penalize(0, 78, RateStop.NEW)
    ledger.penalize(0, 79, RateStop.ADDRESS)
    base = sum(STRUCTS[s].size_bytes for s in ("shm_rate_ledger", "shm_rate_address", "shm_rate_rule"))

    def word(struct: str, field: str, at: int, index: int = 0) -> int:
        place = at + STRUCTS[struct].offset(field) + 8 * index
        return int.from_bytes(buffer[place : place + 8], "little")

    view = ledger.view(0, START_NS)
    assert word("shm_rate_bucket", "arrival_ns", base) == START_NS + 2 * view.interval_ns
    assert word("shm_rate_bucket", "pace", base) == view.interval_ns << 24 | 30
    assert word("shm_rate_bucket", "stop_ns", base) == 77
    assert word("shm_rate_bucket", "stop_new_ns", base) == 78
    assert word("shm_rate_bucket", "granted", base, RateLane.RESYNC) == 2
    assert word("shm_rate_address", "stop_ns", STRUCTS["shm_rate_ledger"].size_bytes) == 79


def test_what_makes_no_sense_is_refused_by_name() -> None:
    for wrong, text in (
        ({"name": ""}, "bytes"),
        ({"name": "x" * 48}, "bytes"),
        ({"limit": 0}, "1 or more"),
        ({"limit": 5, "burst": 6}, "burst 6"),
        ({"slack_ns": -2}, "slack"),
        ({"kept": (0, 200, 100, 0)}, "rising"),
        ({"kept": (0, 1, 2, 256)}, "rising"),
    ):
        with pytest.raises(ValueError, match=text):
            rule(**wrong)
    with pytest.raises(ValueError, match="one name"):
        make(rule("a"), rule("a"))
    with pytest.raises(LayoutError, match="needs"):
        RateLedger.create(bytearray(8), (rule(),))
    with pytest.raises(LayoutError, match="needs"):
        RateLedger.attach(bytearray(8))
    ledger = make(rule())
    for call, text in (
        (lambda: ledger.take(1, 0, 1, 0), "bucket 1"),
        (lambda: ledger.take(0, 4, 1, 0), "lane 4"),
        (lambda: ledger.take(0, 0, 0, 0), "weight 0"),
        (lambda: ledger.take(0, 0, 1, -1), "time -1"),
        (lambda: ledger.correct(0, 1, 1, 2), "times 2 and 1"),
        (lambda: ledger.penalize(0, 1, 4), "4"),
        (lambda: RateTake(ledger, ()), "1 to 8"),
    ):
        with pytest.raises(ValueError, match=text):
            call()


def test_a_share_of_a_limit_keeps_at_least_one() -> None:
    half = scaled((rule(limit=60, burst=10), rule("one", limit=1)), 0.5)
    assert [(r.limit, r.burst) for r in half] == [(30, 5), (1, 0)]
    assert rule(limit=100, window_ns=SECOND_NS, slack_ns=0, burst=51).lasting_per_s == 50
