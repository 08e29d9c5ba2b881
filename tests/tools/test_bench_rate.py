"""The rate bench: its loops do what their names say, and who is meant to want too much does."""

from __future__ import annotations

import os

from shm.clock import now_ns
from shm.enums import RateLane
from tools.bench import rate, rate_loops
from tools.bench.common import OURS


def test_the_loops_take_are_refused_and_add_as_often_as_they_say() -> None:
    ledger, word = rate.make_ledger(), bytearray(8)
    assert rate_loops.take_each(ledger, 0, RateLane.NEW, 1_000) == 1_000
    assert rate_loops.take_each(ledger, 0, RateLane.NEW, 1_000) == 1_000
    assert ledger.view(0, 0).granted[RateLane.NEW] == 2_000
    assert rate_loops.refuse_each(ledger, 0, RateLane.NEW, 1_000) == 1_000
    assert rate_loops.add_each(word, 1_000) == 999
    assert int.from_bytes(word, "little") == 1_000


def test_every_peer_grants_what_the_bench_asks_of_it() -> None:
    step_ns = rate.WINDOW_NS // rate.LIMIT
    for take in rate.python_peers().values():
        assert rate.from_python(take, step_ns, 100)() > 0
        at_ns = 1 << 61
        while take(at_ns) == 0:
            pass
        assert take(at_ns) > 0, "and no more than the burst at once"


def test_saturators_want_more_than_there_is_and_leave_cancels_their_share() -> None:
    ledger, core = rate.make_ledger(limit=40), max(os.sched_getaffinity(0))
    with rate.forked(lambda: rate.want_too_much(ledger), {core}, 3):
        rate.wait_for(lambda: ledger.view(0, 0).refused[RateLane.NEW] > 3)
        assert ledger.take(0, RateLane.CANCEL, 1, now_ns()) == 0
    assert rate.refused_percent(ledger) > 0


def test_two_processes_meet_at_one_word_and_both_are_measured() -> None:
    cores = os.sched_getaffinity(0)
    found = {m.name: m for m in rate.contended(2, max(cores))}
    assert set(found) == {OURS, rate.ADD}
    assert all(len(m.values) == 2 and min(m.values) > 0 for m in found.values())


def test_the_fullest_window_is_found_wherever_it_begins() -> None:
    assert rate.most_in_any_window([], 10) == 0
    assert rate.most_in_any_window([30, 0, 9, 5, 10, 14, 15], 10) == 4  # 5, 9, 10, 14
    assert rate.most_in_any_window([0, 10, 20], 10) == 1


def test_every_grant_is_told_to_who_wants_to_know() -> None:
    ledger, core = rate.make_ledger(limit=40), max(os.sched_getaffinity(0))
    tell, told = os.pipe()
    with os.fdopen(tell, "rb") as grants, rate.forked(lambda: rate.want_too_much(ledger, told), {core}, 3):
        rate.wait_for(lambda: ledger.view(0, 0).refused[RateLane.NEW] > 3)
        stamps: list[int] = []
        while not stamps:
            stamps = rate.read_stamps(grants)
    os.close(told)
    assert len(stamps) <= ledger.view(0, 0).granted[RateLane.NEW]
