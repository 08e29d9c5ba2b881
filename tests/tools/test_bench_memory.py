"""The memory bench: its loops do what their names say, and its helpers really work meanwhile."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shm.book import BookReader
from shm.ring import BroadcastRing, Publisher, Subscriber
from shm.spsc import Consumer, Producer, SpscRing
from tools.bench import memory_fanout, memory_loops
from tools.bench.common import OURS
from tools.bench.memory_fanout import Bed, at_work
from tools.bench.memory_pairs import decimal_levels, integer_steps, sweep_decimal, sweep_int
from tools.bench.memory_rigs import DEPTH, INSTRUMENT, Rings, make_levels, make_slab
from tools.bench.steps import Step, measured

LEVELS = st.lists(st.tuples(st.integers(1, 2**62), st.integers(1, 2**62)), min_size=1, max_size=8)


def test_a_step_is_measured_as_often_as_asked_for_each_contender() -> None:
    counts = {"a": 0, OURS: 0}

    def count(name: str) -> float:
        counts[name] += 1
        return float(counts[name])

    step = Step("x_ns", {name: lambda n=name: count(n) for name in counts})  # type: ignore[misc]
    found = {m.name: (m.metric, m.unit, list(m.values)) for m in measured([step], 3)}
    # The first turn is not counted.
    assert found == dict.fromkeys(counts, ("x_ns", "ns", [2.0, 3.0, 4.0]))


def test_the_publishing_loops_publish_what_they_are_given() -> None:
    ring = BroadcastRing.create(bytearray(BroadcastRing.bytes_needed(64, 16)), 64, 16)
    publisher, subscriber = Publisher(ring), Subscriber(ring)
    memory_loops.publish_each(publisher, b"a" * 16, 3)
    memory_loops.publish_batches(publisher, b"b" * 32, 2, 4)
    assert ring.cursor == 11
    out = bytearray(16 * 16)
    assert memory_loops.spin(subscriber, out, 4, 1) == 4
    assert out[:64] == b"a" * 48 + b"b" * 16
    assert memory_loops.drain(subscriber, out, 4) == 7
    assert memory_loops.drain(subscriber, out, 4) == 0


def test_the_hand_over_loop_commits_all_it_offers() -> None:
    ring = SpscRing.create(bytearray(SpscRing.bytes_needed(8, 16)), 8, 16)
    taken = memory_loops.hand_over(Producer(ring), Consumer(ring), bytes(64), bytearray(64), 4, 50)
    assert (taken, ring.cursor, ring.position) == (200, 200, 200)


def test_a_mixture_of_two_books_is_seen() -> None:
    slab = make_slab()
    room = np.zeros((DEPTH, 2), np.int64), np.zeros((DEPTH, 2), np.int64)
    reader = BookReader(slab, *room)
    bids, asks = make_levels()
    memory_loops.store_books(slab, INSTRUMENT, bids, asks, 10, 1)
    assert memory_loops.check_books(reader, INSTRUMENT, 5) == (5, 0)
    assert reader.last_sequence == 10
    certificate, totals = reader.certificate(), reader.totals()
    levels = [array.tolist() for array in room]
    for side in (0, 1):
        for row in (0, DEPTH - 1):
            mixed = [[list(level) for level in part] for part in levels]
            mixed[side][row][1] = 9
            slab.store(INSTRUMENT, certificate, totals, mixed[0], mixed[1])  # type: ignore[arg-type]
            assert memory_loops.check_books(reader, INSTRUMENT, 2) == (2, 2)


@settings(max_examples=60)
@given(LEVELS, st.integers(0, 2**62))
def test_sweeping_is_exact_beyond_64_bits(levels: list[tuple[int, int]], quantity: int) -> None:
    high, low, left = memory_loops.sweep_units(np.array(levels, dtype=np.int64), quantity)
    assert (high << 64) + low == sweep_int(levels, quantity)
    assert left == max(0, quantity - sum(q for _, q in levels))


def test_decimal_levels_are_those_of_the_integers() -> None:
    _, asks = make_levels()
    levels = decimal_levels(asks)
    assert [(str(p), str(q)) for p, q in list(levels.items())[:2]] == [
        ("61800.10", "2.000"),
        ("61800.20", "2.001"),
    ]
    assert str(sweep_decimal(levels, next(iter(levels.values())))) == "123600.20000"


def test_integer_books_take_less_memory() -> None:
    memory = next(step for step in integer_steps() if step.metric == "book_memory_bytes")
    sizes = {name: contender() for name, contender in memory.contenders.items()}
    # head 168, lock 8, 64 levels of 16 bytes, rounded up to a pair of lines
    assert sizes[OURS] == 1280
    assert sizes["decimal.Decimal"] > 2 * sizes[OURS]


def test_a_drain_that_loses_records_is_an_error() -> None:
    rings = Rings()
    with pytest.raises(RuntimeError, match="lost records"):
        rings.drained(lambda: 1)()


def test_helpers_work_meanwhile_and_leave_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory_fanout, "PUBLISHED", 20_000)
    bed = Bed(max(os.sched_getaffinity(0)), subscribers=1)
    prefix = f"ringlane.{bed.run.instance}."
    try:
        assert any(p.name.startswith(prefix) for p in Path("/dev/shm").iterdir())  # noqa: S108
        for step in bed.fan_out_steps():
            assert all(contender() > 0 for contender in step.contenders.values())
            assert {OURS, "no subscriber", "floor: copy in C, one reader"} < set(step.contenders)
        contended, busy = bed.contended_steps()
        assert all(contender() > 0 for contender in contended.contenders.values())
        shares = {name: contender() for name, contender in busy.contenders.items()}
        assert shares["no writer"] == 0
        assert all(0 <= share <= 100 for share in shares.values())
        with at_work(list(bed.writers.values())[:1]):
            pass
        assert bed.slab.certificate(INSTRUMENT) is not None
    finally:
        bed.close()
    assert not any(p.name.startswith(prefix) for p in Path("/dev/shm").iterdir())  # noqa: S108
