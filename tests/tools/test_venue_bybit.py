"""The Bybit simulated venue over real sockets: linear and spot, topics, chains, REST, limits, captures."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.tools.venue_kit import Listener, connect, get, with_venue
from tools.venues.bybit import Bybit
from tools.venues.capture_source import CaptureSettings
from tools.venues.fanout import Outbox
from tools.venues.protocol import HttpRequest
from tools.venues.run import VenueRun
from tools.venues.synthetic_source import SyntheticSettings, SyntheticSource

DATA = Path(os.environ.get("RINGLANE_DATA", Path(__file__).resolve().parents[3] / "shared" / "market-data"))
REAL = DATA / "bybit" / "bybit_v5_20260809.gz"
LINEAR, SPOT, STATUS = "/v5/public/linear", "/v5/public/spot", "/v5/public/misc/status"
PING = b'{"op":"ping"}'
QUIET = SyntheticSettings(4, 0.0, 3)


def request(*topics: str, op: str = "subscribe", **more: object) -> bytes:
    return orjson.dumps({"op": op, "args": topics, **more})


def topics_of(listener: Listener, prefix: str) -> list[dict[str, Any]]:
    found = [orjson.loads(frame) for frame in listener.frames if b'"topic"' in frame[:40]]
    return [one for one in found if one["topic"].startswith(prefix)]


async def answer(listener: Listener, text: bytes) -> Any:
    seen = len(listener.frames)
    listener.send(text)

    def found(one: Listener) -> list[bytes]:
        return [frame for frame in one.frames[seen:] if b'"success"' in frame]

    await listener.until(lambda one: bool(found(one)))
    return orjson.loads(found(listener)[0])


class NaiveBook:
    """Two dicts and the rules of the document."""

    def __init__(self) -> None:
        self.sides: dict[str, dict[str, str]] = {"b": {}, "a": {}}
        self.last = 0
        self.sequence = 0

    def apply(self, message: dict[str, Any]) -> None:
        data = message["data"]
        if message["type"] == "snapshot" or data["u"] == 1:
            self.sides = {"b": {}, "a": {}}
        else:
            assert data["u"] == self.last + 1
        assert data["seq"] >= self.sequence
        self.last, self.sequence = data["u"], data["seq"]
        for side, levels in self.sides.items():
            for price, quantity in data[side]:
                if quantity == "0":
                    assert price in levels, "a level that was not there is removed"
                    del levels[price]
                else:
                    levels[price] = quantity

    def best(self, side: str) -> list[list[str]]:
        sign = -1 if side == "b" else 1
        return [
            list(level) for level in sorted(self.sides[side].items(), key=lambda one: sign * float(one[0]))
        ]


def test_answers_differ_between_linear_and_spot_as_the_venues() -> None:
    async def test(run: VenueRun) -> None:
        linear, spot = await connect(run, LINEAR), await connect(run, SPOT)
        one = await answer(linear, request("publicTrade.BTCUSDT"))
        assert one == {
            "success": True,
            "ret_msg": "",
            "conn_id": one["conn_id"],
            "req_id": "",
            "op": "subscribe",
        }
        two = await answer(spot, request("publicTrade.BTCUSDT"))
        assert two == {"success": True, "ret_msg": "subscribe", "conn_id": two["conn_id"], "op": "subscribe"}
        assert (await answer(spot, request("tickers.BTCUSDT", req_id="5")))["req_id"] == "5"
        pong = await answer(linear, b'{"op":"ping","req_id":"9"}')
        assert (pong["ret_msg"], pong["op"], pong["req_id"]) == ("pong", "ping", "9")
        assert (await answer(linear, request("publicTrade.BTCUSDT", op="unsubscribe")))["success"]

    with_venue(QUIET, test, name="bybit")


@pytest.mark.parametrize(
    ("path", "text", "words"),
    [
        (LINEAR, b"{", "Invalid JSON"),
        (LINEAR, b"[]", "Params Error"),
        (LINEAR, b'{"op":"auth"}', "request op not found"),
        (LINEAR, request(), "Params Error"),
        (LINEAR, request("orderbook.51.BTCUSDT"), "handler not found"),
        (SPOT, request("allLiquidation.BTCUSDT"), "handler not found"),
        (SPOT, request("orderbook.500.BTCUSDT"), "handler not found"),
        (LINEAR, request("orderbook.500.BTCUSDT"), "handler not found"),
        (LINEAR, request("orderbook.50.XXXUSDT"), "Invalid symbol :[orderbook.50.XXXUSDT]"),
        (SPOT, request(*[f"tickers.S{n}USDT" for n in range(11)]), "args size >10"),
        (LINEAR, request(*["tickers.BTCUSDT"] * 1200), "limited to 21000"),
    ],
)
def test_wrong_requests_are_refused(path: str, text: bytes, words: str) -> None:
    async def test(run: VenueRun) -> None:
        reply = await answer(await connect(run, path), text)
        assert not reply["success"]
        assert words in reply["ret_msg"]

    with_venue(QUIET, test, name="bybit")


def test_a_topic_can_be_subscribed_once() -> None:
    async def test(run: VenueRun) -> None:
        client = await connect(run, LINEAR)
        await answer(client, request("tickers.BTCUSDT"))
        again = await answer(client, request("tickers.BTCUSDT"))
        assert "already subscribed" in again["ret_msg"]

    with_venue(QUIET, test, name="bybit_linear")


@pytest.mark.parametrize("path", [LINEAR, SPOT])
def test_books_of_all_depths_chain_and_end_alike(path: str) -> None:
    async def test(run: VenueRun) -> None:
        client = await connect(run, path)
        depths = [1, 50, 200, 1000]
        reply = await answer(client, request(*[f"orderbook.{depth}.BTCUSDT" for depth in depths]))
        assert reply["success"]
        await run.source_done()
        await client.drain(PING)
        books = {depth: NaiveBook() for depth in depths}
        for depth, book in books.items():
            messages = topics_of(client, f"orderbook.{depth}.")
            assert messages[0]["type"] == "snapshot"
            for message in messages:
                book.apply(message)
            assert len(book.best("b")) <= depth
            assert {one["type"] for one in messages[1:]} == {"snapshot" if depth == 1 else "delta"}
        assert len(books[50].best("b")) == 50
        for depth in depths[:-1]:
            assert books[depth].best("a") == books[1000].best("a")[:depth]
        category = path.rpartition("/")[2]
        body = orjson.loads(
            (await get(run, f"/v5/market/orderbook?category={category}&symbol=BTCUSDT&limit=200"))[2]
        )
        result = body["result"]
        assert (result["u"], result["b"]) == (books[1000].last, books[1000].best("b")[:200])
        order = ["topic", "type", "ts"] if path == LINEAR else ["topic", "ts", "type"]
        assert list(topics_of(client, "orderbook.50.")[0])[:3] == order

    with_venue(SyntheticSettings(4, 40_000.0, 3, update_limit=12_000), test, name="bybit")


def test_level_one_comes_again_after_three_seconds_under_the_same_number() -> None:
    protocol = Bybit("bybit_linear")
    source = SyntheticSource(SyntheticSettings(1, 0.0, 3, start_ms=1_700_000_000_000), protocol)
    protocol.source = source
    box = Outbox(False)
    source.streams["linear/orderbook.1.BTCUSDT"].add(box)
    first = orjson.loads(source.welcome("linear/orderbook.1.BTCUSDT") or b"")
    source.market.advance(2_999_000_000)
    assert not box.pending_bytes
    source.market.advance(3_000_000_000)
    again = orjson.loads(box.take()[4:])
    assert (again["type"], again["data"]) == ("snapshot", first["data"])
    assert again["ts"] == first["ts"] + 3000


def test_a_restart_of_the_service_sends_number_one() -> None:
    protocol = Bybit("bybit_spot")
    source = SyntheticSource(SyntheticSettings(1, 0.0, 3, start_ms=1_700_000_000_000), protocol)
    box = Outbox(False)
    source.streams["spot/orderbook.50.BTCUSDT"].add(box)
    source.welcome("spot/orderbook.50.BTCUSDT")
    source.market_views().begin_again(0, 1)
    message = orjson.loads(box.take()[4:])
    assert (message["type"], message["data"]["u"]) == ("snapshot", 1)


def test_linear_tickers_are_deltas_to_merge_and_spot_ones_are_whole() -> None:
    async def test(run: VenueRun) -> None:
        linear, spot = await connect(run, LINEAR), await connect(run, SPOT)
        linear.send(
            request("tickers.BTCUSDT", "orderbook.1.BTCUSDT", "allLiquidation.BTCUSDT", "publicTrade.BTCUSDT")
        )
        spot.send(request("tickers.BTCUSDT"))
        await run.source_done()
        for client in (linear, spot):
            await client.drain(PING)
        first, *rest = topics_of(linear, "tickers.")
        assert (first["type"], {one["type"] for one in rest}) == ("snapshot", {"delta"})
        merged = dict(first["data"])
        for one in rest:
            assert len(one["data"]) < len(merged)
            merged |= one["data"]
        assert float(merged["lowPrice24h"]) <= float(merged["lastPrice"]) <= float(merged["highPrice24h"])
        assert merged["markPrice"].partition(".")[2].isdigit()
        assert len({len(one["data"]) for one in topics_of(spot, "tickers.")}) == 1
        (ended,) = topics_of(linear, "allLiquidation.")[0]["data"]
        sides = {trade["T"]: trade["S"] for one in topics_of(linear, "publicTrade.") for trade in one["data"]}
        # a long position (Buy) is ended by an order that sells
        assert ended["S"] != sides[ended["T"]]

    settings = SyntheticSettings(4, 200_000.0, 3, update_limit=150_000)
    with_venue(settings, test, name="bybit", clients_wanted=2)


def test_a_delisting_is_announced_and_ends_the_topics() -> None:
    async def test(run: VenueRun) -> None:
        status, client = await connect(run, STATUS), await connect(run, LINEAR)
        assert (await answer(status, request("system.status")))["success"]
        await status.until(lambda one: len(topics_of(one, "system.status")) == 4)
        titles = [row["title"] for one in topics_of(status, "system.status") for row in one["data"]]
        assert titles == ["SOLUSDT PreLaunch", "ETHUSDT Delivering", "SOLUSDT Trading", "ETHUSDT Closed"]
        assert "Invalid symbol" in (await answer(client, request("tickers.ETHUSDT")))["ret_msg"]
        assert (await answer(client, request("tickers.SOLUSDT")))["success"]
        path = "/v5/market/instruments-info?category=linear&status=Closed"
        body = orjson.loads((await get(run, path))[2])
        assert [row["symbol"] for row in body["result"]["list"]] == ["ETHUSDT"]

    settings = SyntheticSettings(2, 1000.0, 3, list_after_s=0.06, delist_after_s=0.08)
    with_venue(settings, test, name="bybit_linear")


def test_rest_answers_and_refuses() -> None:
    async def test(run: VenueRun) -> None:
        for target, code in (
            ("/v5/market/orderbook?category=linear", 10001),
            ("/v5/market/orderbook?category=linear&symbol=BTCUSDT&limit=501", 10001),
            ("/v5/market/instruments-info?category=spot", 10001),
            ("/v5/market/instruments-info?category=linear&cursor=x", 10001),
            ("/v5/market/instruments-info?category=linear&symbol=X", 10001),
            ("/v5/market/time", 0),
        ):
            status, _, body = await get(run, target)
            assert (status, orjson.loads(body)["retCode"]) == (200, code), target
        assert (await get(run, "/v5/nothing"))[0] == 404
        limited = Bybit("bybit_linear", now_s=lambda: 0.0)
        limited.source = run.source
        replies = [limited.on_http(HttpRequest("GET", "/v5/market/time", ())) for _ in range(601)]
        assert {reply.status for reply in replies[:-1]} == {200}
        assert (replies[-1].status, orjson.loads(replies[-1].body)["retCode"]) == (403, 10006)

    with_venue(QUIET, test, name="bybit_linear")


def test_a_client_that_says_nothing_is_cut_though_data_flows() -> None:
    async def test(run: VenueRun) -> None:
        run.protocol.limits = replace(run.protocol.limits, idle_s=0.1)
        client = await connect(run, LINEAR)
        client.send(request("orderbook.1.BTCUSDT"))
        await client.until(lambda one: one.closed is not None)
        assert client.closed == (1001, "no message in time")

    with_venue(SyntheticSettings(1, 2000.0, 3), test, name="bybit_linear")


@pytest.mark.parametrize("path", ["/v5/public/inverse", "/v5/privately", "/v5/public/spot"])
def test_other_paths_are_not_served(path: str) -> None:
    async def test(run: VenueRun) -> None:
        with pytest.raises(Exception, match="404"):
            await connect(run, path)

    with_venue(QUIET, test, name="bybit_linear")


@pytest.mark.skipif(not REAL.is_file(), reason="no recorded market data here")
def test_the_real_capture_is_played_on_both_paths_and_joined_late() -> None:
    async def test(run: VenueRun) -> None:
        for path in (LINEAR, SPOT):
            category = path.rpartition("/")[2]
            names = [n.partition("/")[2] for n in run.source.streams if n.startswith(f"{category}/orderbook")]
            first = await connect(run, path)
            await answer(first, request(*names))
            late = await connect(run, path)
            run.ready[path] = (names, first, late)
        await run.source_done()
        for path in (LINEAR, SPOT):
            names, first, late = run.ready[path]  # type: ignore[misc]
            assert len(names) == (4 if path == LINEAR else 2)
            await answer(late, request(*names))
            await answer(late, request("tickers.BTCUSDT"))
            (ticker,) = topics_of(late, "tickers.")
            assert ticker["type"] == "snapshot"
            assert ("markPrice" in ticker["data"]) == (path == LINEAR)
            for name in names:
                finals = []
                for client in (first, late):
                    await client.drain(PING)
                    book = NaiveBook()
                    for message in topics_of(client, name):
                        book.apply(message)
                    finals.append((book.last, book.sides))
                assert finals[0] == finals[1]
                assert {len(levels) for levels in finals[0][1].values()} == {200}
        body = (await get(run, "/v5/market/instruments-info?category=spot"))[2]
        assert len(orjson.loads(body)["result"]["list"]) == 557

    settings = CaptureSettings((REAL,), speed=0.0, shift_times=False)
    with_venue(settings, test, name="bybit", clients_wanted=2)
