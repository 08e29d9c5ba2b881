"""One bell per socket read: the first record at once, the others together, nothing forgotten."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator
from typing import cast

import pytest
import uvloop
from hypothesis import given, settings
from hypothesis import strategies as st
from picows import WSFrame, WSListener, WSMsgType, WSTransport, WSUpgradeRequest, ws_connect, ws_create_server

from feeds.bells import BellHold
from feeds.core import FeedCore
from feeds.errors import FeedError
from feeds.pump import FramePump
from feeds.session import FeedSession
from feeds.transport.websocket import FeedListener
from feeds.venues.binance_usdm.decode import BinanceUsdmDecoder
from shm.book import BookSlab
from shm.control import Control
from shm.doorbell import BellSet, Parker
from shm.ring import BroadcastRing, Publisher, Subscriber
from tests.kit.feed_kit import instrument, trade_frame

AGE = 20
HUGE = 1 << 60
#: A signal that strikes inside a task ends that task and nobody else: a thread ends a test that hangs.
pytestmark = pytest.mark.timeout(120, method="thread")


class NaiveHold:
    """The rule as it reads: which rings were rung in this batch, and since when each of them owes."""

    def __init__(self, age: int) -> None:
        self.age = age
        self.rung: set[int] = set()
        self.since: dict[int, int] = {}

    def owe(self, ring: int, now: int) -> bool:
        if ring not in self.rung or self.age <= 0:
            self.rung.add(ring)
            self.since.pop(ring, None)
            return True
        since = self.since.setdefault(ring, now)
        if now - since >= self.age:
            del self.since[ring]
            return True
        return False

    def due(self, now: int) -> set[int]:
        found = {ring for ring, since in self.since.items() if now - since >= self.age}
        for ring in found:
            del self.since[ring]
        return found

    def take(self) -> set[int]:
        owed, self.since = set(self.since), {}
        return owed

    def end(self) -> set[int]:
        self.rung = set()
        return self.take()


def members(mask: int) -> set[int]:
    return {i for i in range(8) if mask >> i & 1}


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["owe", "owe", "owe", "due", "take", "end"]), st.integers(0, 3), st.integers(0, 15)
    ),
    max_size=60,
)


@settings(max_examples=200)
@given(STEPS, st.sampled_from([0, 1, AGE, HUGE]))
def test_the_hold_does_what_the_naive_one_does(steps: list[tuple[str, int, int]], age: int) -> None:
    hold, naive, now = BellHold(age), NaiveHold(age), 1_000
    for step, ring, passed in steps:
        now += passed
        if step == "owe":
            assert hold.owe(ring, now) == naive.owe(ring, now)
        elif step == "due":
            assert members(hold.due(now)) == naive.due(now)
        elif step == "take":
            assert members(hold.take()) == naive.take()
        else:
            assert members(hold.end()) == naive.end()
        assert members(hold.owed) == set(naive.since)


def test_first_record_rings_the_next_are_held_until_the_oldest_is_too_old() -> None:
    hold = BellHold(AGE)
    assert hold.owe(0, 100)
    assert not hold.owe(0, 110)  # held from here on
    assert not hold.owe(0, 129)
    assert hold.owe(0, 130)
    assert hold.owed == 0
    assert not hold.owe(0, 131)
    assert hold.due(150) == 0
    assert hold.due(151) == 1
    assert not hold.owe(0, 152)
    assert hold.end() == 1
    assert hold.owe(0, 153)  # another batch


def test_each_ring_has_its_own_first_record() -> None:
    hold = BellHold(AGE)
    assert hold.owe(0, 1)
    assert hold.owe(1, 1)
    assert not hold.owe(1, 2)
    assert hold.end() == 0b10


def test_a_ring_beyond_the_last_is_refused() -> None:
    with pytest.raises(FeedError, match=r"ring 8 is not within 0 \.\. 7"):
        BellHold().owe(8, 1)


class Session:
    """As much of a feed session as pump and listener need; `on_result` may be made to raise."""

    def __init__(self, core: FeedCore) -> None:
        self.pump = FramePump(core, self, 1, 0, 0.0)
        self.results: list[tuple[int, int]] = []
        self.error: Exception | None = None
        self.doorbells: Callable[[], int] = lambda: 0
        self.lost = asyncio.Event()

    def on_result(self, code: int, frame: bytes, frame_ns: int, connection: int) -> None:
        self.results.append((code, self.doorbells()))
        if self.error is not None:
            raise self.error

    def on_advanced(self, instrument_id: int, frame_ns: int) -> None: ...

    def on_sample(self, connection: int, receive_ns: int, venue_utc_ns: int) -> None: ...

    def on_suspect(self, reason: int, frame_ns: int, instrument_id: int) -> None: ...

    def on_connected(self, connection: int, now_ns: int) -> None: ...

    def on_disconnected(self, connection: int, now_ns: int) -> None:
        self.lost.set()


class Eager(FeedListener):
    """Before each frame the subscriber is parked again, as one that is quicker than the feed would be."""

    parker: Parker
    frames_seen = 0
    owed = -1

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        self.frames_seen += 1
        self.parker.arm()
        super().on_ws_frame(transport, frame)


class Desk:
    """A feed core with one ring and one parked subscriber in worker slot 1."""

    def __init__(self, age_ns: int) -> None:
        memory = bytearray(Control.bytes_needed())
        self.control = Control.create(memory, 1, os.getpid())
        self.bell = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self.control.slot(1).bell_fd = self.bell
        self.parker = Parker(memory, 1)
        slab = BookSlab.create(bytearray(BookSlab.bytes_needed(32, 16, 2)), 32, 16, 2, 0)
        self.ring = BroadcastRing.create(bytearray(BroadcastRing.bytes_needed(64, 128)), 64, 128)
        self.ring.subscribe_slot(1)
        self.subscriber = Subscriber(self.ring)
        publisher = Publisher(self.ring, BellSet(memory))
        self.core = FeedCore(BinanceUsdmDecoder(), 1, slab, {2: publisher}, 7)
        self.core.bells.age_ns_max = age_ns
        self.core.add_instrument(instrument(), 0)
        self.session = Session(self.core)
        self.session.doorbells = lambda: self.ring.doorbells
        self.before = self.ring.doorbells

    @property
    def rung(self) -> int:
        return self.ring.doorbells - self.before

    @property
    def is_told(self) -> bool:
        """Whether the subscriber knows of every record: it is awake, or nothing came after it was woken."""
        return not self.parker.is_parked

    def listener(self) -> Eager:
        made = Eager(cast(FeedSession, self.session), 0)
        made.parker = self.parker
        return made


@pytest.fixture
def desk() -> Iterator[Callable[[int], Desk]]:
    made: list[Desk] = []

    def make(age_ns: int = HUGE) -> Desk:
        made.append(Desk(age_ns))
        return made[-1]

    yield make
    for one in made:
        os.close(one.bell)


def raw(payload: bytes, opcode: int = 1, fin: bool = True) -> bytes:
    """A websocket frame as a server sends it (RFC 6455 section 5.2)."""
    size = bytes([len(payload)]) if len(payload) < 126 else b"\x7e" + len(payload).to_bytes(2, "big")
    return bytes([(0x80 if fin else 0) | opcode]) + size + payload


def trade(number: int) -> bytes:
    return trade_frame(number, "61800.30", "0.001", False)


class Server(WSListener):
    """The other end: it writes bytes as they are, so that they arrive in one read."""

    def __init__(self, arrived: asyncio.Future[WSTransport]) -> None:
        self.arrived = arrived

    def on_ws_connected(self, transport: WSTransport) -> None:
        self.arrived.set_result(transport)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type == WSMsgType.CLOSE:
            transport.disconnect()


def sent_at_once(one: Desk, data: bytes, *, is_over: Callable[[Eager], bool]) -> Eager:
    """Connect the desk's listener, send the bytes by one write, end once the listener is through."""

    async def run() -> Eager:
        arrived: asyncio.Future[WSTransport] = asyncio.get_running_loop().create_future()

        def accept(_request: WSUpgradeRequest) -> WSListener:
            return Server(arrived)

        server = await ws_create_server(accept, "127.0.0.1", 0)
        url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        transport, listener = await ws_connect(one.listener, url, disconnect_on_exception=False)
        assert isinstance(listener, Eager)
        peer = await arrived
        peer.underlying_transport.write(data)
        while not is_over(listener):
            await asyncio.sleep(0)
        listener.owed = one.core.bells.owed  # a lost connection would settle it
        transport.disconnect(False)
        await one.session.lost.wait()
        server.close()
        return listener

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(run())


MakeDesk = Callable[[int], Desk]


def test_several_frames_of_one_read_ring_twice_and_leave_nobody_asleep(desk: MakeDesk) -> None:
    one = desk(HUGE)
    sent_at_once(one, b"".join(raw(trade(i)) for i in range(5)), is_over=lambda who: who.frames_seen == 5)
    assert one.ring.cursor == 5
    assert one.rung == 2
    assert one.is_told


def test_without_patience_every_record_rings(desk: MakeDesk) -> None:
    one = desk(0)
    sent_at_once(one, b"".join(raw(trade(i)) for i in range(5)), is_over=lambda who: who.frames_seen == 5)
    assert one.rung == 5


def test_a_single_frame_rings_once(desk: MakeDesk) -> None:
    one = desk(HUGE)
    sent_at_once(one, raw(trade(1)), is_over=lambda who: who.frames_seen == 1)
    assert one.rung == 1
    assert one.is_told


@pytest.mark.parametrize(
    "tail",
    [
        raw(b"", opcode=9),
        raw(b"x", opcode=10),
        b"\x81",
        b"\x83\x00",
        raw(b"\x03\xe8", opcode=8),
        raw(b"{", fin=False),
    ],
    ids=["ping", "pong", "half a header", "a reserved opcode", "close", "a fragment"],
)
def test_what_follows_the_last_record_never_keeps_its_bell(desk: MakeDesk, tail: bytes) -> None:
    one = desk(HUGE)
    data = raw(trade(1)) + raw(trade(2)) + tail
    listener = sent_at_once(one, data, is_over=lambda _: one.ring.cursor == 2)
    assert one.rung == 2
    # A frame of the tail that reached the listener parked the subscriber again, with nothing left to be told.
    assert listener.owed == 0


def test_a_session_that_raises_on_the_last_frame_leaves_nothing_unsignaled(desk: MakeDesk) -> None:
    one = desk(HUGE)
    one.session.error = ValueError("broken")
    frames = raw(trade(1)) + raw(trade(2)) + raw(b"not json")
    listener = sent_at_once(one, frames, is_over=lambda who: who.faults == 1)
    assert listener.last_fault == "ValueError('broken')"
    assert listener.owed == 0
    # What was held was signaled before the session, which is Python, was called.
    assert one.session.results == [(4, one.before + 2)]


def test_records_of_a_fragmented_message_are_signaled(desk: MakeDesk) -> None:
    one = desk(HUGE)
    whole = trade(3)
    parts = raw(whole[:40], fin=False) + raw(whole[40:], opcode=0)
    data = raw(trade(1)) + raw(trade(2)) + parts
    listener = sent_at_once(one, data, is_over=lambda who: who.frames_seen == 4)
    assert one.ring.cursor == 3
    assert listener.owed == 0
    assert one.is_told


def test_what_is_published_outside_a_read_is_signaled_at_once(desk: MakeDesk) -> None:
    one = desk(HUGE)
    for number in range(3):
        one.parker.arm()
        one.core.on_frame(trade(number), 5)
        assert one.is_told
    one.parker.arm()
    one.session.pump.feed(trade(9), 6)
    assert one.is_told
    assert one.rung == 4
