"""One order's way in one process: the real ring, gate, OMS, journal and paper session, no wake-up between.

What a submit path without processes does too, so this is what peers are compared with; and the parts of it
that are measured alone.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from mmap import mmap
from pathlib import Path

import numpy as np
import numpy.typing as npt

from actors.runtime.intents import Clock, IntentPort, Moment, OrderIds
from actors.runtime.mailboxes import IntentSource, Mailbox
from exec.entries import EntryWriter
from exec.flow import process_intent
from exec.oms import Oms
from exec.order import make_client_order_id
from exec.paper import PaperSession
from risk.exposure import ExposureBook
from risk.gate import Gate
from risk.limits import Limits
from shm.book import BookSlab, Certificate, TradeTotals
from shm.clock import now_ns
from shm.control import Control
from shm.enums import BookState, Reason, RecordKind, Side, TradingState
from shm.instruments import Instrument, InstrumentTable
from shm.journal import Journal
from shm.metrics import Metrics
from shm.records import INTENT_RECORD_BYTES, IntentRecord, MarketRecord, ReportRecord
from shm.spsc import Consumer, Producer, SpscRing
from tools.bench.floor import wait_until

Times = npt.NDArray[np.int64]
EPOCH, SLOT = 1, 3
BID, ASK, FAR = 990_000, 990_100, 980_000
UNITS = 100
RING = 1_024
REALTIME = 10
SLEEP_LESS_NS = 200_000
LIMITS = Limits(
    max_order_notional_e8=10**16,
    max_position_notional_e8=10**18,
    max_exposure_e8=10**18,
    price_band_bps=5_000,
    max_silence_ns=10**12,
    max_intent_age_ns=10**12,
)
FRAME = b"\x81\xfe\x01\x00mask" + b'{"id":"x","method":"order.place","params":{}}'.ljust(256, b" ")


class OrderPath:
    """Everything between a decision and the session, with one instrument and a live book.

    Args:
        directory: of the journal.
        control: the segment with the halt word, None = one of its own.
    """

    def __init__(self, directory: Path, control: Control | None = None) -> None:
        self.control = control or Control.create(bytearray(Control.bytes_needed()), EPOCH, os.getpid())
        table = InstrumentTable.create(bytearray(InstrumentTable.bytes_needed(2)), 2)
        table.add(
            Instrument(
                venue_id=1, symbol="A", price_exponent=2, quantity_exponent=3, tick_size=10, lot_size=1
            )
        )
        self._slab = BookSlab.create(bytearray(BookSlab.bytes_needed(4, 2, 1)), 4, 2, 1, 2)
        self._slab.store(
            0,
            Certificate(0, int(BookState.LIVE), EPOCH, 1, 50, now_ns()),
            TradeTotals(),
            [(BID, 10**6)],
            [(ASK, 10**6)],
        )
        self._slab.touch_stream(0, now_ns())
        exposures = ExposureBook(table.get)
        exposures.mark(0, BID)
        self.journal = Journal.open(directory, "bench", EPOCH, file_bytes=64 << 20)
        self.entries = EntryWriter(self.journal)
        self.oms = Oms(EPOCH, exposures, self._on_report)
        self.gate = Gate(
            epoch=EPOCH,
            control=self.control,
            slab_of=lambda _: self._slab,
            is_alive=lambda _slot: True,
            limits=LIMITS,
            exposures=exposures,
            instruments=table,
            find_order=self.oms.order,
        )
        self.session = PaperSession(self.oms.apply_report)
        self.session.simulator.add_instrument(table.get(0), 4)
        self.session.on_book(0, [(BID, 10**6)], [(ASK, 10**6)], now_ns())
        self.last_reason = Reason.NONE
        self._make_port()

    def _make_port(self) -> None:
        clock = Clock()
        moment = Moment(clock, 2)
        metrics = Metrics.create(bytearray(Metrics.bytes_needed()), SLOT)
        seen = MarketRecord(kind=int(RecordKind.BOOK), epoch=EPOCH, live_id=1, last_sequence=50)
        seen.book_state = int(BookState.LIVE)
        Mailbox(moment, metrics).deliver(seen)
        buffer = bytearray(SpscRing.bytes_needed(RING, INTENT_RECORD_BYTES))
        ring = SpscRing.create(buffer, RING, INTENT_RECORD_BYTES)
        self.port = IntentPort(
            Producer(ring),
            moment,
            OrderIds(make_client_order_id(EPOCH, SLOT, 1, 0)),
            metrics,
            actor_id=1,
            worker_slot=SLOT,
            incarnation=1,
            epoch=EPOCH,
            generation=0,
        )
        self.source = IntentSource(Consumer(ring), 0, self._on_intent, SLOT)

    def _on_intent(self, from_slot: int, sequence: int, intent: IntentRecord) -> None:
        now = now_ns()
        self.last_reason = self.gate.check(intent, now)
        process_intent(
            intent, self.last_reason, sequence, from_slot, self.oms, self.session, self.entries, now_ns, now
        )

    def _on_report(self, report: ReportRecord) -> None:
        self.entries.report(report, report.report_ns)

    def submit(self) -> int | None:
        """One order from the strategy's call until the session has it; returns its id."""
        order_id = self.port.new_order(0, Side.BUY, FAR, UNITS)
        self.source.poll_now(1)
        return order_id

    def intent(self, number: int) -> IntentRecord:
        """An intent that passes the gate."""
        record = IntentRecord(
            kind=1, side=int(Side.BUY), order_type=1, time_in_force=1, actor_id=1, worker_slot=SLOT,
            incarnation=1, epoch=EPOCH, client_order_id=make_client_order_id(EPOCH, SLOT, 2, number),
            price_units=FAR, quantity_units=UNITS, decide_ns=now_ns(),
        )  # fmt: skip
        record.add_certificate(0, EPOCH, 1, 50)
        return record

    def close(self) -> None:
        """Close the journal."""
        self.journal.close()


def submit_times(path: OrderPath, count: int, warm: int = 500) -> Times:
    """What each order of one process took from the strategy's call until the session had it, in ns."""
    clock = time.perf_counter_ns
    times = np.zeros(count, dtype=np.int64)
    for number in range(-warm, count):
        begin = clock()
        path.submit()
        took = clock() - begin
        if number >= 0:
            times[number] = took
        path.session.on_timer(now_ns())  # the acknowledgment, in its own time
    assert path.oms.open_count == count + warm, "an order was refused"
    return times


def gate_times(path: OrderPath, count: int) -> Times:
    """What each full check of a passing order took in a loop, in ns."""
    clock, check = time.perf_counter_ns, path.gate.check
    intents = [path.intent(number) for number in range(1, 65)]
    times = np.zeros(count, dtype=np.int64)
    for number in range(-500, count):
        intent = intents[number & 63]
        now = now_ns()
        begin = clock()
        reason = check(intent, now)
        took = clock() - begin
        if number >= 0:
            times[number] = took
        assert not reason, Reason(reason)
    return times


def call_times(count: int, call: Callable[[object, object], object]) -> Times:
    """What each call of something from Python with two arguments took, in ns: the floor of the gate."""
    clock = time.perf_counter_ns
    times = np.zeros(count, dtype=np.int64)
    for number in range(count):
        now = now_ns()
        begin = clock()
        call(None, now)
        times[number] = clock() - begin
    return times


# ---- floor: raw ring, preformatted frame, socket -------------------------------------------------


def wire_floor(count: int, rate: int, cores: tuple[int, int]) -> Times:
    """Decided → written, with nothing between but a ring, a spinning reader and a loopback TCP socket, in ns.

    Args:
        count: records.
        rate: a second.
        cores: of the sender, of the reader.
    """
    shared = mmap(-1, SpscRing.bytes_needed(RING, 64))
    ring = SpscRing.create(shared, RING, 64)
    results = mmap(-1, 8 * count + 8)
    ready = np.frombuffer(results, dtype=np.int64, count=count + 1)
    pid = os.fork()
    if pid == 0:
        try:
            os.sched_setaffinity(0, {cores[1]})
            _write_frames(Consumer(ring), ready)
        finally:
            os._exit(0)
    os.sched_setaffinity(0, {cores[0]})
    producer = Producer(ring)
    while not ready[count]:
        os.sched_yield()
    first_ns = now_ns() + 1_000_000
    for number in range(count):
        wait_until(first_ns + number * 1_000_000_000 // rate)
        producer.offer(now_ns().to_bytes(8, "little"))
    os.waitpid(pid, 0)
    return ready[:count].copy()


def _write_frames(consumer: Consumer, times: Times) -> None:
    """Write a ready frame for each record, and note how old the record was then."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        here = socket.create_connection(listener.getsockname())
        there, _ = listener.accept()
        here.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        room = bytearray(64)
        times[-1] = 1
        for number in range(len(times) - 1):
            while not consumer.poll_into(room, 1):
                pass
            here.send(FRAME)
            times[number] = now_ns() - int.from_bytes(room[:8], "little")
            consumer.commit(1)
            there.recv(4_096)


def woken_floor(count: int, rate: int, cores: tuple[int, int]) -> Times:
    """As `wire_floor`, but the reader sleeps until it is woken, and so does who reads the socket, in ns.

    The reader has real-time priority where the system allows it, as a gateway has: what is left is the
    kernel's, a wake-up and a send.

    Args:
        count: records.
        rate: a second.
        cores: of the sender, of the reader.
    """
    shared = mmap(-1, SpscRing.bytes_needed(RING, 64))
    ring = SpscRing.create(shared, RING, 64)
    results = mmap(-1, 8 * count + 8)
    times = np.frombuffer(results, dtype=np.int64, count=count + 1)
    bell = os.eventfd(0)
    pid = os.fork()
    if pid == 0:
        try:
            os.sched_setaffinity(0, {cores[1]})
            _write_when_woken(Consumer(ring), times, bell)
        finally:
            os._exit(0)
    os.sched_setaffinity(0, {cores[0]})
    producer = Producer(ring)
    while not times[count]:
        os.sched_yield()
    first_ns = now_ns() + 1_000_000
    for number in range(count):
        due_ns = first_ns + number * 1_000_000_000 // rate
        time.sleep(max(due_ns - now_ns() - SLEEP_LESS_NS, 0) / 1e9)
        wait_until(due_ns)
        producer.offer(now_ns().to_bytes(8, "little"))
        os.eventfd_write(bell, 1)
    os.waitpid(pid, 0)
    os.close(bell)
    return times[:count].copy()


def _write_when_woken(consumer: Consumer, times: Times, bell: int) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        here = socket.create_connection(listener.getsockname())
        there, _ = listener.accept()
    if os.fork() == 0:
        here.close()
        try:
            os.sched_setaffinity(0, range(os.cpu_count() or 1))
            while there.recv(4_096):
                pass
        finally:
            os._exit(0)
    there.close()
    here.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    with suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(REALTIME))
    room = bytearray(64)
    times[-1] = 1
    done = 0
    while done < len(times) - 1:
        os.eventfd_read(bell)
        while consumer.poll_into(room, 1):
            here.send(FRAME)
            times[done] = now_ns() - int.from_bytes(room[:8], "little")
            consumer.commit(1)
            done += 1
    here.close()
    os.wait()


# ---- the halt word -------------------------------------------------------------------------------


@contextmanager
def checking(path: OrderPath, seen: mmap, core: int) -> Iterator[None]:
    """A forked gate that checks for ever and writes down when it refused for the first time after a halt."""
    pid = os.fork()
    if pid == 0:
        try:
            os.sched_setaffinity(0, {core})
            word = np.frombuffer(seen, dtype=np.int64, count=2)
            intent, check = path.intent(1), path.gate.check
            while True:
                reason = check(intent, now_ns())
                if reason == Reason.HALTED and not word[0]:
                    word[0] = now_ns()
                elif not reason:
                    word[1] = 1
        finally:
            os._exit(1)
    try:
        yield
    finally:
        os.kill(pid, 9)
        os.waitpid(pid, 0)


def halt_times(directory: Path, count: int, core: int) -> Times:
    """From the write of the halt word until a gate in another process has refused by it, in ns."""
    control = Control.create(mmap(-1, Control.bytes_needed()), EPOCH, os.getpid())
    path = OrderPath(directory, control)
    seen = mmap(-1, 4096)
    word = np.frombuffer(seen, dtype=np.int64, count=2)
    times = np.zeros(count, dtype=np.int64)
    try:
        with checking(path, seen, core):
            for number in range(count):
                word[1] = 0
                while not word[1]:
                    os.sched_yield()
                word[0] = 0
                begin = now_ns()
                control.set_halt(TradingState.HALTED, 1)
                while not word[0]:
                    os.sched_yield()
                times[number] = word[0] - begin
                control.clear_halt()
    finally:
        path.close()
    return times
