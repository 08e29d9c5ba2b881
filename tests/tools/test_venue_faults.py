"""Fault scripts: what they say, what they refuse and where, and that faults come as told and as seeded."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tools.venue_kit import Listener, NaiveBook, connect, get, with_venue
from tools.venues.errors import SettingsError
from tools.venues.fanout import Outbox
from tools.venues.faults import KINDS, FaultScriptError, When, parse_faults, read_faults
from tools.venues.faults_desk import FAULTS_PATH, FaultDesk
from tools.venues.faults_frames import Seen, frame_reader, join_frames, split_frames
from tools.venues.run import VenueRun, VenueSettings
from tools.venues.synthetic_source import SyntheticSettings

VENUE = "binance_usdm"
DEPTH = (
    b'{"e":"depthUpdate","E":1700000000123,"T":1700000000122,"s":"BTCUSDT","U":7,"u":9,"pu":6,'
    b'"b":[["61800.00","0.045"]],"a":[["61800.10","0.000"]]}'
)
OKX = (
    b'{"arg":{"channel":"books","instId":"BTC-USDT"},"action":"update","data":[{"asks":[],'
    b'"bids":[["61800","0.5","0","1"]],"ts":"1700000000123","checksum":-5,"seqId":9,"prevSeqId":6}]}'
)
BYBIT = (
    b'{"topic":"orderbook.50.BTCUSDT","type":"delta","ts":1700000000123,"data":{"s":"BTCUSDT",'
    b'"b":[],"a":[["61800.1","0.25"]],"u":9,"seq":77},"cts":1700000000122}'
)


# ---- scripts -------------------------------------------------------------------------------------


def test_a_script_says_when_whom_and_what() -> None:
    script = """
    # a comment
    after 100 frames: drop symbol=BTCUSDT times=3
    at 2.5s: disconnect connection=1 how=close   # and one behind
    every 50 frames jitter 0.25: duplicate stream=trade; every 0.5 s: garbage
    on rest after 2: http_status status=418 retry_after=7 path=/fapi
    now: stall seconds=0.5
    """
    found = parse_faults(script, VENUE)
    assert [(one.what, one.line) for one in found] == [
        ("drop", 3), ("disconnect", 4), ("duplicate", 5), ("garbage", 5), ("http_status", 6), ("stall", 7),
    ]  # fmt: skip
    drop, cut, repeat, garbage, status, stall = found
    assert (drop.when, drop.symbol, drop.times) == (When(after_frames=100), "BTCUSDT", 3)
    assert (cut.when, cut.connection, cut.word("how")) == (When(at_s=2.5), 1, "close")
    assert (repeat.when, repeat.stream) == (When(every_frames=50, jitter=0.25), "trade")
    assert garbage.when == When(every_s=0.5)
    assert status.when == When(on_rest=True, after_requests=2)
    assert (status.number("status"), status.number("retry_after"), status.path) == (418, 7, "/fapi")
    assert (stall.when, stall.number("seconds")) == (When(), 0.5)


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("drop", "not of the form"),
        ("soon: drop", "no time of a fault"),
        ("after -1 frames: drop", "no time of a fault"),
        ("every 0 frames: drop", "no time of a fault"),
        ("every 5 frames jitter 1.5: drop", "share of 0 to 1"),
        ("every 0.0001 s: drop", "every 0.001 s at most"),
        ("now: explode", "there is no fault 'explode'; known: ack_after_fill, ack_disconnect"),
        ("now: drop often", "does not take 'often'"),
        ("now: drop bytes=3", "does not take 'bytes=3'"),
        ("now: drop times=x", "times is a whole number, not 'x'"),
        ("now: drop times=0", "times is 1 to"),
        ("now: drop times=1 times=2", "times is given twice"),
        ("now: stall seconds=-1", "seconds is 0 to 86400"),
        ("now: stall seconds=nan", "seconds is 0 to 86400"),
        ("now: corrupt_level field=side", "field is quantity or price"),
        ("on rest: http_status status=200", "status is one of 400"),
        ("on rest: http_status symbol=X connection=1", "connection says nothing to http_status"),
        ("now: drop path=/x", "path says nothing to drop"),
        ("now: maintenance symbol=X", "symbol says nothing to maintenance"),
        ("now: wrong_checksum", "wrong_checksum exists at okx only, not at binance_usdm"),
    ],
)
def test_a_bad_script_is_refused_with_its_line(script: str, reason: str) -> None:
    with pytest.raises(FaultScriptError) as caught:
        parse_faults(f"now: drop\n\n{script}", VENUE, "x.faults")
    assert str(caught.value).startswith("x.faults:3: ")
    assert reason in str(caught.value)


@settings(max_examples=25)
@given(st.text(max_size=80))
def test_any_text_is_a_script_or_an_error_with_a_line(text: str) -> None:
    try:
        parse_faults(text, VENUE)
    except FaultScriptError as error:
        assert str(error).startswith("faults:")


def test_a_script_comes_from_a_file_or_as_text(tmp_path: Path) -> None:
    file = tmp_path / "script"
    file.write_text("now: drop\nnow: cross\n")
    with pytest.raises(FaultScriptError, match=f"{file}:2: there is no fault 'cross'"):
        read_faults(str(file), VENUE)
    assert [one.what for one in read_faults("now: drop; now: crossed", VENUE)] == ["drop", "crossed"]
    with pytest.raises(FaultScriptError, match="there is no file missing"):
        read_faults("missing", VENUE)
    file.write_bytes(b"now: \xff")
    with pytest.raises(FaultScriptError, match="byte 5 is not UTF-8"):
        read_faults(str(file), VENUE)


def test_a_venue_with_a_bad_script_does_not_start() -> None:
    with pytest.raises(SettingsError, match="faults:1: there is no fault 'explode'"):
        VenueRun(VenueSettings(faults="now: explode"))


# ---- frames --------------------------------------------------------------------------------------


@given(
    st.lists(st.one_of(st.binary(max_size=200), st.sampled_from([b"x" * 126, b"y" * 65_535, b"z" * 70_000])))
)
def test_frames_are_split_as_the_outbox_made_them(payloads: list[bytes]) -> None:
    outbox = Outbox(False)
    for payload in payloads:
        outbox.append(payload)
    data = outbox.take()
    assert split_frames(data) == payloads
    assert join_frames(payloads) == data


@pytest.mark.parametrize(
    ("venue", "frame", "seen"),
    [
        (VENUE, DEPTH, Seen("BTCUSDT", "depth", "depthUpdate")),
        (VENUE, b'{"result":null,"id":1}', None),
        ("okx", OKX, Seen("BTC-USDT", "depth", "books")),
        ("okx", b'{"event":"subscribe","arg":{"channel":"books","instId":"X"}}', None),
        ("okx", b"pong", None),
        ("bybit_linear", BYBIT, Seen("BTCUSDT", "depth", "orderbook.50")),
        ("bybit_spot", b'{"topic":"orderbook.1.X","type":"snapshot"}', Seen("X", "bbo", "orderbook.1", True)),
        ("bybit", b'{"success":true,"op":"subscribe"}', None),
    ],
)
def test_a_frame_tells_whose_it_is(venue: str, frame: bytes, seen: Seen | None) -> None:
    assert frame_reader(venue).read(frame) == seen


@pytest.mark.parametrize(("venue", "frame"), [(VENUE, DEPTH), ("okx", OKX), ("bybit_linear", BYBIT)])
def test_changed_frames_stay_json_and_differ_where_they_should(venue: str, frame: bytes) -> None:
    reader = frame_reader(venue)
    chance = random.Random(1)
    true = orjson.loads(frame)
    for field in ("quantity", "price"):
        corrupt = reader.corrupt(frame, field, chance)
        assert corrupt is not None
        assert len(corrupt) == len(frame)
        assert sum(a != b for a, b in zip(corrupt, frame, strict=True)) == 1
        assert orjson.loads(corrupt) != true
    crossed = reader.cross(frame)
    assert crossed is not None
    assert b'["123600' in crossed
    orjson.loads(crossed)
    assert reader.shift(reader.shift(frame, 5), -5) == frame
    assert reader.shift(frame, 5) != frame
    assert reader.set_back(reader.set_back(frame, 60_000), -60_000) == frame
    assert b"1699999940123" in reader.set_back(frame, 60_000)
    assert b"NOSUCHCOIN" in reader.rename(frame, "BTC-USDT" if venue == "okx" else "BTCUSDT")
    assert reader.truncate(frame, 10**6) == frame[:1]


# ---- the desk ------------------------------------------------------------------------------------


async def listen(run: VenueRun, stream: str = "btcusdt@depth@0ms") -> Listener:
    listener = await connect(run, f"/public/ws/{stream}")
    return listener


def diffs(listener: Listener) -> list[dict[str, object]]:
    return [orjson.loads(frame) for frame in listener.frames if b'"depthUpdate"' in frame]


def heard(faults: str, seed: int = 3) -> tuple[list[bytes], list[dict[str, object]]]:
    """What one client hears of the same market with a script, and what the statistics say of it."""
    frames: list[bytes] = []

    async def test(run: VenueRun) -> None:
        listener = await listen(run)
        await run.source_done()
        await listener.ask({"method": "LIST_SUBSCRIPTIONS", "id": 1})
        frames.extend(frame for frame in listener.frames if b'"result"' not in frame)

    market = SyntheticSettings(2, 20_000.0, seed, update_limit=600, start_ms=1_700_000_000_000)
    run = with_venue(market, test, faults=faults)
    found = run.statistics()["faults"]
    assert isinstance(found, list)
    return frames, found


def sequences(frames: list[bytes]) -> list[int]:
    return [orjson.loads(frame)["u"] for frame in frames]


def test_a_fault_meets_exactly_the_frame_it_is_told_to() -> None:
    true = sequences(heard("")[0])
    assert heard("")[1] == []
    frames, found = heard("after 20 frames: drop times=2")
    assert sequences(frames) == true[:20] + true[22:]
    assert [(one["fault"], one["count"], one["symbol"], one["connection"]) for one in found] == [
        ("drop", 2, "BTCUSDT", 1)
    ]
    assert sequences(heard("after 5 frames: duplicate")[0]) == [*true[:6], *true[5:]]
    assert sequences(heard("after 5 frames: reorder frames=3")[0]) == [
        *true[:5], *true[6:9], true[5], *true[9:]
    ]  # fmt: skip
    assert sequences(heard("now: drop symbol=ETHUSDT")[0]) == true
    assert sequences(heard("now: drop connection=2")[0]) == true
    assert sequences(heard("now: drop stream=trade")[0]) == true


def test_faults_by_chance_are_the_same_for_a_seed() -> None:
    script = "every 20 frames jitter 0.9: corrupt_level"

    def levels(frames: list[bytes]) -> list[object]:
        return [(one["u"], one["b"], one["a"]) for one in map(orjson.loads, frames)]

    true, first = levels(heard("")[0]), levels(heard(script)[0])
    assert levels(heard(script)[0]) == first
    wrong = [place for place, (a, b) in enumerate(zip(true, first, strict=True)) if a != b]
    assert len(wrong) > 4
    gaps = {b - a for a, b in pairwise(wrong)}
    assert len(gaps) > 1
    assert max(gaps) <= 40


def test_numbers_that_begin_anew_do_so_in_snapshots_too() -> None:
    async def test(run: VenueRun) -> None:
        listener = await listen(run)
        await listener.until(lambda one: len(one.frames) > 30)
        status, _, body = await get(run, "/fapi/v1/depth?symbol=BTCUSDT&limit=1000")
        assert status == 200
        await run.source_done()
        await listener.ask({"method": "LIST_SUBSCRIPTIONS", "id": 1})
        book = NaiveBook()
        found = diffs(listener)
        breaks = [place for place in range(1, len(found)) if found[place]["pu"] != found[place - 1]["u"]]
        assert breaks == [10]
        assert book.follow(orjson.loads(body), found[10:]) > 0
        _, _, end = await get(run, "/fapi/v1/depth?symbol=BTCUSDT&limit=1000")
        assert orjson.loads(end)["lastUpdateId"] == book.last

    market = SyntheticSettings(1, 3000.0, 3, update_limit=600)
    with_venue(market, test, faults="after 10 frames: sequence_reset by=-5000000")


def test_a_fault_can_be_asked_for_at_run_time() -> None:
    async def test(run: VenueRun) -> None:
        listener = await listen(run)
        await listener.until(lambda one: len(one.frames) > 3)
        assert run.hub.faults is None
        assert run.rest.spoil is None
        status, body = await post(run, b"now: garbage text={oops")
        assert status == 200, body
        await listener.until(lambda one: b"{oops" in one.frames)
        status, body = await post(run, b"now: drop\nnow: nonsense")
        assert status == 400
        assert orjson.loads(body)["error"].startswith("faults:2: there is no fault 'nonsense'")
        status, _, body = await get(run, FAULTS_PATH)
        (told,) = orjson.loads(body)["faults"]
        assert (told["fault"], told["count"], told["symbol"]) == ("garbage", 1, "BTCUSDT")

    with_venue(SyntheticSettings(1, 2000.0, 3), test)


async def post(run: VenueRun, body: bytes) -> tuple[int, bytes]:
    head = (
        f"POST {FAULTS_PATH} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    status, _, answer = await get(run, "", head.encode() + body)
    return status, answer


def test_rest_faults_meet_the_requests_they_are_told_to() -> None:
    async def test(run: VenueRun) -> None:
        seen = [await get(run, f"/fapi/v1/{path}") for path in ("time", "ping", "ping", "ping", "time")]
        assert [status for status, _, _ in seen] == [200, 200, 429, 418, 200]
        assert seen[2][1]["retry-after"] == "3"
        assert "retry-after" not in seen[3][1]
        assert orjson.loads(seen[2][2])["code"] == -1003
        path = "/fapi/v1/depth?symbol=BTCUSDT&limit=5"
        old, true = [orjson.loads((await get(run, path))[2]) for _ in range(2)]
        assert true["lastUpdateId"] - old["lastUpdateId"] == 1000

    run = with_venue(
        SyntheticSettings(1, 0.0, 3), test, start="immediately",
        faults="on rest after 1: http_status retry_after=3 path=/fapi/v1/ping\n"
        "on rest after 1: http_status status=418 path=/fapi/v1/ping; on rest: stale_snapshot behind=1000",
    )  # fmt: skip
    assert run.statistics()["rest_statuses"] == {"200": 5, "418": 1, "429": 1}


def test_a_half_open_socket_neither_speaks_nor_hears() -> None:
    async def test(run: VenueRun) -> None:
        listener = await listen(run)
        other = await listen(run)
        await listener.until(lambda one: len(one.frames) > 3)
        status, _ = await post(run, b"now: half_open connection=1")
        assert status == 200
        there, seen = len(other.frames), run.hub.statistics.requests
        listener.send(b'{"method":"LIST_SUBSCRIPTIONS","id":7}')
        await other.until(lambda one: len(one.frames) > there + 50)
        assert run.hub.statistics.requests == seen
        assert listener.closed is None
        before = len(listener.frames)
        for one in run.hub.clients:
            one.set_deaf(False)
        await listener.until(lambda one: any(b'"id":7' in frame for frame in one.frames[before:]))

    with_venue(SyntheticSettings(1, 3000.0, 3), test, clients_wanted=2)


def test_maintenance_is_announced_closes_everything_and_lets_nobody_in() -> None:
    async def test(run: VenueRun) -> None:
        listener = await connect(run, "/ws/v5/public")
        listener.send(
            b'{"op":"subscribe","args":[{"channel":"status"},{"channel":"books","instId":"BTC-USDT-SWAP"}]}'
        )
        await listener.until(lambda one: any(b'"update"' in frame for frame in one.frames))
        status, _ = await post(run, b"now: maintenance seconds=3600")
        assert status == 200
        await listener.until(lambda one: one.closed is not None)
        assert any(b"Trading system upgrade" in frame for frame in listener.frames)
        assert listener.closed == (1012, "maintenance")
        assert (await get(run, "/api/v5/public/time"))[0] == 503
        with pytest.raises(Exception, match="503"):
            await connect(run, "/ws/v5/public")
        assert run.hub.statistics.refused_upgrades == 1

    with_venue(SyntheticSettings(2, 3000.0, 3), test, name="okx", every_change=True)


def test_every_fault_of_the_vocabulary_can_be_written() -> None:
    for what, kind in KINDS.items():
        venue = kind.venues[0] if kind.venues else VENUE
        assert parse_faults(f"at 1s: {what}", venue)[0].target is kind.target


def test_a_storm_cuts_all_clients_as_often_as_told(monkeypatch: pytest.MonkeyPatch) -> None:
    later: list[tuple[float, Callable[[], None]]] = []

    def note(_: FaultDesk, seconds: float, what: Callable[..., None], *args: object) -> None:
        later.append((seconds, partial(what, *args)))

    async def test(run: VenueRun) -> None:
        first, second = await listen(run), await listen(run)
        monkeypatch.setattr(FaultDesk, "_later", note)
        await post(run, b"now: disconnect_storm cuts=2 pause=0.05")
        await asyncio.gather(*(one.until(lambda one: one.closed is not None) for one in (first, second)))
        third = await listen(run)
        assert third.closed is None
        ((pause_s, again),) = later
        assert pause_s == 0.05
        again()
        assert len(later) == 1, "two cuts and no third"
        await third.until(lambda one: one.closed is not None)
        fourth = await listen(run)
        await fourth.until(lambda one: len(one.frames) > 20)
        assert run.hub.statistics.disconnects == {"ABORT": 3}

    with_venue(SyntheticSettings(1, 3000.0, 3), test)
