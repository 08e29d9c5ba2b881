"""A worker that spins is awake without being rung, parks once its time is over, and breathes when it must."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest

from actors.runtime import worker as live
from actors.runtime.mailboxes import Mailbox
from actors.runtime.worker import EXIT_OK, is_throttled
from shm.clock import now_ns
from shm.enums import RecordKind
from shm.records import MarketRecord
from shm.ring import Publisher
from tests.actors.test_worker import Bench, Listener

HOUR_NS = 3_600_000_000_000
#: A signal that strikes inside a task ends that task and nobody else: a thread ends a test that hangs.
pytestmark = pytest.mark.timeout(120, method="thread")


class Spinning(Listener):
    """Asks its worker to stay awake."""

    def on_start(self, *_: Any) -> None:
        super().on_start()
        self.context.host.mailbox.spin_ns = self.settings["spin_ns"]


def mailbox_of(bench: Bench) -> Mailbox:
    return bench.listener.context.host.mailbox


async def parked(bench: Bench, *, is_parked: bool) -> None:
    while bench.slot.is_parked != is_parked:
        await asyncio.sleep(0)


def test_an_awake_worker_takes_records_that_rang_no_bell_and_parks_when_its_time_is_over() -> None:
    bench = Bench(Spinning, {"spin_ns": HOUR_NS})
    bench.spec.heartbeat_ns = HOUR_NS

    async def story(bench: Bench) -> None:
        assert (await bench.message())["op"] == "ready"
        bench.publish(1)
        await bench.got(1)
        silent = Publisher(bench.publisher.ring)
        for price in (2, 3):
            record = MarketRecord(kind=RecordKind.TRADE, instrument_id=0, value0=price, publish_ns=1)
            silent.publish(record.to_bytes())
            await bench.got(price)
        assert not bench.slot.is_parked
        mailbox_of(bench).spin_ns = 1
        silent.publish(MarketRecord(kind=RecordKind.TRADE, instrument_id=0, value0=4).to_bytes())
        await bench.got(4)
        await parked(bench, is_parked=True)
        bench.publish(5)
        await bench.got(5)
        bench.tell(op="stop", phase="exit")

    assert bench.run(story) == EXIT_OK
    assert bench.listener.stopped


def test_one_that_the_kernel_would_stop_sleeps_between_two_stretches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "is_throttled", lambda: True)
    bench = Bench(Spinning, {"spin_ns": HOUR_NS})
    bench.spec.heartbeat_ns = HOUR_NS

    async def story(bench: Bench) -> None:
        assert (await bench.message())["op"] == "ready"
        bench.publish(1)
        await bench.got(1)
        for _ in range(3):
            await parked(bench, is_parked=True)
            await parked(bench, is_parked=False)
        bench.tell(op="stop", phase="exit")

    assert bench.run(story) == EXIT_OK


def test_real_time_priority_is_throttled_unless_the_kernel_says_not(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not is_throttled(), "tests have no real-time priority"
    monkeypatch.setattr(os, "sched_getscheduler", lambda _pid: os.SCHED_FIFO | os.SCHED_RESET_ON_FORK)
    for text, expected in (("950000", True), ("-1", False), ("?", True)):
        monkeypatch.setattr(Path, "read_text", lambda _path, text=text: text)
        assert is_throttled() is expected


def test_spinning_ends_at_its_time_or_with_a_record() -> None:
    bench = Bench(Spinning, {"spin_ns": 0})

    async def story(bench: Bench) -> None:
        assert (await bench.message())["op"] == "ready"
        mailbox, begin = mailbox_of(bench), now_ns()
        assert not mailbox.spin(begin + 50_000) and now_ns() >= begin + 50_000
        record = MarketRecord(kind=RecordKind.TRADE, instrument_id=0, value0=9)
        Publisher(bench.publisher.ring).publish(record.to_bytes())
        assert mailbox.spin(now_ns() + HOUR_NS)
        bench.tell(op="stop", phase="exit")

    assert bench.run(story) == EXIT_OK
