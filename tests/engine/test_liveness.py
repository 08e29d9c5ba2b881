"""Stalls are seen in time, told once, and heal."""

from __future__ import annotations

from engine.liveness import LivenessChange, LivenessWatch

BEAT = 100


def test_stall_is_seen_within_three_heartbeats_by_looking_when_it_would_be_one() -> None:
    watch = LivenessWatch(BEAT)
    last, now, looks = 1_000, 1_000, 0
    while True:
        changes = watch.look({1: last}, now)
        looks += 1
        if changes:
            break
        now = watch.next_look_ns({1: last}, now)
    assert changes == [LivenessChange(1, True, now - last)]
    assert now - last <= 3 * BEAT
    assert looks == 2


def test_nobody_looks_more_often_than_twice_a_beat_or_later_than_a_stall_would_take() -> None:
    watch = LivenessWatch(BEAT)
    assert watch.next_look_ns({1: 950, 2: 1_000}, 1_000) == 950 + watch.limit_ns + 1
    assert watch.next_look_ns({}, 1_000) == 1_000 + watch.limit_ns + 1
    assert watch.next_look_ns({1: 760}, 1_000) == 1_000 + BEAT // 2
    assert (
        watch.next_look_ns({1: 1_900}, 1_000) == 1_000 + watch.limit_ns + 1
    )  # a clock of its own is no excuse
    watch.look({1: 0}, 1_000)
    assert watch.next_look_ns({1: 0, 2: 1_000}, 1_000) == 1_000 + BEAT // 2  # the return is seen soon


def test_late_by_one_beat_is_not_a_stall() -> None:
    watch = LivenessWatch(BEAT)
    assert watch.look({1: 0}, 2 * BEAT) == []


def test_stall_is_told_once_and_so_is_the_return() -> None:
    watch = LivenessWatch(BEAT)
    assert len(watch.look({1: 0, 2: 300}, 300)) == 1
    assert watch.look({1: 0, 2: 310}, 310) == []
    assert watch.stalled_ns(1, 310) == 310
    assert watch.stalled_ns(2, 310) == 0
    assert watch.look({1: 320, 2: 320}, 320) == [LivenessChange(1, False, 0)]
    assert watch.stalled_ns(1, 330) == 0


def test_worker_no_longer_watched_is_forgotten() -> None:
    watch = LivenessWatch(BEAT)
    watch.look({1: 0}, 300)
    assert watch.look({}, 310) == []
    assert watch.stalled_ns(1, 310) == 0
    watch.look({2: 0}, 300)
    watch.forget(2)
    assert watch.stalled_ns(2, 310) == 0
