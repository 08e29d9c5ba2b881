"""The OKX simulated venue over real sockets: requests, channels and their chains, REST, limits, captures."""

from __future__ import annotations

import os
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.tools.venue_kit import Listener, connect, get, serve_by, with_venue
from tools.venues.capture_source import CaptureSettings
from tools.venues.fanout import Outbox
from tools.venues.okx import Okx
from tools.venues.run import VenueRun
from tools.venues.synthetic_source import SyntheticSettings, SyntheticSource

DATA = Path(os.environ.get("RINGLANE_DATA", Path(__file__).resolve().parents[3] / "shared" / "market-data"))
PUBLIC, BUSINESS = "/ws/v5/public", "/ws/v5/business"
QUIET = SyntheticSettings(4, 0.0, 3)


def arg(channel: str, symbol: str = "BTC-USDT-SWAP") -> dict[str, str]:
    return {"channel": channel, "instId": symbol}


def request(op: str, *args: dict[str, str], **more: object) -> bytes:
    return orjson.dumps({"op": op, "args": args, **more})


def data_of(listener: Listener, channel: str) -> list[dict[str, Any]]:
    found = [orjson.loads(frame) for frame in listener.frames if frame.startswith(b'{"arg"')]
    return [one for one in found if one["arg"]["channel"] == channel]


async def answers(listener: Listener, text: bytes, count: int = 1) -> list[Any]:
    seen = len(listener.frames)
    listener.send(text)

    def found(one: Listener) -> list[bytes]:
        return [frame for frame in one.frames[seen:] if b'"event":' in frame]

    await listener.until(lambda one: len(found(one)) >= count)
    return [orjson.loads(frame) for frame in found(listener)]


class NaiveBook:
    """Two dicts and the rules of the document."""

    def __init__(self) -> None:
        self.sides: dict[str, dict[str, list[str]]] = {"bids": {}, "asks": {}}
        self.last = -2

    def apply(self, message: dict[str, Any]) -> None:
        (data,) = message["data"]
        if message["action"] == "snapshot":
            assert data["prevSeqId"] == -1
            self.sides = {"bids": {}, "asks": {}}
        else:
            assert data["prevSeqId"] == self.last
        self.last = data["seqId"]
        for side, levels in self.sides.items():
            for level in data[side]:
                if level[1] == "0":
                    assert level[0] in levels, "a level that was not there is removed"
                    del levels[level[0]]
                else:
                    levels[level[0]] = level

    def best(self, side: str) -> list[list[str]]:
        sign = -1 if side == "bids" else 1
        return sorted(self.sides[side].values(), key=lambda level: sign * float(level[0]))

    def checksum(self) -> int:
        bids, asks = self.best("bids"), self.best("asks")
        parts: list[str] = []
        for place in range(25):
            for levels in (bids, asks):
                parts += levels[place][:2] if place < len(levels) else []
        number = zlib.crc32(":".join(parts).encode())
        return number - (1 << 32) if number >> 31 else number


def test_requests_are_answered_per_channel_and_errors_say_why() -> None:
    async def test(run: VenueRun) -> None:
        client = await connect(run, PUBLIC)
        client.send(b"ping")
        await client.until(lambda one: one.frames == [b"pong"])
        good, bad = await answers(
            client, request("subscribe", arg("trades"), arg("trades", "X-Y"), id="7"), 2
        )
        assert good == {"id": "7", "event": "subscribe", "arg": arg("trades"), "connId": good["connId"]}
        assert (bad["event"], bad["code"], bad["id"]) == ("error", "60018", "7")
        assert "channel:trades,instId:X-Y doesn't exist" in bad["msg"]
        (gone,) = await answers(client, request("unsubscribe", arg("trades")))
        assert gone["event"] == "unsubscribe"
        (wrong_path,) = await answers(client, request("subscribe", arg("trades-all")))
        assert wrong_path["code"] == "60018"
        business = await connect(run, BUSINESS)
        (right_path,) = await answers(business, request("subscribe", arg("trades-all")))
        assert right_path["event"] == "subscribe"

    with_venue(QUIET, test, name="okx")


@pytest.mark.parametrize(
    "text",
    [
        b"pong?",
        b"[]",
        b'{"op":"login"}',
        b'{"op":"subscribe","args":[]}',
        b'{"op":"subscribe","args":[{"instId":"A"}]}',
    ],
)
def test_what_is_no_request_is_an_error(text: bytes) -> None:
    async def test(run: VenueRun) -> None:
        (answer,) = await answers(await connect(run, PUBLIC), text)
        assert (answer["event"], answer["code"]) == ("error", "60012")

    with_venue(QUIET, test, name="okx")


def test_books_chain_from_a_snapshot_and_carry_their_checksum() -> None:
    async def test(run: VenueRun) -> None:
        client = await connect(run, PUBLIC)
        client.send(request("subscribe", arg("books-l2-tbt", "ELON-USDT"), arg("bbo-tbt", "ELON-USDT")))
        await run.source_done()
        await client.drain(b"ping")
        book = NaiveBook()
        bests = {one["data"][0]["seqId"]: one["data"][0] for one in data_of(client, "bbo-tbt")}
        compared = 0
        for message in data_of(client, "books-l2-tbt"):
            book.apply(message)
            assert message["data"][0]["checksum"] == book.checksum()
            assert len(book.sides["bids"]) == len(book.sides["asks"]) == 400
            if book.last in bests:
                compared += 1
                assert bests[book.last]["bids"] == book.best("bids")[:1]
        assert compared > 3
        body = orjson.loads((await get(run, "/api/v5/market/books?instId=ELON-USDT&sz=400"))[2])
        assert body["data"][0]["bids"] == book.best("bids")

    settings = SyntheticSettings(5, 20_000.0, 3, update_limit=4000)
    with_venue(settings, test, name="okx", with_checksum=True)


def test_a_second_subscription_gets_a_snapshot_that_the_next_update_follows() -> None:
    async def test(run: VenueRun) -> None:
        first, second = await connect(run, PUBLIC), await connect(run, PUBLIC)
        first.send(request("subscribe", arg("books")))
        await first.until(lambda one: len(data_of(one, "books")) > 2)
        second.send(request("subscribe", arg("books")))
        await run.source_done()
        finals = []
        for client in (first, second):
            await client.drain(b"ping")
            book = NaiveBook()
            for message in data_of(client, "books"):
                book.apply(message)
            finals.append((book.last, book.sides))
        assert finals[0] == finals[1]
        assert data_of(second, "books")[0]["action"] == "snapshot"

    with_venue(SyntheticSettings(2, 20_000.0, 3, update_limit=10_000), test, name="okx")


def test_a_silent_book_sends_an_empty_update_under_its_own_number() -> None:
    protocol = Okx()
    source = SyntheticSource(SyntheticSettings(1, 0.0, 3, start_ms=1_700_000_000_000), protocol)
    protocol.source = source
    box = Outbox(False)
    source.streams["books:BTC-USDT-SWAP"].add(box)
    first = orjson.loads(source.welcome("books:BTC-USDT-SWAP") or b"")
    source.market.advance(59_000_000_000)
    assert not box.pending_bytes
    source.market.advance(60_000_000_000)
    beat = orjson.loads(box.take()[4:])
    assert (beat["action"], beat["data"][0]["bids"], beat["data"][0]["asks"]) == ("update", [], [])
    assert beat["data"][0]["seqId"] == beat["data"][0]["prevSeqId"] == first["data"][0]["seqId"]


def test_fills_of_one_trade_add_up_to_it() -> None:
    async def test(run: VenueRun) -> None:
        public, business = await connect(run, PUBLIC), await connect(run, BUSINESS)
        public.send(request("subscribe", arg("trades")))
        business.send(request("subscribe", arg("trades-all")))
        await run.source_done()
        await public.drain(b"ping")
        await business.drain(b"ping")
        fills = {int(one["data"][0]["tradeId"]): one["data"][0] for one in data_of(business, "trades-all")}
        trades = [one["data"][0] for one in data_of(public, "trades")]
        assert any(trade["count"] != "1" for trade in trades)
        for trade in trades:
            last, count = int(trade["tradeId"]), int(trade["count"])
            parts = [fills.pop(number) for number in range(last - count + 1, last + 1)]
            assert {(part["px"], part["side"]) for part in parts} == {(trade["px"], trade["side"])}
            assert sum(round(float(part["sz"]) * 100) for part in parts) == round(float(trade["sz"]) * 100)
        assert not fills

    settings = SyntheticSettings(1, 20_000.0, 3, update_limit=4000)
    with_venue(settings, test, name="okx", clients_wanted=2)


def test_prices_funding_liquidations_and_instruments_have_their_channels() -> None:
    async def test(run: VenueRun) -> None:
        client = await connect(run, PUBLIC)
        kinds = [
            {"channel": "liquidation-orders", "instType": "SWAP"},
            {"channel": "instruments", "instType": "SWAP"},
        ]
        client.send(
            request("subscribe", arg("tickers"), arg("mark-price"), arg("funding-rate"),
                    arg("index-tickers", "BTC-USDT"), {"channel": "status"}, *kinds)
        )  # fmt: skip
        await run.source_done()
        await client.drain(b"ping")
        ticker = data_of(client, "tickers")[-1]["data"][0]
        assert float(ticker["low24h"]) <= float(ticker["last"]) <= float(ticker["high24h"])
        mark = data_of(client, "mark-price")[-1]["data"][0]
        assert abs(float(mark["markPx"]) - float(ticker["last"])) < 100
        assert data_of(client, "index-tickers")[0]["data"][0]["instId"] == "BTC-USDT"
        assert int(data_of(client, "funding-rate")[0]["data"][0]["fundingTime"]) % 28_800_000 == 0
        (detail,) = data_of(client, "liquidation-orders")[0]["data"][0]["details"]
        assert (detail["side"], detail["posSide"]) in (("buy", "short"), ("sell", "long"))
        rows = data_of(client, "instruments")[0]["data"]
        assert {row["instType"] for row in rows} == {"SWAP"}

    with_venue(SyntheticSettings(2, 200_000.0, 3, update_limit=60_000), test, name="okx")


def test_a_listing_and_a_delisting_are_announced_and_change_what_may_be_subscribed() -> None:
    async def test(run: VenueRun) -> None:
        client = await connect(run, PUBLIC)
        kinds = [{"channel": "instruments", "instType": kind} for kind in ("SWAP", "SPOT")]
        new, old = "ETH-USDT", "ETH-USDT-SWAP"
        assert new not in run.ready["symbols"]  # type: ignore[operator]
        # Before the first subscription that is accepted: the market's time begins with that.
        (refused,) = await answers(client, request("subscribe", arg("books", new)))
        assert refused["code"] == "60018"
        await answers(client, request("subscribe", *kinds), 2)

        def told(symbol: str) -> list[str]:
            rows = [row for one in data_of(client, "instruments")[2:] for row in one["data"]]
            return [row["state"] for row in rows if row["instId"] == symbol]

        await client.until(lambda _: told(new) == ["preopen", "live"] and told(old) == ["live", "expired"])
        (accepted,) = await answers(client, request("subscribe", arg("books", new)))
        assert accepted["event"] == "subscribe"
        (ended,) = await answers(client, request("subscribe", arg("books", old)))
        assert ended["code"] == "60018"
        body = orjson.loads((await get(run, "/api/v5/public/instruments?instType=SWAP"))[2])
        assert {row["instId"]: row["state"] for row in body["data"]}[old] == "expired"

    settings = SyntheticSettings(3, 1000.0, 3, list_after_s=0.05, delist_after_s=0.1)
    with_venue(settings, test, name="okx")


@pytest.mark.parametrize(
    ("target", "status", "code"),
    [
        ("/api/v5/public/instruments", 400, "50014"),
        ("/api/v5/public/instruments?instType=X", 400, "51000"),
        ("/api/v5/public/instruments?instType=SPOT&instId=X-Y", 200, "51001"),
        ("/api/v5/market/books", 400, "50014"),
        ("/api/v5/market/books?instId=X-Y", 200, "51001"),
        ("/api/v5/market/books?instId=BTC-USDT&sz=401", 400, "51000"),
        ("/api/v5/nothing", 404, "50404"),
    ],
)
def test_wrong_rest_requests_get_the_venues_error(target: str, status: int, code: str) -> None:
    async def test(run: VenueRun) -> None:
        got, _, body = await get(run, target)
        assert (got, orjson.loads(body)["code"]) == (status, code)

    with_venue(QUIET, test, name="okx")


def test_rest_and_connections_have_the_venues_limits() -> None:
    async def test(run: VenueRun) -> None:
        serve_by(run, Okx(now_s=lambda: 0.0))
        limits = run.hub.protocol.limits
        assert limits.connects == (3, 1.0)
        run.hub.protocol.limits = replace(limits, connects=(3, 3600.0))
        full = orjson.loads((await get(run, "/api/v5/market/books-full?instId=BTC-USDT&sz=500"))[2])
        assert {len(level) for level in full["data"][0]["asks"]} == {3}
        for _ in range(10):
            assert (await get(run, "/api/v5/public/time"))[0] == 200
        status, _, body = await get(run, "/api/v5/public/time")
        assert (status, orjson.loads(body)["code"]) == (429, "50011")
        for _ in range(3):
            await connect(run, PUBLIC)
        with pytest.raises(Exception, match="429"):
            await connect(run, PUBLIC)

    with_venue(QUIET, test, name="okx")


def test_a_connection_is_cut_when_neither_side_says_anything() -> None:
    async def test(run: VenueRun) -> None:
        run.protocol.limits = replace(run.protocol.limits, idle_s=0.05)
        client = await connect(run, PUBLIC)
        await client.until(lambda one: one.closed is not None)
        assert client.closed == (4004, "No data received in 30s.")

    with_venue(QUIET, test, name="okx")


def test_too_many_requests_an_hour_are_refused() -> None:
    async def test(run: VenueRun) -> None:
        client = await connect(run, PUBLIC)
        for _ in range(480):
            client.send(request("unsubscribe", arg("trades")))
        (*_, last) = await answers(client, request("subscribe", arg("trades")), 481)
        assert last["code"] == "60014"

    with_venue(QUIET, test, name="okx")


def recorded(count: int) -> bytes:
    """A capture whose book begins with a snapshot and then adds one bid and moves it."""
    lines = []
    for number in range(count):
        data = {
            "asks": [["2", "1", "0", "1"]], "bids": [[f"1.{number % 50:02d}", "3.5", "0", "2"]],
            "ts": str(1_700_000_000_000 + number), "checksum": 0, "seqId": 100 + number,
            "prevSeqId": 99 + number if number else -1,
        }  # fmt: skip
        frame = {"arg": arg("books"), "action": "update" if number else "snapshot", "data": [data]}
        lines.append(b"%d ws1 recv %s\n" % ((1_700_000_000_000 + number) * 1_000_000, orjson.dumps(frame)))
    return b"".join(lines)


@pytest.mark.parametrize("shift", [False, True])
def test_a_capture_answers_a_late_subscription_with_its_own_book(tmp_path: Path, shift: bool) -> None:
    (tmp_path / "one").write_bytes(recorded(400))

    async def test(run: VenueRun) -> None:
        first, late = await connect(run, PUBLIC), await connect(run, PUBLIC)
        first.send(request("subscribe", arg("books")))
        await first.until(lambda one: len(data_of(one, "books")) > 10)
        late.send(request("subscribe", arg("books")))
        await run.source_done()
        finals = []
        for client in (first, late):
            await client.drain(b"ping")
            book = NaiveBook()
            for message in data_of(client, "books"):
                book.apply(message)
            finals.append((book.last, book.sides))
        assert finals[0] == finals[1]
        assert finals[0][0] == 499
        stamp = int(data_of(first, "books")[-1]["data"][0]["ts"])
        assert (stamp == 1_700_000_000_399) != shift
        original = [line.split(b" ", 3)[3] for line in recorded(400).splitlines()]
        assert shift or [frame for frame in first.frames if b'"action"' in frame] == original

    settings = CaptureSettings((tmp_path / "one",), speed=1.0, shift_times=shift)
    with_venue(settings, test, name="okx")


@pytest.mark.skipif(not DATA.is_dir(), reason="no recorded market data here")
@pytest.mark.parametrize("name", ["okx_v5_20220227.gz", "okx_v5_20210722_three_lines.gz"])
def test_real_captures_with_checksums_are_played_and_joined_late(name: str) -> None:
    async def test(run: VenueRun) -> None:
        names = [n for n in run.source.streams if n.startswith("books")]
        args = [{"channel": n.partition(":")[0], "instId": n.partition(":")[2]} for n in names]
        first, late = await connect(run, PUBLIC), await connect(run, PUBLIC)
        first.send(request("subscribe", *args))
        await run.source_done()
        late.send(request("subscribe", *args))
        assert names
        for client in (first, late):
            await client.drain(b"ping")
            books: dict[str, Any] = {}
            for one in (orjson.loads(frame) for frame in client.frames if b'"action"' in frame):
                book = books.setdefault(one["arg"]["instId"], NaiveBook())
                for side, levels in book.sides.items():
                    if one["action"] == "snapshot":
                        levels.clear()
                    for level in one["data"][0][side]:
                        if float(level[1]) == 0:
                            levels.pop(level[0], None)
                        else:
                            levels[level[0]] = level
                assert one["data"][0]["checksum"] == book.checksum()
            assert len(books) == len(names)

    settings = CaptureSettings((DATA / "okx" / name,), speed=0.0)
    with_venue(settings, test, name="okx")
