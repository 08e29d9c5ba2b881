"""Binance USD-M's order entry over real sockets, with a raw client and the shapes of real messages."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from typing import Any

import orjson
import pytest
from picows import WSError

from tests.tools.trading.binance_kit import RawClient, best, http, truth
from tests.tools.venue_kit import NaiveBook, connect, get, with_venue
from tools.venues.run import VenueRun
from tools.venues.synthetic_source import SyntheticSettings
from tools.venues.trading.settings import TradingSettings

QUIET = SyntheticSettings(instruments=2, rate_per_s=0.0)

# Keys of real messages: an order's answer and report (a production gateway's recordings, 2021 to 2025).
ANSWER_KEYS = {
    "orderId", "symbol", "status", "clientOrderId", "price", "avgPrice", "origQty", "executedQty", "cumQty",
    "cumQuote", "timeInForce", "type", "reduceOnly", "closePosition", "side", "positionSide", "stopPrice",
    "workingType", "priceProtect", "origType", "priceMatch", "selfTradePreventionMode", "goodTillDate",
    "updateTime",
}  # fmt: skip
REPORT_KEYS = {
    "s", "c", "S", "o", "f", "q", "p", "ap", "sp", "x", "X", "i", "l", "z", "L", "T", "t", "b", "a", "m", "R",
    "wt", "ot", "ps", "cp", "rp", "pP", "si", "ss", "V", "pm", "gtd",
}  # fmt: skip

LIMIT_ORDER = {
    "symbol": "BTCUSDT", "side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "quantity": "0.010",
    "price": "50000.00",
}  # fmt: skip


def serve(
    test: Callable[[VenueRun, RawClient], Awaitable[None]], number: int = 0, **options: Any
) -> VenueRun:
    async def check(run: VenueRun) -> None:
        await test(run, await RawClient(run, number).open())

    return with_venue(options.pop("market", QUIET), check, **options)


def error(reply: Any) -> tuple[int, int]:
    return reply["status"], reply["error"]["code"]


def test_an_order_rests_is_amended_and_canceled_and_each_step_is_reported() -> None:
    async def check(run: VenueRun, client: RawClient) -> None:
        bid, _ = best(run)
        placed = await client.place(price=f"{bid - 1:.2f}", newClientOrderId="mine-1")
        assert placed["status"] == 200
        assert set(placed["result"]) == ANSWER_KEYS
        assert (placed["result"]["status"], placed["result"]["origQty"]) == ("NEW", "0.010")
        assert [row["rateLimitType"] for row in placed["rateLimits"]] == [
            "REQUEST_WEIGHT",
            "ORDERS",
            "ORDERS",
        ]
        name = {"symbol": "BTCUSDT", "origClientOrderId": "mine-1"}
        terms = {"side": "BUY", "quantity": "0.020", "price": f"{bid - 2:.2f}"}
        amended = await client.ask("order.modify", {**name, **terms})
        assert (amended["result"]["price"], amended["result"]["origQty"]) == (terms["price"], "0.020")
        assert error(await client.ask("order.modify", {**name, **terms})) == (400, -5027)
        canceled = await client.ask("order.cancel", name)
        assert canceled["result"]["status"] == "CANCELED"
        assert error(await client.ask("order.cancel", name)) == (400, -2011)
        reports = await client.events("ORDER_TRADE_UPDATE", 3)
        assert [(one["o"]["x"], one["o"]["X"]) for one in reports] == [
            ("NEW", "NEW"), ("AMENDMENT", "NEW"), ("CANCELED", "CANCELED"),
        ]  # fmt: skip
        assert all(set(one["o"]) == REPORT_KEYS for one in reports)
        status = await client.ask("order.status", name)
        assert (status["result"]["status"], status["result"]["clientOrderId"]) == ("CANCELED", "mine-1")
        assert error(await client.ask("order.status", {**name, "origClientOrderId": "no"})) == (400, -2013)

    serve(check)


def test_a_fill_moves_balance_and_position_and_is_seen_by_everyone() -> None:
    async def check(run: VenueRun, client: RawClient) -> None:
        watcher = await connect(run, "/market/ws/btcusdt@aggTrade")
        _, ask = best(run)
        placed = await client.place(price=f"{ask:.2f}", newOrderRespType="RESULT", timeInForce="IOC")
        assert (placed["result"]["status"], placed["result"]["executedQty"]) == ("FILLED", "0.010")
        report = (await client.events("ORDER_TRADE_UPDATE", 2))[-1]["o"]
        assert set(report) == REPORT_KEYS | {"n", "N"}
        assert (report["x"], report["X"], report["l"], report["m"]) == ("TRADE", "FILLED", "0.010", False)
        assert report["n"] == f"{ask * 0.010 * 0.0005:.8f}"
        update = (await client.events("ACCOUNT_UPDATE", 1))[0]["a"]
        assert (update["m"], update["P"][0]["pa"], update["B"][0]["a"]) == ("ORDER", "0.010", "USDT")
        lite = (await client.events("TRADE_LITE", 1))[0]
        assert (lite["t"], lite["i"]) == (report["t"], report["i"])
        await watcher.until(lambda one: bool(one.frames))
        seen = orjson.loads(watcher.frames[0])
        assert (seen["p"], seen["q"], seen["m"]) == (f"{ask:.2f}", "0.010", False)
        balance = (await client.ask("v2/account.balance", {}))["result"]
        wallet = next(row for row in balance if row["asset"] == "USDT")["balance"]
        assert wallet == update["B"][0]["wb"]
        _, _, trades = await client.rest("GET", "/fapi/v1/userTrades", {"symbol": "BTCUSDT"})
        assert [(row["id"], row["qty"], row["maker"], row["buyer"]) for row in trades] == [
            (report["t"], "0.010", False, True)
        ]
        _, _, positions = await client.rest("GET", "/fapi/v3/positionRisk")
        assert [(row["symbol"], row["positionAmt"]) for row in positions] == [("BTCUSDT", "0.010")]

    serve(check)


def test_the_published_book_holds_what_rests_and_lacks_what_was_taken() -> None:
    async def check(run: VenueRun, client: RawClient) -> None:
        watcher = await connect(run, "/public/ws/btcusdt@depth@0ms")
        before = orjson.loads((await get(run, "/fapi/v1/depth?symbol=BTCUSDT&limit=1000"))[2])
        bid, ask = best(run)
        await client.place(price=f"{bid:.2f}", quantity="5.000")
        await client.place(price=f"{ask:.2f}", quantity="0.001", timeInForce="IOC")
        await watcher.until(lambda one: len(one.frames) >= 2)
        after = orjson.loads((await get(run, "/fapi/v1/depth?symbol=BTCUSDT&limit=1000"))[2])
        book = NaiveBook()
        book.follow(before, [orjson.loads(frame) for frame in watcher.frames])
        assert book.top(1000) == (after["bids"], after["asks"])
        assert float(after["bids"][0][1]) == pytest.approx(float(before["bids"][0][1]) + 5)
        assert float(after["asks"][0][1]) == pytest.approx(float(before["asks"][0][1]) - 0.001)

    serve(check)


def test_the_synthetic_flow_fills_what_rests_at_the_touch() -> None:
    async def check(run: VenueRun, client: RawClient) -> None:
        market = await connect(run, "/public/ws/btcusdt@bookTicker")
        await market.until(lambda one: bool(one.frames))
        while not (await truth(run, "fills")):
            bid, ask = best(run)
            for side, price in (("BUY", bid), ("SELL", ask)):
                await client.place(side=side, price=f"{price:.2f}", timeInForce="GTX", quantity="0.500")
            await market.until(lambda one, seen=len(market.frames): len(one.frames) > seen + 200)  # type: ignore[misc]
            await client.rest("DELETE", "/fapi/v1/allOpenOrders", {"symbol": "BTCUSDT"})
        fills = await truth(run, "fills")
        reports = [one["o"] for one in await client.events("ORDER_TRADE_UPDATE", 1)]
        assert all(fill["is_maker"] for fill in fills)
        traded = [one for one in reports if one["x"] == "TRADE"]
        assert [one["t"] for one in traded] == [fill["trade_id"] for fill in fills][: len(traded)]
        for order in await truth(run, "orders"):
            assert len(order["trade_ids"]) == len(set(order["trade_ids"]))

    market = SyntheticSettings(instruments=1, rate_per_s=5000.0, seed=4)
    serve(check, market=market, trading=TradingSettings(limits=0))


@pytest.mark.parametrize(
    ("code", "params"),
    [
        (-1121, {"symbol": "NOPEUSDT"}),
        (-1117, {"side": "LONG"}),
        (-1116, {"type": "STOP"}),
        (-1115, {"timeInForce": "DAY"}),
        (-1111, {"price": "100.001"}),
        (-1111, {"quantity": "0.0001"}),
        (-1102, {"price": ""}),
        (-4014, {"price": "50000.05"}),
        (-4003, {"quantity": "0.000"}),
        (-4164, {"price": "100.00"}),
        (-5022, {"price": "99000.00", "timeInForce": "GTX"}),
        (-5021, {"price": "61800.10", "timeInForce": "FOK", "quantity": "10"}),
        (-2019, {"quantity": "900", "price": "60000"}),
        (-2022, {"reduceOnly": "true"}),
        (-4061, {"positionSide": "LONG"}),
        (-4015, {"newClientOrderId": "no spaces, please"}),
        (-4116, {"newClientOrderId": "taken"}),
        (-1106, {"type": "MARKET"}),
    ],
)
def test_a_wrong_order_is_refused_with_the_code_of_the_venue(code: int, params: dict[str, str]) -> None:
    async def check(run: VenueRun, client: RawClient) -> None:
        assert (await client.place(price="50000.00", newClientOrderId="taken"))["status"] == 200
        refused = await client.place(**{"price": "50000.00", **params})
        assert error(refused) == (400, code)
        assert len(await truth(run, "orders?open=1")) == 1

    serve(check)


def test_a_market_order_takes_neither_price_nor_time_in_force() -> None:
    async def check(run: VenueRun, client: RawClient) -> None:
        del run
        order = {"symbol": "BTCUSDT", "side": "BUY", "type": "MARKET", "quantity": "0.010"}
        for name, value in (("price", "50000.00"), ("timeInForce", "GTC")):
            assert error(await client.ask("order.place", {**order, name: value})) == (400, -1106)
        assert (await client.ask("order.place", order))["status"] == 200

    serve(check)


def test_signatures_times_and_keys_are_verified() -> None:
    async def check(run: VenueRun, client: RawClient) -> None:
        good = client.signed({"symbol": "BTCUSDT", "origClientOrderId": "x"})
        for wrong, status, code in (
            ({**good, "signature": "0" * 64}, 400, -1022),
            ({**good, "symbol": "ETHUSDT"}, 400, -1022),
            ({**good, "apiKey": "f" * 64}, 401, -2015),
            ({**good, "apiKey": "?"}, 401, -2014),
            (client.signed({"symbol": "BTCUSDT", "timestamp": client.now_ms() - 6000}), 400, -1021),
            (client.signed({"symbol": "BTCUSDT", "timestamp": client.now_ms() + 60_000}), 400, -1021),
            (client.signed({"symbol": "BTCUSDT", "recvWindow": 60001}), 400, -1131),
        ):
            reply = await client.call({"id": "w", "method": "order.status", "params": wrong})
            assert error(reply) == (status, code)
            client.orders.frames.clear()
        status, _, body = await client.rest("GET", "/fapi/v1/openOrders", signature="ab" * 32)
        assert (status, body["code"]) == (400, -1022)
        status, _, body = await http(
            run, "GET", "/fapi/v1/openOrders?timestamp=1", headers={"X-MBX-APIKEY": "x"}
        )
        assert (status, body["code"]) == (401, -2014)
        client.orders.send(b"{nonsense")
        await client.orders.until(lambda one: any(b"Invalid JSON" in frame for frame in one.frames))

    serve(check)


def test_parameters_are_signed_in_the_order_sent_in_query_or_body() -> None:
    async def check(_run: VenueRun, client: RawClient) -> None:
        order = {**LIMIT_ORDER, "newClientOrderId": "a:b/c"}
        for placed, in_body in enumerate((False, True), 1):
            status, headers, body = await client.rest("POST", "/fapi/v1/order", order, in_body=in_body)
            assert (status, body.get("clientOrderId")) == (200, "a:b/c"), body
            # Equal, unless a window of ten seconds turned over in between.
            counts = [int(headers[f"x-mbx-order-count-{window}"]) for window in ("10s", "1m")]
            assert 1 <= counts[0] <= counts[1] <= placed
            status, _, body = await client.rest(
                "DELETE", "/fapi/v1/order", {"symbol": "BTCUSDT", "origClientOrderId": "a:b/c"}
            )
            assert (status, body["status"]) == (200, "CANCELED")

    serve(check)


def test_an_ed25519_key_logs_on_and_need_not_sign_after_that() -> None:
    pytest.importorskip("cryptography")

    async def check(_run: VenueRun, client: RawClient) -> None:
        logged = await client.ask("session.logon", {})
        assert logged["result"]["apiKey"] == client.key["api_key"]
        order = {**LIMIT_ORDER, "timestamp": client.now_ms()}
        placed = await client.call({"id": "bare", "method": "order.place", "params": order})
        assert placed["status"] == 200
        other = await RawClient(_run).open()
        assert error(await other.ask("session.logon", {})) == (400, -4056)
        unsigned = {name: value for name, value in order.items() if name != "timestamp"}
        bare = await other.call({"id": "bare", "method": "order.place", "params": unsigned})
        assert error(bare)[1] == -2014

    serve(check, number=1)


def test_batches_do_each_order_for_itself() -> None:
    async def check(run: VenueRun, client: RawClient) -> None:
        rows = [
            {**LIMIT_ORDER, "newClientOrderId": "a"},
            {**LIMIT_ORDER, "price": "50000.05", "newClientOrderId": "b"},
            {**LIMIT_ORDER, "newClientOrderId": "c"},
        ]
        _, headers, placed = await client.rest(
            "POST", "/fapi/v1/batchOrders", {"batchOrders": orjson.dumps(rows).decode()}
        )
        assert [one.get("status", one.get("code")) for one in placed] == ["NEW", -4014, "NEW"]
        assert headers["x-mbx-order-count-10s"] == "3"
        terms = {"symbol": "BTCUSDT", "side": "BUY", "quantity": "0.010", "price": "49000.00"}
        changes = [{**terms, "origClientOrderId": name} for name in ("a", "b")]
        _, _, amended = await client.rest(
            "PUT", "/fapi/v1/batchOrders", {"batchOrders": orjson.dumps(changes).decode()}
        )
        assert [one.get("price", one.get("code")) for one in amended] == ["49000.00", -2013]
        _, _, canceled = await client.rest(
            "DELETE", "/fapi/v1/batchOrders", {"symbol": "BTCUSDT", "origClientOrderIdList": '["a","b","c"]'}
        )
        assert [one.get("status", one.get("code")) for one in canceled] == ["CANCELED", -2011, "CANCELED"]
        too_many = orjson.dumps([rows[0]] * 6).decode()
        status, _, body = await client.rest("POST", "/fapi/v1/batchOrders", {"batchOrders": too_many})
        assert (status, body["code"]) == (400, -4082)
        assert await truth(run, "orders?open=1") == []

    serve(check)


def test_all_open_orders_of_a_symbol_end_together_manual_ones_too() -> None:
    async def check(run: VenueRun, client: RawClient) -> None:
        await client.place(price="50000.00")
        await client.place(symbol="ETHUSDT", price="2000.00")
        manual = {"symbol": "BTCUSDT", "side": "sell", "price": "99000", "quantity": "0.01"}
        status, _, body = await http(run, "POST", "/sim/order", orjson.dumps(manual).decode())
        assert (status, body["source"]) == (200, "manual")
        _, _, listed = await client.rest("GET", "/fapi/v1/openOrders")
        assert len(listed) == 3
        status, _, body = await client.rest("DELETE", "/fapi/v1/allOpenOrders", {"symbol": "BTCUSDT"})
        assert (status, body["code"]) == (200, 200)
        _, _, listed = await client.rest("GET", "/fapi/v1/openOrders")
        assert [row["symbol"] for row in listed] == ["ETHUSDT"]

    serve(check)


def test_the_countdown_cancels_a_symbol_unless_it_is_set_again() -> None:
    async def check(run: VenueRun, client: RawClient) -> None:
        await client.place(price="50000.00")
        await client.place(symbol="ETHUSDT", price="2000.00")
        ask = {"symbol": "BTCUSDT", "countdownTime": "60000"}
        _, _, body = await client.rest("POST", "/fapi/v1/countdownCancelAll", ask)
        assert body == {"symbol": "BTCUSDT", "countdownTime": "60000"}
        assert [timer[1] for timer in run.trading.desk.exchange.dead_men()] == ["BTCUSDT"]  # type: ignore[union-attr]
        await client.rest("POST", "/fapi/v1/countdownCancelAll", {**ask, "countdownTime": "20"})
        reports = await client.events("ORDER_TRADE_UPDATE", 3)
        assert (reports[-1]["o"]["X"], reports[-1]["o"]["s"]) == ("CANCELED", "BTCUSDT")
        assert [one["symbol"] for one in await truth(run, "orders?open=1")] == ["ETHUSDT"]

    serve(check)


def test_order_limits_count_in_fixed_windows_and_refuse_with_429() -> None:
    async def check(run: VenueRun, client: RawClient) -> None:
        replies = [await client.place(price="50000.00") for _ in range(8)]
        refused = [one for one in replies if one["status"] == 429]
        # six fit a window of ten seconds; the window may turn once while this runs
        assert run.trading is not None
        most = run.trading.desk.trading.statistics()["orders_10s_max"]
        assert isinstance(most, int)
        assert refused or most <= 6
        for one in refused:
            assert one["error"]["code"] == -1015
            assert one["error"]["data"]["retryAfter"] > one["error"]["data"]["serverTime"]
        assert len(await truth(run, "orders")) == 8 - len(refused)
        assert (await truth(run, "statistics"))["answered_429"] == len(refused)

    serve(check, trading=TradingSettings(limits=0.02))


def test_a_listen_key_is_one_per_account_kept_and_ended() -> None:
    async def check(run: VenueRun, client: RawClient) -> None:
        key = client.listen_key
        _, _, body = await client.rest("POST", "/fapi/v1/listenKey", is_signed=False)
        assert body == {"listenKey": key}
        _, _, body = await client.rest("PUT", "/fapi/v1/listenKey", is_signed=False)
        assert body == {"listenKey": key}
        old = await connect(run, f"/ws/{key}")
        both = await connect(run, f"/stream?streams={key}")
        await client.place(price="50000.00")
        await old.until(lambda one: bool(one.frames))
        await both.until(lambda one: bool(one.frames))
        assert orjson.loads(both.frames[0]) == {"stream": key, "data": orjson.loads(old.frames[0])}
        await client.rest("DELETE", "/fapi/v1/listenKey", is_signed=False)
        status, _, body = await client.rest("PUT", "/fapi/v1/listenKey", is_signed=False)
        assert (status, body["code"]) == (400, -1125)
        with pytest.raises(WSError, match="400"):
            await connect(run, f"/private/ws/{key}")

    serve(check)


def test_settings_of_the_account_answer_as_the_venue_does() -> None:
    async def check(_run: VenueRun, client: RawClient) -> None:
        _, _, body = await client.rest("POST", "/fapi/v1/leverage", {"symbol": "BTCUSDT", "leverage": "10"})
        assert (body["leverage"], body["symbol"]) == (10, "BTCUSDT")
        status, _, body = await client.rest(
            "POST", "/fapi/v1/positionSide/dual", {"dualSidePosition": "false"}
        )
        assert (status, body["code"]) == (400, -4059)
        _, _, body = await client.rest("GET", "/fapi/v1/commissionRate", {"symbol": "BTCUSDT"})
        assert (body["makerCommissionRate"], body["takerCommissionRate"]) == ("0.000200", "0.000500")
        now = await client.ask("time", {}, is_signed=False)
        assert abs(now["result"]["serverTime"] - client.now_ms()) < 60_000

    serve(check)


def test_orders_go_over_tls_too() -> None:
    pytest.importorskip("cryptography")

    async def check(run: VenueRun) -> None:
        context = ssl.create_default_context(cafile=str(run.ready["ca"]))
        client = await RawClient(run, context=context).open()
        assert (await client.place(price="50000.00"))["status"] == 200
        assert len(await client.events("ORDER_TRADE_UPDATE", 1)) == 1
        status, _, _ = await client.rest("GET", "/fapi/v3/balance")
        assert status == 200

    with_venue(QUIET, check, tls=True)


def test_a_venue_may_have_market_data_only() -> None:
    async def check(run: VenueRun) -> None:
        assert "trading" not in run.ready
        with pytest.raises(WSError, match="404"):
            await connect(run, "/ws-fapi/v1")
        assert (await http(run, "GET", "/sim/orders"))[0] == 404
        await asyncio.sleep(0)

    with_venue(QUIET, check, trading=None)
