"""Venues recorded at once, and cuts that leave no gap: what was recorded replays to the venues' own books."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson
import pytest
import uvloop

from feeds.adapter import StreamSettings
from feeds.capture import read_capture
from feeds.capture_writer import WriterSettings
from feeds.errors import VenueError
from feeds.venues import get_adapter
from shm.clock import now_ns
from tests.kit.fault_scene import DEPTH
from tests.tools.venue_kit import get
from tools.recorder import Recorder, RecorderSettings
from tools.recorder_group import RecorderGroup, addresses, default_lines, split_by_venue
from tools.recorder_lines import RecordedLine
from tools.replay import Replay, ReplayResult, ReplaySettings
from tools.venues.faults import parse_faults
from tools.venues.run import VenueRun, VenueSettings
from tools.venues.synthetic_source import SyntheticSettings

pytestmark = pytest.mark.timeout(60)

VENUES = ("binance_usdm", "okx", "bybit_linear", "bybit_spot")
#: What is answered behind everything that was sent before.
ASK = {
    "binance_usdm": b'{"method":"LIST_SUBSCRIPTIONS","id":99}',
    "okx": b"ping",
    "bybit_linear": b'{"req_id":"99","op":"ping"}',
    "bybit_spot": b'{"req_id":"99","op":"ping"}',
}
LEVELS = 40
PAUSE_S = 0.002


class Scene:
    """Venues in this process and a recorder of them."""

    def __init__(self, folder: Path, **options: Any) -> None:
        self.folder, self.options = folder, options
        self.runs: dict[str, VenueRun] = {}
        self.answered: set[RecordedLine] = set()
        self.group: RecorderGroup

    async def play(self, script: Callable[[Scene], Awaitable[None]], limits: dict[str, Any]) -> None:
        with ExitStack() as stack:
            for name in ("binance_usdm", "okx", "bybit"):
                run = VenueRun(VenueSettings(name, SyntheticSettings(2, 500.0, 7), every_change=True))
                run.protocol.limits = replace(run.protocol.limits, connects=(0, 0.0), **limits)
                await run.start(stack)
                self.runs[name] = run
            self.group = RecorderGroup([self._settings(name) for name in VENUES])
            for recorder in self.group.recorders:
                self._watch(recorder)
            recording = asyncio.create_task(self.group.run())
            await self._until(lambda: all(one.has_begun for one in self.group.recorders))
            await self._until(lambda: all(self._flows(one) for one in self.group.recorders))
            await script(self)
            await self._end()
            self.group.stop()
            await recording
            for run in self.runs.values():
                await run.stop()

    def _settings(self, name: str) -> RecorderSettings:
        ready = self.run_of(name).ready
        return RecorderSettings(
            name, ("*",), self.folder, str(ready["ws"]), str(ready["rest"]),
            streams=StreamSettings(DEPTH[name]), **self.options,
        )  # fmt: skip

    def run_of(self, name: str) -> VenueRun:
        return self.runs["bybit" if name.startswith("bybit") else name]

    def _watch(self, recorder: Recorder) -> None:
        take = recorder.on_frame

        def on_frame(line: RecordedLine, frame: bytes, frame_ns: int) -> None:
            take(line, frame, frame_ns)
            if frame == b"pong" or b'"id":99' in frame[-40:] or b'"req_id":"99"' in frame:
                self.answered.add(line)

        recorder.on_frame = on_frame  # type: ignore[method-assign]

    @staticmethod
    def _flows(recorder: Recorder) -> bool:
        """Whether every line of books stands and has brought something since."""
        books = [line for line in recorder.lines if line.place.plan.carries_depth]
        return all(line.connection.is_connected and line.heard_ns for line in books) and recorder.frames > 50

    @staticmethod
    async def _until(condition: Callable[[], bool]) -> None:
        while not condition():
            await asyncio.sleep(PAUSE_S)

    async def _end(self) -> None:
        """Let the markets stand, and wait for all that was sent."""
        for run in self.runs.values():
            assert run._play is not None
            run._play.cancel()
            await asyncio.wait([run._play])
            run.hub.send()
        self.books = {name: await self._book(name) for name in VENUES}
        for recorder in self.group.recorders:
            for line in recorder.lines:
                await self._until(lambda line=line: line.connection.is_connected)  # type: ignore[misc]
                assert line.connection.send(ASK[recorder.settings.venue])
                await self._until(lambda line=line: line in self.answered)  # type: ignore[misc]

    async def _book(self, name: str) -> dict[str, list[list[tuple[Decimal, Decimal]]]]:
        adapter, recorder = get_adapter(name), self.recorder(name)
        found = {}
        for symbol in recorder.symbols:
            status, _, body = await get(self.run_of(name), adapter.snapshot_request(symbol).path)
            assert status == 200
            answer = orjson.loads(body)
            book = answer["data"][0] if "data" in answer else answer.get("result", answer)
            sides = [book.get("bids", book.get("b")), book.get("asks", book.get("a"))]
            found[symbol] = [levels(side) for side in sides]
        return found

    def recorder(self, name: str) -> Recorder:
        return next(one for one in self.group.recorders if one.settings.venue == name)


def levels(rows: list[list[str]]) -> list[tuple[Decimal, Decimal]]:
    return [(Decimal(row[0]), Decimal(row[1])) for row in rows[:LEVELS]]


def record(
    folder: Path,
    script: Callable[[Scene], Awaitable[None]],
    limits: dict[str, Any] | None = None,
    **options: Any,
) -> Scene:
    scene = Scene(folder, **options)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(scene.play(script, limits or {}))
    return scene


def replayed(files: list[Path]) -> ReplayResult:
    return Replay(ReplaySettings("", tuple(files), strategy="")).run(with_books=True)


def check(scene: Scene) -> ReplayResult:
    """No gap, nothing lost, and the books are the venues'."""
    result = replayed(sorted(scene.folder.glob("*.rlc.gz")))
    assert result.gaps == []
    assert result.damaged_lines == result.rejected == 0
    assert {book["state"] for book in result.books} == {"LIVE"}
    assert {(book["venue"], book["symbol"]) for book in result.books} == {
        (name, symbol) for name in VENUES for symbol in scene.recorder(name).symbols
    }
    for book in result.books:
        assert [levels(book["bids"]), levels(book["asks"])] == scene.books[book["venue"]][book["symbol"]]
    return result


def test_venues_recorded_at_once_and_every_connection_replaced_leave_no_gap(tmp_path: Path) -> None:
    async def script(scene: Scene) -> None:
        lines = {one.settings.venue: one.lines for one in scene.group.recorders}
        for one in lines.values():
            one.rotate(now_ns())
        await scene._until(lambda: all(one.rotations >= len(one.places) for one in lines.values()))

    scene = record(tmp_path, script)
    result = check(scene)
    found = scene.group.statistics()
    assert found["frames"] == result.lines
    assert found["rotations"] >= 8
    assert found["rotations_failed"] == found["dropped"] == found["left_out"] == 0
    assert set(found["venues"]) == set(VENUES)
    assert (
        found["connects"] == sum(len(one.lines.places) for one in scene.group.recorders) + found["rotations"]
    )


@pytest.mark.prove
def test_lines_that_the_venue_cuts_one_after_the_other_leave_no_gap(tmp_path: Path) -> None:
    async def cut(scene: Scene, run: VenueRun) -> None:
        mine = [one for one in scene.group.recorders if scene.run_of(one.settings.venue) is run]
        before = sum(int(one.statistics()["connects"]) for one in mine)
        oldest = min(client.number for client in run.hub.clients)
        run.faults.add(parse_faults(f"now: cut_24h connection={oldest}", run.protocol.name))
        await scene._until(lambda: sum(int(one.statistics()["connects"]) for one in mine) > before)
        begun_ns = now_ns()
        books = [line for one in mine for line in one.lines if line.place.plan.carries_depth]
        await scene._until(lambda: all(line.heard_ns > begun_ns for line in books))

    async def script(scene: Scene) -> None:
        for run in scene.runs.values():
            for _ in range(len(run.hub.clients)):
                await cut(scene, run)

    scene = record(tmp_path, script, lines=2, writer=WriterSettings(file_ns=500_000_000))
    check(scene)
    assert scene.group.statistics()["connects"] == 2 * sum(
        len(one.lines.places) for one in scene.group.recorders
    )
    files = sorted(tmp_path.glob("binance_usdm*.rlc.gz"))
    assert len(files) > 2
    later = replayed(files[1:])
    assert later.gaps == []
    assert set(later.states.values()) == {"LIVE"}, "each file has what a replay of it needs"


@pytest.mark.prove
def test_connections_are_replaced_before_the_venue_ends_them(tmp_path: Path) -> None:
    async def script(scene: Scene) -> None:
        lines = [one.lines for one in scene.group.recorders]
        await scene._until(lambda: all(one.rotations >= 3 * len(one.places) for one in lines))

    scene = record(tmp_path, script, {"connection_s": 6.0}, rotate_s=2.0)
    check(scene)


# ---- what the format says ------------------------------------------------------------------------


def made(folder: Path, name: str, *lines: bytes) -> Path:
    path = folder / name
    path.write_bytes(b"\n".join(lines) + b"\n")
    return path


def okx(sequence: int, previous: int, bids: list[list[str]], action: str = "update") -> bytes:
    levels = {"bids": bids, "asks": [["110", "1", "0", "1"]] if action == "snapshot" else []}
    row = {**levels, "ts": str(1_700_000_000_000 + sequence), "checksum": 0,
           "seqId": sequence, "prevSeqId": previous}  # fmt: skip
    return orjson.dumps({"arg": {"channel": "books", "instId": "BTC-USDT"}, "action": action, "data": [row]})


def lines_of(*frames: tuple[str, bytes], head: bytes = b"", start: int = 1) -> Iterator[bytes]:
    if head:
        yield b"%d ringlane capture %s" % (start, head)
    for number, (channel, frame) in enumerate(frames, start + 1):
        kind = "connect" if frame.startswith(b"w") or not frame else "recv"
        yield f"{number} {channel} {kind} ".encode() + frame


WHOLE = okx(10, -1, [["100", "1", "0", "1"]], "snapshot")
URL = b"wss://ws.okx.com:8443/ws/v5/public"


def head(part: int, recording: str = "a") -> bytes:
    return orjson.dumps({"version": 1, "venue": "okx", "recording": recording, "part": part, "symbols": []})


def test_the_lines_of_a_recording_are_the_same_in_its_next_file_in_whatever_order_they_come(
    tmp_path: Path,
) -> None:
    updates = [okx(n, n - 1, [["100", str(n), "0", "1"]]) for n in range(11, 21)]
    one = made(
        tmp_path, "1",
        *lines_of(("0", URL), ("0.1", URL), ("0", WHOLE), ("0.1", WHOLE),
                  *(("0", update) for update in updates), head=head(0)),
    )  # fmt: skip
    # The slower line is the first to speak in the second file: of its own numbers, none of them repeated.
    two = made(
        tmp_path, "2",
        *lines_of(*(("0.1", update) for update in updates), ("0", okx(21, 20, [])), head=head(1), start=100),
    )  # fmt: skip
    result = replayed([one, two])
    assert result.gaps == []
    assert result.feed["rewinds"] == 0
    assert [line["frames"] for line in result.venues["okx"].connections] == [12, 11]
    assert result.states == {"BTC-USDT": "LIVE"}


def test_a_line_that_is_over_keeps_no_book_live_and_its_number_is_free(tmp_path: Path) -> None:
    alone = made(tmp_path, "1", *lines_of(("0", URL), ("0", WHOLE), ("0", b""), head=head(0)))
    assert replayed([alone]).states == {"BTC-USDT": "STALE"}
    frames: list[tuple[str, bytes]] = [("0", URL), ("0", WHOLE)]
    for number in range(1, 40):  # far more than a stream can have lines at once
        new, old = f"0.{number}", f"0.{number - 1}" if number > 1 else "0"
        whole = okx(10 + number, -1, [["100", "1", "0", "1"]], "snapshot")
        frames += [(new, URL), (old, okx(10 + number, 9 + number, [])), (new, whole), (old, b"")]
    rotated = made(tmp_path, "2", *lines_of(*frames, head=head(0)))
    result = replayed([rotated])
    assert result.states == {"BTC-USDT": "LIVE"}
    assert result.gaps == []
    assert result.feed["rewinds"] == 0


def test_a_capture_of_before_the_lines_replays_as_ever(tmp_path: Path) -> None:
    old = orjson.dumps({"version": 1, "venue": "okx", "part": 0, "symbols": ["BTC-USDT"]})
    path = made(tmp_path, "1", *lines_of(("0", URL), ("0", WHOLE), ("0", okx(11, 10, [])), head=old))
    assert [line.kind for line in read_capture(path)] == ["capture", "connect", "ws", "ws"]
    assert replayed([path]).states == {"BTC-USDT": "LIVE"}


# ---- what is asked for ---------------------------------------------------------------------------


def test_a_bare_symbol_is_recorded_at_every_venue_and_one_with_a_venue_there() -> None:
    found = split_by_venue(["BTC-USDT-PERP", "okx:BTC-USDT", "bybit:ETH*"], ["okx", "bybit"])
    assert found == {
        "okx": ("BTC-USDT-PERP", "BTC-USDT"),
        "bybit_linear": ("BTC-USDT-PERP", "ETH*"),
        "bybit_spot": ("BTC-USDT-PERP", "ETH*"),
    }
    for names, given, text in (
        (["nowhere:X"], ["okx"], "unknown venue 'nowhere'"),
        (["bybit_spot:X"], ["okx"], r"'bybit_spot:X': bybit_spot is not recorded \(--venue bybit_spot\)"),
        (["okx:X"], ["okx", "bybit_spot"], "no symbol given for bybit_spot"),
        ([], ["okx"], "no symbol given"),
    ):
        with pytest.raises(VenueError, match=text):
            split_by_venue(names, given)


def test_an_address_is_that_of_the_only_venue_or_of_the_one_it_names() -> None:
    one = "ws://127.0.0.1:1/a?b=c"
    assert addresses([one], ["bybit"], "--ws") == {"bybit_linear": one, "bybit_spot": one}
    assert addresses([f"okx={one}"], ["okx", "bybit"], "--ws") == {"okx": one}
    with pytest.raises(VenueError, match=r"--ws ws://.*: which venue's\? \(--ws okx=ws://"):
        addresses([one], ["okx", "bybit"], "--ws")
    with pytest.raises(VenueError, match="bybit_spot is not recorded; there are okx"):
        addresses([f"bybit_spot={one}"], ["okx"], "--ws")
    assert [default_lines(url) for url in (one, "wss://[::1]:4", "wss://ws.okx.com:8443")] == [1, 1, 2]
