"""A capture played by the simulated venue: recorded bytes, own books, end of file, damage."""

from __future__ import annotations

import gzip
import os
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.tools.venue_kit import NaiveBook, connect, get, with_venue
from tools.venues.binance_usdm import BinanceUsdm
from tools.venues.binance_usdm_recording import BinanceUsdmCodec
from tools.venues.capture_source import CaptureSettings, CaptureSource, RecordedBook
from tools.venues.errors import CaptureFormatError
from tools.venues.pacing import LatenessMeter, Throttle
from tools.venues.recording import Diff, Snapshot
from tools.venues.retime import first_time, shift_times
from tools.venues.run import VenueRun

DATA = Path(os.environ.get("RINGLANE_DATA", Path(__file__).resolve().parents[3] / "shared" / "market-data"))
FOUR = DATA / "binance" / "usdm_4_symbols_20210722.gz"
START_MS = 1_700_000_000_000


def diff(number: int, levels: list[list[str]], previous: int | None = None) -> dict[str, Any]:
    last = 1000 + 10 * number
    return {
        "e": "depthUpdate", "E": START_MS + number, "T": START_MS + number, "s": "AAAUSDT",
        "U": last - 5, "u": last,
        "pu": last - 10 if previous is None else previous, "b": levels, "a": [[f"2.{number:04d}", "3"]],
    }  # fmt: skip


def line(number: int, message: dict[str, Any], stream: str) -> bytes:
    frame = orjson.dumps({"stream": f"aaausdt@{stream}", "data": message})
    return b"%d %s\n" % ((START_MS + number) * 1_000_000, frame)


def recorded(count: int = 200, snapshot_at: int = 5) -> list[bytes]:
    """Lines of a small capture: diffs, tickers, trades, and the snapshot that stands inside the diffs."""
    lines: list[bytes] = []
    for number in range(count):
        lines.append(line(number, diff(number, [[f"1.{number:04d}", "0.50"]]), "depth@100ms"))
        time = START_MS + number
        trade = {
            "e": "trade",
            "E": time,
            "T": time,
            "s": "AAAUSDT",
            "t": number,
            "p": "1.5",
            "q": "1",
            "m": True,
        }
        lines.append(line(number, trade, "trade"))
        if number == snapshot_at:
            body = {"lastUpdateId": 1000 + 10 * number - 3, "E": time, "T": time,
                    "bids": [["0.9000", "7.00"]], "asks": [["3.0000", "8.00"]]}  # fmt: skip
            lines.append(b"%d %s\n" % (time * 1_000_000, orjson.dumps(body)))
    return lines


def write(path: Path, lines: list[bytes]) -> CaptureSettings:
    path.write_bytes(b"".join(lines))
    return CaptureSettings((path,), speed=0.0)


def payloads(lines: list[bytes]) -> list[bytes]:
    return [one.split(b" ", 1)[1].rstrip(b"\n") for one in lines if b'"stream"' in one]


async def played(run: VenueRun) -> None:
    assert run._play is not None
    await run._play


def test_original_times_give_the_recorded_bytes(tmp_path: Path) -> None:
    lines = recorded()
    settings = write(tmp_path / "c", lines)

    async def check(run: VenueRun) -> None:
        client = await connect(run, "/stream?streams=aaausdt@depth@100ms/aaausdt@trade")
        await client.until(lambda c: len(c.frames) == 400)
        assert client.frames == payloads(lines)

    with_venue(CaptureSettings(settings.paths, 0.0, shift_times=False), check)


def test_shifted_times_change_by_one_constant_and_nothing_else(tmp_path: Path) -> None:
    lines = recorded()
    settings = write(tmp_path / "c", lines)

    async def check(run: VenueRun) -> None:
        client = await connect(run, "/stream?streams=aaausdt@depth@100ms/aaausdt@trade")
        await client.until(lambda c: len(c.frames) == 400)
        shifts = set()
        for sent, original in zip(client.frames, payloads(lines), strict=True):
            assert len(sent) == len(original)
            new, old = orjson.loads(sent), orjson.loads(original)
            for key in "ET":
                shifts.add(new["data"].pop(key) - old["data"].pop(key))
            assert orjson.dumps(new) == orjson.dumps(old)
        assert len(shifts) == 1
        assert abs(shifts.pop() + START_MS - run.source.now_ms()) < 60_000

    with_venue(settings, check)


def test_raw_mode_gets_the_payload_without_the_wrapper(tmp_path: Path) -> None:
    lines = recorded()
    settings = write(tmp_path / "c", lines)

    async def check(run: VenueRun) -> None:
        client = await connect(run, "/public/ws/aaausdt@depth@100ms")
        await client.until(lambda c: len(c.frames) == 200)
        wanted = [p.partition(b'"data":')[2][:-1] for p in payloads(lines) if b"depthUpdate" in p]
        assert client.frames == wanted

    with_venue(CaptureSettings(settings.paths, 0.0, shift_times=False), check)


def test_names_of_the_same_information_lead_to_the_recorded_stream(tmp_path: Path) -> None:
    settings = write(tmp_path / "c", recorded())

    async def check(run: VenueRun) -> None:
        public = await connect(run, "/public/stream")
        market = await connect(run, "/market/stream")
        await public.ask({"method": "SUBSCRIBE", "params": ["aaausdt@depth", "aaausdt@depth@0ms"], "id": 1})
        await market.ask(
            {"method": "SUBSCRIBE", "params": ["aaausdt@aggTrade", "aaausdt@markPrice"], "id": 1}
        )
        await public.until(lambda c: len(c.frames) == 201)
        await market.until(lambda c: len(c.frames) == 201)
        reply = await public.ask({"method": "UNSUBSCRIBE", "params": ["aaausdt@depth"], "id": 2})
        assert reply == {"result": None, "id": 2}
        assert run.source.streams["aaausdt@depth@100ms"].subscribers == 1

    with_venue(settings, check, clients_wanted=2)


def test_the_own_book_answers_before_inside_and_after_the_stream(tmp_path: Path) -> None:
    settings = write(tmp_path / "c", recorded())

    async def check(run: VenueRun) -> None:
        before = orjson.loads((await get(run, "/fapi/v1/depth?symbol=AAAUSDT&limit=1000"))[2])
        assert before["lastUpdateId"] == 1047
        client = await connect(run, "/public/stream?streams=aaausdt@depth@100ms")
        await client.until(lambda c: len(c.frames) == 200)
        await played(run)
        after = orjson.loads((await get(run, "/fapi/v1/depth?symbol=AAAUSDT&limit=1000"))[2])
        book = NaiveBook()
        assert book.follow(before, [orjson.loads(frame)["data"] for frame in client.frames]) == 195
        assert (after["bids"], after["asks"]) == book.top(1000)
        assert after["lastUpdateId"] == book.last == 2990

    with_venue(settings, check)


def test_a_gap_leaves_the_book_unproven_until_the_next_snapshot() -> None:
    def make(first: int, last: int, previous: int) -> Diff:
        return Diff(first, last, previous, [("1.0", str(last))], [])

    book = RecordedBook([Snapshot(100, [("0.5", "1")], []), Snapshot(205, [("0.6", "1")], [])])
    assert book.snapshot(5) == Snapshot(100, [("0.5", "1")], [])
    book.on_diff(make(95, 101, 94))
    book.on_diff(make(102, 110, 101))
    assert book.snapshot(5) == Snapshot(110, [("1.0", "110"), ("0.5", "1")], [])
    book.on_diff(make(150, 160, 149))
    assert book.gaps == 1
    assert book.snapshot(5) == Snapshot(205, [("0.6", "1")], [])
    book.on_diff(make(201, 210, 200))
    assert book.snapshot(5) == Snapshot(210, [("1.0", "210"), ("0.6", "1")], [])
    book.on_diff(make(300, 310, 299))
    assert book.snapshot(5) is None


def test_no_provable_state_is_an_error_of_the_venue(tmp_path: Path) -> None:
    lines = [one for one in recorded() if b"lastUpdateId" not in one]

    async def check(run: VenueRun) -> None:
        status, _, body = await get(run, "/fapi/v1/depth?symbol=AAAUSDT")
        assert (status, orjson.loads(body)["code"]) == (503, -1001)

    with_venue(write(tmp_path / "c", lines), check)


def test_exchange_info_is_built_from_the_decimals_seen(tmp_path: Path) -> None:
    async def check(run: VenueRun) -> None:
        info = orjson.loads((await get(run, "/fapi/v1/exchangeInfo"))[2])
        (row,) = info["symbols"]
        assert (row["symbol"], row["baseAsset"], row["pricePrecision"], row["quantityPrecision"]) == (
            "AAAUSDT",
            "AAA",
            4,
            2,
        )
        assert row["filters"][0]["tickSize"] == "0.0001"

    with_venue(write(tmp_path / "c", recorded()), check)


def test_loop_restarts_the_venue_and_the_recording(tmp_path: Path) -> None:
    settings = write(tmp_path / "c", recorded(20))

    async def check(run: VenueRun) -> None:
        for _ in range(3):
            client = await connect(run, "/public/stream?streams=aaausdt@depth@100ms")
            await client.until(lambda c: c.closed is not None)
            assert len(client.frames) == 20
            assert client.closed == (1012, "maintenance: the recording starts again")

    with_venue(CaptureSettings(settings.paths, 0.0, at_end="loop"), check)


def test_files_are_merged_by_receive_time_and_paced(tmp_path: Path) -> None:
    lines = recorded(60)
    other = [one.replace(b"aaausdt", b"bbbusdt").replace(b"AAAUSDT", b"BBBUSDT") for one in recorded(60)]
    (tmp_path / "a").write_bytes(b"".join(lines))
    (tmp_path / "b.gz").write_bytes(gzip.compress(b"".join(other)))
    settings = CaptureSettings((tmp_path / "a", tmp_path / "b.gz"), speed=2.0)

    async def check(run: VenueRun) -> None:
        client = await connect(run, "/stream?streams=aaausdt@trade/bbbusdt@trade")
        await client.until(lambda c: len(c.frames) == 120)
        ids = [orjson.loads(frame)["data"]["t"] for frame in client.frames]
        assert ids == sorted(ids)
        await played(run)
        assert int(str(run.source.statistics()["frames_played"])) == 240

    with_venue(settings, check)


@pytest.mark.parametrize(
    ("tail", "words"),
    [
        (b'1700000000999000000 {"stream":"aaausdt@trade","da', "middle of a line"),
        (b"what is this\n", ":402"),
        (b'1700000000999000000 {"lastUpdateId":5}\n', ":402"),
    ],
)
def test_a_damaged_capture_is_refused_by_file_and_line(tmp_path: Path, tail: bytes, words: str) -> None:
    settings = write(tmp_path / "c", [*recorded(), tail])
    with pytest.raises(CaptureFormatError, match=words):
        CaptureSource(settings, BinanceUsdm())


def test_garbage_frames_are_sent_as_they_were_recorded(tmp_path: Path) -> None:
    lines = recorded(20)
    broken = b'{"stream":"aaausdt@depth@100ms","data":{"e":"depthUpdate","E":12,"b":[["1.0"'
    lines.insert(30, b"1700000000015000000 " + broken + b"\n")
    lines.insert(31, b"1700000000015000000 {]\n")

    async def check(run: VenueRun) -> None:
        client = await connect(run, "/stream?streams=aaausdt@depth@100ms")
        await client.until(lambda c: len(c.frames) == 21)
        assert broken in client.frames
        await played(run)
        numbers = run.source.statistics()
        assert (numbers["frames_malformed"], numbers["frames_without_stream"]) == (1, 1)
        status, _, body = await get(run, "/fapi/v1/depth?symbol=AAAUSDT&limit=5")
        assert (status, orjson.loads(body)["lastUpdateId"]) == (200, 1190)

    settings = write(tmp_path / "c", lines)
    with_venue(CaptureSettings(settings.paths, 0.0, shift_times=False), check)


def test_times_are_shifted_at_the_top_of_the_payload_only() -> None:
    frame = b'{"stream":"x\\"E","data":{"e":"kline","E":1700000000000,"k":{"T":5,"E":7},"T":1699999999999}}'
    start = frame.index(b'{"e"')
    shifted = shift_times(frame, start, b"ET", 86_400_000)
    assert shifted is not None
    assert orjson.loads(shifted)["data"] == {
        "e": "kline", "E": 1700086400000, "k": {"T": 5, "E": 7}, "T": 1700086399999,
    }  # fmt: skip
    assert shift_times(frame, start, b"ET", 9_000_000_000_000) is None
    assert shift_times(frame, start, b"E", -1_700_000_000_001) is None
    assert (first_time(frame, start, b"T"), first_time(frame, start, b"q")) == (1699999999999, -1)


def test_the_codec_tells_streams_of_the_book_from_others() -> None:
    codec = BinanceUsdmCodec()
    assert codec.is_diff("btcusdt@depth")
    assert codec.is_diff("btcusdt@depth@0ms")
    assert not codec.is_diff("btcusdt@depth5@100ms")
    assert codec.frame(b'{"id":1}') is None


def test_a_stall_is_caught_up_at_twice_the_pace() -> None:
    throttle = Throttle(0)
    millisecond = 1_000_000
    assert throttle.advance(millisecond) == millisecond
    # a stall of 100 ms, then calls every millisecond
    now = 101 * millisecond
    played_ns = throttle.advance(now)
    assert played_ns <= 11 * millisecond
    while throttle.behind_ns(now):
        now += millisecond
        step = throttle.advance(now) - played_ns
        assert step <= 2 * millisecond
        played_ns += step
    assert now < 300 * millisecond


def test_lateness_is_counted_in_buckets() -> None:
    meter = LatenessMeter()
    for late in (0, 0, 0, 950_000, 5_000_000):
        meter.record(late)
    assert meter.statistics() == {
        "lateness_ns_p50": 100_000,
        "lateness_ns_p99": 5_100_000,
        "lateness_ns_max": 5_000_000,
    }


@pytest.mark.skipif(not FOUR.exists(), reason="no recorded market data here")
def test_real_frames_rebuild_to_the_venues_own_books() -> None:
    symbols = ("AKROUSDT", "CTKUSDT", "KEEPUSDT", "SUSHIUSDT")

    async def check(run: VenueRun) -> None:
        assert run.source.symbols == symbols
        snapshots = {
            s: orjson.loads((await get(run, f"/fapi/v1/depth?symbol={s}&limit=1000"))[2]) for s in symbols
        }
        names = [f"{s.lower()}@{kind}" for s in symbols for kind in ("depth@100ms", "bookTicker")]
        client = await connect(run, "/public/stream?streams=" + "/".join(names))
        await client.until(lambda c: len(c.frames) == 764 + 613)
        await played(run)
        messages = [orjson.loads(frame)["data"] for frame in client.frames]
        for symbol in symbols:
            book = NaiveBook()
            diffs = [m for m in messages if m["s"] == symbol and m["e"] == "depthUpdate"]
            assert book.follow(snapshots[symbol], diffs) > 100
            final = orjson.loads((await get(run, f"/fapi/v1/depth?symbol={symbol}&limit=1000"))[2])
            assert (final["bids"], final["asks"]) == book.top(1000)
        info = orjson.loads((await get(run, "/fapi/v1/exchangeInfo"))[2])
        assert set(symbols) < {row["symbol"] for row in info["symbols"]}

    with_venue(CaptureSettings((FOUR,), speed=0.0), check)
