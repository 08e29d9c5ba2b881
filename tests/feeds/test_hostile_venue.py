"""A venue that misbehaves, through the real connection, session and core.

Every case: the book is LIVE, the venue does something wrong, that is counted with its reason, the book is
never LIVE while it differs from the venue's own book of that sequence, and it is LIVE again when the venue
behaves again.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import uvloop

from feeds.errors import TransportError
from feeds.settings import SessionSettings
from feeds.transport.reconnect import ReconnectPolicy
from feeds.transport.rest import RestClient
from feeds.transport.websocket import FeedConnection
from feeds.validation import ValidationSettings
from shm.clock import now_ns
from tests.kit.feed_rig import Rig, plain
from tests.kit.hostile_venue import BINARY, CLOSE, SYMBOL, HostileVenue, http, ws_frame

MS = 1_000_000
FRAME_BYTES_MAX = 64 * 1024
#: Long silences: a machine that lets nobody run for a while makes no line a silent one.
SETTINGS = SessionSettings(
    silence_ns=20_000 * MS, reconnect_silence_ns=40_000 * MS, clock_jump_ns=0, snapshot_timeout_ns=150 * MS,
    resync_tokens=10_000, resync_backoff_ns=2 * MS, resync_backoff_max_ns=20 * MS,
    validation=ValidationSettings(deviation_ns=2_000 * MS, warm_up=5),
)  # fmt: skip
IMPATIENT = replace(SETTINGS, silence_ns=150 * MS, reconnect_silence_ns=250 * MS, late_ns=50 * MS)
#: A signal that strikes inside a task ends that task and nobody else: a thread ends a test that hangs.
pytestmark = pytest.mark.timeout(120, method="thread")


class Scene:
    """The venue, one connection to it, and a watch over the book after everything the feed does."""

    def __init__(self, settings: SessionSettings) -> None:
        self.venue = HostileVenue()
        self.rig = Rig(
            [plain(SYMBOL)], settings, request_snapshot=self._ask, request_reconnect=self._reconnect
        )
        self.rig.core.virtual_now_ns = 0
        self.session = self.rig.session
        self.wrong: list[str] = []
        self.states: list[str] = []
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        await self.venue.start()
        base = f"127.0.0.1:{self.venue.port}"
        self.rest = RestClient(f"http://{base}", now_ns=now_ns, timeout_s=0.4, ban_ns=50 * MS)
        self.line = FeedConnection(
            f"ws://{base}/public/stream", self.session, 0, subscribe=(b"{}",), random=lambda: 0.0,
            policy=ReconnectPolicy(initial_ns=5 * MS, maximum_ns=20 * MS), frame_bytes_max=FRAME_BYTES_MAX,
            handshake_timeout_s=1.0,
        )  # fmt: skip
        self._spawn(self.line.run())
        self._spawn(self._beat())

    async def stop(self) -> None:
        self.line.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.rest.close()
        await self.venue.stop()

    def _spawn(self, work: Any) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _beat(self) -> None:
        while True:
            self.session.on_timer(now_ns())
            self.look()
            await asyncio.sleep(0.002)

    def _ask(self, instrument_id: int) -> None:
        self._spawn(self._fetch(instrument_id))

    async def _fetch(self, instrument_id: int) -> None:
        request = self.rig.adapter.snapshot_request(SYMBOL)
        try:
            reply = await self.rest.send(request.method, request.path)
        except TransportError as error:
            self.session.on_snapshot_failed(instrument_id, str(error), now_ns())
            return
        if reply.is_ok:
            self.session.on_snapshot(instrument_id, reply.body, now_ns())
        else:
            self.session.on_snapshot_failed(instrument_id, f"status {reply.status}", now_ns())

    def _reconnect(self, _connection: int) -> None:
        self.line.reset("silent for too long")

    def look(self) -> None:
        """Compare a LIVE book with the venue's own book of that sequence."""
        state = self.rig.state(SYMBOL)
        if not self.states or self.states[-1] != state:
            self.states.append(state)
        if state != "LIVE":
            return
        sequence = self.rig.core.proven_sequence(0)
        bids, asks = self.rig.core.book(0)
        if self.venue.history.get(sequence) != (dict(bids), dict(asks)):
            self.wrong.append(f"LIVE and wrong at {sequence}")

    def count(self, name: str) -> int:
        if name in ("frames", "oversized", "faults", "connects", "connect_errors"):
            return int(self.line.statistics()[name])
        return self.session.statistics().get(name, 0)

    async def until(self, condition: Callable[[], object], what: str) -> None:
        for _ in range(20_000):
            if condition():
                return
            await asyncio.sleep(0.002)
        raise AssertionError(f"never: {what}; {self.session.statistics()} {self.line.last_error}")

    async def live(self) -> None:
        """Wait until the book is LIVE and moves on with the stream."""
        start = self.venue.sequence

        def is_live() -> bool:
            here = self.rig.core.proven_sequence(0)
            return self.rig.state(SYMBOL) == "LIVE" and here in self.venue.history and here >= start

        await self.until(is_live, "the book is LIVE again")


Attack = Callable[[Scene], "Awaitable[None] | None"]


def play(attack: Attack, *counted: str, settings: SessionSettings = SETTINGS) -> Scene:
    """Run one case; every counter named must have risen by the attack."""
    scenes: list[Scene] = []

    async def run() -> None:
        scene = Scene(settings)
        scenes.append(scene)
        await scene.start()
        try:
            await scene.live()
            before = {name: scene.count(name) for name in counted}
            done = attack(scene)
            if done is not None:
                await done
            for name in counted:
                await scene.until(lambda: scene.count(name) > before[name], f"{name} is counted")
            await scene.live()
            scene.look()
        finally:
            await scene.stop()
        assert scene.wrong == []
        assert scene.count("faults") == 0, "no handler raised"

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run())
    return scenes[0]


@contextlib.contextmanager
def quiet(scene: Scene) -> Iterator[HostileVenue]:
    """No update of the venue's own in between."""
    scene.venue.is_sending = False
    yield scene.venue
    scene.venue.is_sending = True


# ---- frames --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "frame",
    [
        b"", b"{", b"\xff\xfe\x00", b"null", b'"text"', b"{}{}", b'{"stream":1}', b"[" * 10_000,
        b'{"data":{"e":"depthUpdate"}}', b'{"a":' * 5_000,
        b'{"e":"depthUpdate","s":"BTCUSDT","U":1,"u":2,"pu":1e99,"b":[],"a":[]}',
    ],
)  # fmt: skip
def test_a_garbage_frame_is_counted_kept_and_changes_nothing(frame: bytes) -> None:
    def attack(scene: Scene) -> None:
        scene.venue.text(frame)

    scene = play(attack, "rejected")
    # A snapshot that a slow machine answered too late is told as well: not of the connection.
    (rejection,) = (one for one in scene.session.rejections if one.connection == 0)
    assert rejection.frame == frame[:512]
    assert rejection.error
    assert scene.states[-1] == "LIVE"
    assert scene.count("gaps") == 0


def test_a_binary_frame_is_rejected() -> None:
    def attack(scene: Scene) -> None:
        scene.venue.raw(ws_frame(b"\x00\x01\x02", BINARY))

    assert play(attack, "rejected").count("gaps") == 0


def test_a_truncated_update_is_rejected_and_the_next_one_shows_the_gap() -> None:
    def attack(scene: Scene) -> None:
        scene.venue.text(scene.venue.update()[:-30])

    scene = play(attack, "rejected", "gaps", "resyncs")
    assert scene.count("rejected") == 1


def test_an_update_in_fragments_is_whole() -> None:
    def attack(scene: Scene) -> None:
        with quiet(scene) as venue:
            text = venue.update()
            venue.raw(ws_frame(text[:10], fin=False))
            venue.raw(ws_frame(text[10:50], 0, fin=False))
            venue.raw(ws_frame(b"", 9))  # a ping may stand between
            venue.raw(ws_frame(text[50:], 0))

    scene = play(attack)
    assert (scene.count("gaps"), scene.count("rejected"), scene.count("connects")) == (0, 0, 1)


def test_an_update_byte_by_byte_is_whole() -> None:
    async def attack(scene: Scene) -> None:
        scene.venue.is_sending = False
        for byte in ws_frame(scene.venue.update()):
            scene.venue.raw(bytes([byte]))
            await asyncio.sleep(0)
        scene.venue.is_sending = True

    scene = play(attack)
    assert (scene.count("gaps"), scene.count("rejected"), scene.count("connects")) == (0, 0, 1)


@pytest.mark.parametrize("opcode", [1, 2])
def test_a_new_message_inside_a_fragmented_one_loses_nothing_silently(opcode: int) -> None:
    def attack(scene: Scene) -> None:
        with quiet(scene) as venue:
            venue.raw(ws_frame(venue.update()[:60], fin=False))
            venue.raw(ws_frame(venue.update(), opcode))

    scene = play(attack, "gaps", "resyncs")
    assert scene.count("rejected") + scene.count("disconnects") > 0


def test_a_continuation_of_nothing_is_not_taken_for_data() -> None:
    def attack(scene: Scene) -> None:
        scene.venue.raw(ws_frame(b"of nothing", 0))

    scene = play(attack)
    assert scene.count("rejected") + scene.count("disconnects") > 0


@pytest.mark.parametrize(
    "data",
    [
        ws_frame(b"x" * (FRAME_BYTES_MAX + 1)),
        b"\x81\x7f" + (1 << 62).to_bytes(8, "big"),
        b"\x81\x7f" + b"\xff" * 8,
        ws_frame(b"{", fin=False) + ws_frame(b" " * FRAME_BYTES_MAX, 0),
        ws_frame(b"x" * 200, 9),  # a ping beyond 125 bytes
        ws_frame(b"\x03", CLOSE),  # half a close code
        ws_frame(b"\x03\xf4bye", CLOSE),
        ws_frame(b"", CLOSE),
        b"GET / HTTP/1.1\r\n\r\n",
    ],
)
def test_what_breaks_the_protocol_or_a_bound_ends_the_connection_and_it_is_made_again(data: bytes) -> None:
    def attack(scene: Scene) -> None:
        with quiet(scene):
            scene.venue.raw(data)

    scene = play(attack, "disconnects", "connects")
    assert "STALE" in scene.states
    assert scene.line.last_error


@pytest.mark.parametrize(
    "data", [b"\xf1\x02{}", b"\x83\x02{}"]
)  # reserved bits, an opcode that does not exist
def test_a_frame_no_protocol_knows_is_rejected_or_ends_the_connection(data: bytes) -> None:
    def attack(scene: Scene) -> None:
        scene.venue.raw(data)

    scene = play(attack)
    assert scene.count("rejected") + scene.count("disconnects") > 0


def test_an_unknown_symbol_is_counted_by_name() -> None:
    def attack(scene: Scene) -> None:
        scene.venue.text(
            b'{"e":"bookTicker","u":1,"s":"NOPEUSDT","b":"1.0","B":"1","a":"2.0","A":"1","T":1,"E":1}'
        )

    scene = play(attack, "unknown_symbols")
    assert scene.session.unknown_symbols == {"NOPEUSDT": 1}


@pytest.mark.parametrize(
    "level",
    [["99.001", "1.000"], ["99.00", "1.0001"], ["99.00", "-1.000"], ["99.00", "99999999999999999999"],
     ["-1.00", "1.000"], ["NaN", "1"], ["1e5", "1"], ["", ""], ["99.00"]],
)  # fmt: skip
def test_a_level_that_does_not_fit_disproves_the_book_or_shows_as_a_gap(level: list[str]) -> None:
    def attack(scene: Scene) -> None:
        with quiet(scene) as venue:
            truth = (dict(venue.truth[0]), dict(venue.truth[1]))
            venue.text(venue.update([["98.00", "0.500"]], []).replace(b'["98.00","0.500"]', _json(level)))
            venue.truth = truth
            venue.update([], [])  # what was sent never was true

    scene = play(attack, "rejected", "resyncs")
    assert scene.count("bad_levels") + scene.count("gaps") > 0


def _json(level: list[str]) -> bytes:
    return ("[" + ",".join(f'"{text}"' for text in level) + "]").encode()


def test_a_gap_is_found_and_healed() -> None:
    def attack(scene: Scene) -> None:
        scene.venue.update()  # never sent

    scene = play(attack, "gaps", "resyncs")
    assert "LIVE" in scene.states
    assert scene.states[-1] == "LIVE"


def test_repeats_are_harmless() -> None:
    def attack(scene: Scene) -> None:
        with quiet(scene) as venue:
            text = venue.update()
            venue.text(text)
            venue.text(text)

    scene = play(attack, "duplicates")
    assert (scene.count("gaps"), scene.states[-1]) == (0, "LIVE")


@pytest.mark.parametrize("is_cut", [False, True])
def test_a_venue_that_restarts_its_numbers_is_followed(is_cut: bool) -> None:
    def attack(scene: Scene) -> None:
        scene.venue.rewind(5)
        if is_cut:
            scene.venue.cut()

    scene = play(attack, "gaps", "resyncs")
    assert scene.rig.core.proven_sequence(0) < 1_000_000
    assert (scene.count("rewinds") > 0) == (not is_cut)


def test_a_crossed_book_is_disproved() -> None:
    def attack(scene: Scene) -> None:
        with quiet(scene) as venue:
            truth = (dict(venue.truth[0]), dict(venue.truth[1]))
            venue.text(venue.update([["200.00", "1.000"]], []))
            venue.truth = truth
            venue.update([], [])

    play(attack, "crossed", "resyncs")


def test_time_that_runs_backwards_is_found() -> None:
    async def attack(scene: Scene) -> None:
        start = scene.count("frames")
        await scene.until(lambda: scene.count("frames") > start + 20, "the offset is known")
        scene.venue.event_shift_ms = -60_000
        await scene.until(lambda: scene.count("suspect_timestamp"), "the deviation is counted")
        scene.venue.event_shift_ms = 0

    assert play(attack, "suspect_timestamp").count("gaps") == 0


# ---- connections ---------------------------------------------------------------------------------


def test_a_half_open_connection_makes_the_book_stale_and_is_replaced() -> None:
    async def attack(scene: Scene) -> None:
        scene.venue.is_sending = False
        await scene.until(lambda: scene.rig.state(SYMBOL) == "STALE", "STALE by silence")
        await scene.until(lambda: scene.count("connects") > 1, "a new connection")
        scene.venue.is_sending = True

    play(attack, "silences", "disconnects", settings=IMPATIENT)


@pytest.mark.parametrize("kept", [1, 2, 60])
def test_a_cut_inside_a_frame_is_a_lost_socket(kept: int) -> None:
    async def attack(scene: Scene) -> None:
        with quiet(scene) as venue:
            venue.raw(ws_frame(venue.update())[:kept])
            await asyncio.sleep(0.01)
            venue.cut()

    scene = play(attack, "disconnects", "connects", "gaps", "resyncs")
    assert "STALE" in scene.states


@pytest.mark.parametrize(
    "greeting",
    [
        http(b"no", "403 Forbidden"),
        b"\x00\x01\x02\x03\r\n\r\n",
        b"\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
    ],
)
def test_a_refused_or_broken_handshake_is_counted_and_tried_again(greeting: bytes) -> None:
    def attack(scene: Scene) -> None:
        scene.venue.greeting = greeting
        scene.venue.cut()

    play(attack, "disconnects", "connect_errors")


def test_a_refused_subscription_is_kept() -> None:
    def attack(scene: Scene) -> None:
        scene.venue.text(b'{"error":{"code":2,"msg":"Invalid request: unknown stream"},"id":1}')

    scene = play(attack, "control_errors")
    assert list(scene.session.control_errors) == ["request 1: code 2: Invalid request: unknown stream"]


# ---- snapshots -----------------------------------------------------------------------------------


def bad_snapshots(venue: HostileVenue, name: str) -> Callable[[], Any]:
    """An answer to snapshot requests that is wrong in one way."""

    async def slow() -> bytes:
        await asyncio.sleep(0.3)
        return http(venue.snapshot())

    crossed = b'{"lastUpdateId":%d,"bids":[["101.00","1.000"]],"asks":[["100.00","1.000"]]}'
    answers: dict[str, Callable[[], Any]] = {
        "500": lambda: http(b"oops", "500 Internal Server Error"),
        "429": lambda: http(b"{}", "429 Too Many Requests"),
        "418": lambda: http(b"{}", "418 I'm a teapot"),
        "redirect": lambda: http(b"", "302 Found", "Location: http://127.0.0.1:1/"),
        "invalid JSON": lambda: http(venue.snapshot()[:-40]),
        "not a snapshot": lambda: http(b'{"code":-1121,"msg":"Invalid symbol."}'),
        "empty": lambda: http(b""),
        "crossed": lambda: http(crossed % venue.sequence),
        "too many decimals": lambda: http(venue.snapshot().replace(b'"],["', b'00001"],["')),
        "cut": lambda: http(venue.snapshot())[:-50] + b"",
        "no HTTP": lambda: b"\x00\xff\r\n\r\n",
        "too old": lambda: http(venue.snapshot(1)),
        "slow": slow,
    }
    return answers[name]


@pytest.mark.parametrize(
    ("name", "counted"),
    [
        ("500", "snapshot_failures"), ("429", "snapshot_failures"), ("418", "snapshot_failures"),
        ("redirect", "snapshot_failures"), ("invalid JSON", "rejected"), ("not a snapshot", "rejected"),
        ("empty", "rejected"), ("crossed", "rejected"), ("too many decimals", "rejected"),
        ("cut", "snapshot_failures"), ("no HTTP", "snapshot_failures"), ("too old", "snapshots_too_old"),
        ("slow", "snapshot_failures"),
    ],
)  # fmt: skip
def test_a_bad_answer_to_a_snapshot_request_is_counted_and_asked_again(name: str, counted: str) -> None:
    async def attack(scene: Scene) -> None:
        scene.venue.answer = bad_snapshots(scene.venue, name)
        before = scene.count(counted)
        scene.venue.update()  # never sent: a gap
        await scene.until(lambda: scene.rig.state(SYMBOL) != "LIVE", "the gap is seen")
        await scene.until(lambda: scene.count(counted) > before, f"{counted} by {name}")
        assert scene.rig.state(SYMBOL) != "LIVE"
        scene.venue.answer = scene.venue.good_answer

    scene = play(attack, "gaps", "resyncs", counted)
    if counted != "snapshots_too_old":
        assert scene.session.rejections
