"""Stalls are seen in time, told once, and heal."""

from __future__ import annotations

from engine.liveness import LivenessChange, LivenessWatch

BEAT = 100


def test_stall_is_seen_within_three_heartbeats_at_two_looks_per_heartbeat() -> None:
    watch = LivenessWatch(BEAT)
    last = 1_000
    for now in range(last, last + 3 * BEAT + 1, BEAT // 2):
        changes = watch.look({1: last}, now)
        if changes:
            assert changes == [LivenessChange(1, True, now - last)]
            return
    raise AssertionError("no stall was told")


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
