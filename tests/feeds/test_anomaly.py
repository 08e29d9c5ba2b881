"""Price jump, volume spike and the learned anomaly score: what they find, and what they let pass."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from feeds.anomaly import Channel, Found, Watches
from feeds.errors import FeedError
from feeds.validation import Severity, ValidationSettings, WatchSettings
from tests.kit.anomalies import (
    KINDS,
    SECOND,
    Outcome,
    Seeding,
    Stream,
    Tick,
    judge,
    made_stream,
    recorded_streams,
)
from tests.kit.feed_kit import recorded

MS = 1_000_000
RULES_OFF: dict[str, Any] = {"jump_bps": 0.0, "volume_ratio": 0.0, "anomaly_probability": 0.0}
RECORDED = (
    ("binance/usdm_btcusdt_20240808.gz", "binance_usdm"),
    ("binance/usdm_ethusdt_20240808.gz", "binance_usdm"),
)


def watches(**limits: Any) -> Watches:
    made = Watches(WatchSettings(**{**RULES_OFF, **limits}), 4)
    made.add(1, 10)
    return made


class Market:
    """A calm market at 60,000.00 (tick 0.10): the mid moves a tick now and then, trades of 1 to 20."""

    def __init__(self, watch: Watches) -> None:
        self.watch = watch
        self.rng = random.Random(5)
        self.ns = 1000 * SECOND
        self.bid = 6_000_000

    def book(self, off: int = 0, wide: int = 10, after_ns: int = 20 * MS, quantity: int = 500) -> int:
        self.ns += after_ns
        bid = self.bid + off
        return self.watch.book(1, bid, quantity + self.rng.randrange(500), bid + wide, 700, self.ns)

    def trade(self, off: int = 0, quantity: int | None = None) -> int:
        return self.watch.trade(1, self.bid + off, quantity or self.rng.randrange(1, 20), self.ns)

    def run(self, updates: int) -> int:
        found = 0
        for _ in range(updates):
            self.bid += self.rng.choice([-10, 0, 0, 0, 10])
            found |= self.book()
            if self.rng.random() < 0.3:
                found |= self.trade()
        return found


@pytest.mark.parametrize("is_trade", [False, True])
def test_a_price_far_from_the_recent_ones_is_a_jump(is_trade: bool) -> None:
    market = Market(watches(jump_bps=100.0))
    assert market.run(500) == Found.NONE
    far = 6_000_000 // 100 + 1000
    assert (market.trade(far) if is_trade else market.book(far)) == Found.JUMP
    assert (market.trade(far // 2) if is_trade else market.book(far // 2)) == Found.NONE


def test_a_new_price_that_lasts_becomes_the_reference() -> None:
    market = Market(watches(jump_bps=100.0))
    market.run(500)
    market.bid += 90_000
    verdicts = [market.book() for _ in range(500)]
    assert verdicts[0] == Found.JUMP
    assert verdicts[-1] == Found.NONE


def test_after_a_silence_the_price_may_have_gone_further() -> None:
    market = Market(watches(jump_bps=100.0))
    market.run(500)
    assert market.book(off=70_000, after_ns=100 * SECOND) == Found.NONE
    market = Market(watches(jump_bps=100.0))
    market.run(500)
    assert market.book(off=70_000) == Found.JUMP


def test_no_price_is_a_jump_during_warm_up_or_behind_a_pause() -> None:
    market = Market(watches(jump_bps=100.0, jump_warm_up=50))
    market.run(20)
    assert market.book(off=90_000) == Found.NONE
    market.run(500)
    market.watch.pause(1)
    assert market.book(off=90_000) == Found.NONE


def test_much_more_volume_than_usual_is_a_spike_and_is_told_once_a_bucket() -> None:
    market = Market(watches(volume_ratio=50.0))
    assert market.run(5_000) == Found.NONE
    assert market.trade(quantity=100_000) == Found.VOLUME
    assert market.trade(quantity=100_000) == Found.NONE
    market.ns += 2 * SECOND
    assert market.trade(quantity=100_000) == Found.VOLUME


def test_volume_is_not_judged_before_enough_buckets() -> None:
    market = Market(watches(volume_ratio=50.0, volume_warm_up=30))
    market.run(1_000)
    assert market.trade(quantity=100_000) == Found.NONE


@pytest.mark.parametrize(
    ("channel", "act"),
    [
        (Channel.RETURN, lambda m: m.book(off=30_000)),
        (Channel.SPREAD, lambda m: m.book(wide=30_000)),
        (Channel.SIZE, lambda m: m.book(quantity=5_000_000)),
        (Channel.GAP, lambda m: m.book(after_ns=20 * SECOND)),
        (Channel.RATE, lambda m: [m.book(after_ns=1000) for _ in range(500)][-1]),
        (Channel.TRADE, lambda m: m.trade(quantity=1_000_000)),
        (Channel.DISTANCE, lambda m: m.trade(off=-30_000)),
    ],
)
def test_the_score_names_the_channel_that_stands_out(channel: Channel, act: Any) -> None:
    market = Market(watches(anomaly_probability=1e-5, anomaly_warm_up=3_000))
    assert market.run(6_000) == Found.NONE
    assert act(market) == Found.ANOMALY
    assert market.watch.score(1) >= 1
    assert market.watch.channel(1) == channel


def test_what_lasts_becomes_usual() -> None:
    market = Market(watches(anomaly_probability=1e-5, anomaly_warm_up=3_000))
    market.run(6_000)
    verdicts = [market.book(wide=8_000) for _ in range(3_000)]
    assert verdicts[:100] == [Found.ANOMALY] * 100
    assert verdicts[-100:] == [Found.NONE] * 100


def test_anomalies_do_not_teach_the_score_to_accept_them() -> None:
    market = Market(watches(anomaly_probability=1e-5, anomaly_warm_up=3_000))
    market.run(6_000)
    before = sum(market.watch.usual(1, Channel.TRADE))
    for _ in range(50):
        assert market.trade(quantity=1_000_000) == Found.ANOMALY
        market.run(200)
    assert sum(market.watch.usual(1, Channel.TRADE)) < before + 2


def test_a_top_that_is_empty_or_crossed_is_not_judged() -> None:
    watch = watches(jump_bps=1.0, anomaly_probability=1e-5, anomaly_warm_up=0, jump_warm_up=0)
    for bid, ask in ((0, 100), (100, 0), (100, 100), (101, 100), (-5, 5)):
        assert watch.book(1, bid, 1, ask, 1, SECOND) == Found.NONE
    assert watch.trade(1, 0, 5, SECOND) == watch.trade(1, 5, 0, SECOND) == Found.NONE


def test_extreme_numbers_give_a_score_that_is_a_number() -> None:
    watch = watches(jump_bps=1.0, volume_ratio=1.0, anomaly_probability=1e-5, anomaly_warm_up=0)
    top = 2**63 - 1
    for ns, (bid, ask) in enumerate(((1, 2), (top - 1, top), (1, top), (1, 2)), 1):
        watch.book(1, bid, top, ask, 0, ns * -SECOND)
        watch.trade(1, top, top, ns * SECOND)
        assert 0 <= watch.score(1) < float("inf")


def test_unknown_instruments_and_unusable_settings_are_refused() -> None:
    watch = watches()
    for number in (0, 3, 4, -1):
        with pytest.raises(FeedError, match="watch"):
            watch.score(number)
    with pytest.raises(FeedError, match="tick"):
        watch.add(2, 0)
    with pytest.raises(ValueError, match="negative"):
        WatchSettings(jump_bps=-1)
    with pytest.raises(ValueError, match="probability"):
        WatchSettings(anomaly_probability=0.5)


def test_a_rule_of_severity_off_has_no_limit() -> None:
    settings = ValidationSettings(volume_severity=Severity.OFF)
    assert settings.watched() == replace(settings.watch, volume_ratio=0.0)
    off = replace(settings, jump_severity=Severity.OFF, anomaly_severity=Severity.OFF)
    assert off.watched() is None


# ---- how good the score is --------------------------------------------------------------------------


def flags(stream: Stream, ticks: list[Tick], warm_up: int) -> Iterator[bool]:
    watch = Watches(
        WatchSettings(**{**RULES_OFF, "anomaly_probability": 1e-5, "anomaly_warm_up": warm_up}), 2
    )
    watch.add(1, stream.tick_size)
    for tick in ticks:
        if tick.is_trade:
            found = watch.trade(1, tick.bid, tick.bid_quantity, tick.ns)
        else:
            found = watch.book(1, tick.bid, tick.bid_quantity, tick.ask, tick.ask_quantity, tick.ns)
        yield found != 0


def outcome(streams: list[Stream], seeds: range, warm_up: int = 5_000, every: int = 1_500) -> Outcome:
    total = None
    for stream in streams:
        for seed in seeds:
            seeding = Seeding(stream, seed, every, warm_up)
            one = judge(seeding, list(flags(stream, seeding.ticks, warm_up)), warm_up)
            total = one if total is None else total + one
    assert total is not None
    return total


def report(name: str, found: Outcome) -> None:
    kinds = ", ".join(f"{kind} {found.found[kind]}/{found.seeded[kind]}" for kind in KINDS)
    print(
        f"\n{name}: recall {found.recall:.3f} ({kinds}), false positives {found.false} of {found.ordinary}"
        f" ticks = {found.false_per_10000:.2f} per 10,000"
    )


def check(name: str, streams: list[Stream], seeds: range, **more: int) -> None:
    found = outcome(streams, seeds, **more)
    report(name, found)
    assert found.seeded.total() >= 20
    assert found.recall >= 0.95
    assert found.false_per_10000 <= 1


def test_seeded_anomalies_of_made_up_markets_are_found_with_few_false_ones() -> None:
    check("made-up markets", [made_stream(seed) for seed in range(2)], range(2))


def recorded_market(name: str, venue: str, limit: int = 1 << 30) -> list[Stream]:
    path = recorded(name)
    if path is None:
        pytest.skip(f"{name} is not at hand (RINGLANE_DATA)")
    streams = recorded_streams(path, venue, limit)
    assert streams
    return streams


def test_seeded_anomalies_of_a_recorded_market_are_found_with_few_false_ones() -> None:
    streams = recorded_market(*RECORDED[1], limit=25_000)
    check("beginning of " + RECORDED[1][0], streams, range(6), warm_up=3_000, every=500)


@pytest.mark.prove
@pytest.mark.parametrize(("name", "venue"), RECORDED)
def test_seeded_anomalies_of_whole_recordings_are_found_with_few_false_ones(name: str, venue: str) -> None:
    check(name, recorded_market(name, venue), range(6))


@pytest.mark.prove
def test_seeded_anomalies_of_many_made_up_markets_are_found_with_few_false_ones() -> None:
    check("many made-up markets", [made_stream(seed) for seed in range(10)], range(3))


def test_the_score_is_better_than_half_space_trees_where_they_are_installed() -> None:
    anomaly = pytest.importorskip("river.anomaly", reason="river is not installed (extra: learning)")
    stream = made_stream(1, 10_000)
    seeding = Seeding(stream, 1, 500, 3_000)
    ours = judge(seeding, list(flags(stream, seeding.ticks, 3_000)), 3_000)
    trees = anomaly.HalfSpaceTrees(n_trees=25, height=8, window_size=500, seed=1)
    scores = []
    last: Tick | None = None
    for tick in seeding.ticks:
        features = half_space_features(tick, last)
        scores.append(trees.score_one(features))
        trees.learn_one(features)
        last = last if tick.is_trade else tick
    # The best threshold it could have had: as many false positives as are allowed, known afterwards.
    ordinary = [s for s, label in zip(scores[3_000:], seeding.labels[3_000:], strict=True) if label < 0]
    threshold = sorted(ordinary)[-max(len(ordinary) // 10_000, 1)]
    theirs = judge(seeding, [score > threshold for score in scores], 3_000)
    report("ours", ours)
    report("river HalfSpaceTrees, threshold chosen afterwards", theirs)
    assert ours.recall > theirs.recall


def half_space_features(tick: Tick, last: Tick | None) -> dict[str, float]:
    """The same values, brought into 0..1 as half-space trees need them."""

    def part(value: float, scale: float) -> float:
        return min(value.bit_length() / scale, 1.0) if isinstance(value, int) else min(value / scale, 1.0)

    if last is None:
        return dict.fromkeys(("moved", "spread", "size", "gap", "trade", "distance"), 0.0)
    mid = (last.bid + last.ask) // 2
    if tick.is_trade:
        outside = max(tick.bid - last.ask, last.bid - tick.bid, 0)
        return {"moved": 0.0, "spread": part(last.ask - last.bid, 24), "size": 0.5, "gap": 0.5,
                "trade": part(tick.bid_quantity, 40), "distance": part(outside, 24)}  # fmt: skip
    moved = abs((tick.bid + tick.ask) // 2 - mid)
    return {"moved": part(moved, 24), "spread": part(tick.ask - tick.bid, 24),
            "size": part(max(tick.bid_quantity, tick.ask_quantity), 40), "gap": part(tick.ns - last.ns, 40),
            "trade": 0.3, "distance": 0.0}  # fmt: skip
