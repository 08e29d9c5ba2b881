"""Each fault that meets orders does what its name says, over real sockets; latencies too."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import orjson
import pytest

from exec.simulator.latency import Latency
from tests.tools.trading.binance_kit import RawClient, best, http, truth
from tests.tools.venue_kit import connect, with_venue
from tools.venues.errors import SettingsError
from tools.venues.faults import FaultScriptError, parse_faults
from tools.venues.run import VenueRun, VenueSettings
from tools.venues.synthetic_source import SyntheticSettings
from tools.venues.trading.latency import DelayQueue, Line, parse_latency
from tools.venues.trading.load import measure_orders
from tools.venues.trading.settings import TradingSettings

QUIET = SyntheticSettings(instruments=2, rate_per_s=0.0)


def serve(script: str, test: Callable[[VenueRun, RawClient], Awaitable[None]], **options: Any) -> VenueRun:
    async def check(run: VenueRun) -> None:
        client = await RawClient(run).open()
        status, _, body = await http(run, "POST", "/sim/faults", script)
        assert status == 200, body
        await test(run, client)
        body = (await http(run, "GET", "/sim/faults"))[2]
        assert all(row["count"] for row in body["faults"]), body

    return with_venue(QUIET, check, **options)


#: Longer than any stall: what waits for so long comes when a test lets that time pass.
LONG_MS = 3_600_000


def let_pass(run: VenueRun) -> None:
    """Bring on whatever waits in the venue, as if its time had come."""
    assert run.trading is not None
    run.trading.desk.run(time.monotonic_ns() + 2 * LONG_MS * 1_000_000)


async def is_unanswered(client: RawClient, number: str) -> bool:
    """Whether a request has no answer though a later one has."""
    await client.ask("time", {}, is_signed=False)
    return not any(orjson.loads(frame).get("id") == number for frame in client.orders.frames)


ORDER = {"symbol": "BTCUSDT", "side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "quantity": "0.010",
         "price": "50000.00"}  # fmt: skip


def test_lost_ack_the_order_stands_and_is_reported_but_not_answered() -> None:
    async def check(run: VenueRun, client: RawClient) -> None:
        number = client.send("order.place", ORDER)
        await client.events("ORDER_TRADE_UPDATE", 1)
        assert await is_unanswered(client, number)
        assert len(await truth(run, "orders?open=1")) == 1

    serve("now: lost_ack", check)


def test_lost_request_nothing_happens_at_all() -> None:
    async def check(run: VenueRun, client: RawClient) -> None:
        assert await is_unanswered(client, client.send("order.place", ORDER))
        assert await truth(run, "orders") == []
        assert (await client.place(price="50000.00"))["status"] == 200

    serve("now: lost_request command=new", check)


def test_duplicate_report_comes_twice_and_the_books_know_one_fill() -> None:
    async def check(run: VenueRun, client: RawClient) -> None:
        _, ask = best(run)
        await client.place(price=f"{ask:.2f}")
        reports = await client.events("ORDER_TRADE_UPDATE", 4)
        assert [one["o"]["x"] for one in reports] == ["NEW", "NEW", "TRADE", "TRADE"]
        assert reports[2] == reports[3]
        assert len(await truth(run, "fills")) == 1

    serve("now: duplicate_report times=2", check)


def test_ack_after_fill_the_report_of_the_fill_overtakes_the_answer() -> None:
    async def check(run: VenueRun, client: RawClient) -> None:
        _, ask = best(run)
        number = client.send("order.place", {**ORDER, "price": f"{ask:.2f}", "newOrderRespType": "RESULT"})
        await client.events("ACCOUNT_UPDATE", 1)
        assert await is_unanswered(client, number)
        let_pass(run)
        assert (await client.answer(number))["result"]["status"] == "FILLED"

    serve(f"now: ack_after_fill ms={LONG_MS}", check)


def test_ack_disconnect_the_order_stands_and_the_connection_is_gone() -> None:
    async def check(run: VenueRun, client: RawClient) -> None:
        client.send("order.place", ORDER)
        await client.orders.until(lambda one: one.closed is not None)
        assert len(await client.events("ORDER_TRADE_UPDATE", 1)) == 1
        assert len(await truth(run, "orders?open=1")) == 1
        status, _, _ = await client.rest("POST", "/fapi/v1/order", {**ORDER, "newClientOrderId": "rest"})
        assert status == 0
        assert [one["client_id"] for one in await truth(run, "orders?open=1")][1:] == ["rest"]

    serve("now: ack_disconnect times=2", check)


def test_reject_storm_refuses_new_orders_and_lets_cancels_pass() -> None:
    async def check(run: VenueRun, client: RawClient) -> None:
        first = await client.place(price="50000.00", newClientOrderId="first")
        refused = [await client.place(price="50000.00") for _ in range(3)]
        assert {(one["status"], one["error"]["code"]) for one in refused} == {(503, -1008)}
        canceled = await client.ask("order.cancel", {"symbol": "BTCUSDT", "origClientOrderId": "first"})
        assert (first["status"], canceled["status"]) == (200, 200)
        assert (await client.place(price="50000.00"))["status"] == 200

    serve("after 1 order: reject_storm times=3", check)


def test_rate_limited_answers_429_though_nothing_was_used_up() -> None:
    async def check(run: VenueRun, client: RawClient) -> None:
        assert (await client.place(price="50000.00"))["status"] == 429
        assert (await client.place(price="50000.00"))["status"] == 200

    serve("now: rate_limited", check)


def test_slow_cancel_lets_the_order_live_on_meanwhile() -> None:
    async def check(run: VenueRun, client: RawClient) -> None:
        await client.place(price="50000.00", newClientOrderId="x")
        number = client.send("order.cancel", {"symbol": "BTCUSDT", "origClientOrderId": "x"})
        assert await is_unanswered(client, number)
        assert len(await truth(run, "orders?open=1")) == 1
        let_pass(run)
        assert (await client.answer(number))["result"]["status"] == "CANCELED"

    serve(f"now: slow_cancel ms={LONG_MS}", check)


def test_kill_in_batch_takes_the_first_orders_only_and_cuts() -> None:
    async def check(run: VenueRun, client: RawClient) -> None:
        rows = [{**ORDER, "newClientOrderId": str(number)} for number in range(5)]
        status, _, _ = await client.rest(
            "POST", "/fapi/v1/batchOrders", {"batchOrders": orjson.dumps(rows).decode()}
        )
        assert status == 0
        assert [one["client_id"] for one in await truth(run, "orders")] == ["0", "1"]
        assert len(await client.events("ORDER_TRADE_UPDATE", 2)) == 2

    serve("now: kill_in_batch orders=2", check)


@pytest.mark.parametrize("told", ["yes", "no"])
def test_stale_listen_key_the_stream_says_so_or_not_and_falls_silent(told: str) -> None:
    async def check(run: VenueRun, client: RawClient) -> None:
        if told == "yes":
            event = (await client.events("listenKeyExpired", 1))[0]
            assert event["listenKey"] == client.listen_key
        await client.place(price="50000.00")
        fresh = (await client.ask("userDataStream.start", {}, is_signed=False))["result"]["listenKey"]
        assert fresh != client.listen_key
        again = await connect(run, f"/private/ws/{fresh}")
        await client.place(price="49000.00")
        await again.until(lambda one: bool(one.frames))
        assert not any(b"ORDER_TRADE_UPDATE" in frame for frame in client.private.frames)

    serve(f"now: stale_listen_key told={told}", check)


def test_maintenance_closes_order_and_private_connections_and_rest() -> None:
    async def check(run: VenueRun, client: RawClient) -> None:
        for one in (client.orders, client.private):
            await one.until(lambda listener: listener.closed is not None)
        assert (await http(run, "GET", "/fapi/v1/openOrders"))[0] == 503

    serve("now: maintenance seconds=3600", check)


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("after 1 frame: lost_ack", "lost_ack counts orders"),
        ("every 2 orders: drop", "drop counts frames"),
        ("now: lost_ack stream=depth", "stream says nothing to lost_ack"),
        ("now: slow_cancel command=never", "command is any or new or amend or cancel"),
        ("now: kill_in_batch orders=0", "orders is 1 to 1000"),
    ],
)
def test_a_script_that_can_not_be_is_refused(script: str, words: str) -> None:
    with pytest.raises(FaultScriptError, match=words):
        parse_faults(script, "binance_usdm")


def test_a_venue_without_trading_refuses_faults_of_orders() -> None:
    async def check(run: VenueRun) -> None:
        status, _, body = await http(run, "POST", "/ringlane/faults", "now: lost_ack")
        assert (status, "does not trade" in body["error"]) == (400, True)

    with_venue(QUIET, check, trading=None)
    with pytest.raises(FaultScriptError, match="does not trade"):
        VenueRun(VenueSettings(market=QUIET, trading=None, faults="now: lost_ack"))


# ---- latency -------------------------------------------------------------------------------------


def test_latencies_delay_requests_and_answers() -> None:
    async def check(run: VenueRun) -> None:
        client = await RawClient(run).open()
        assert run.trading is not None
        desk = run.trading.desk
        desk.entry, desk.response = parse_latency("60s", "entry"), parse_latency("10ms", "response")
        jobs, number = desk.jobs, client.send("order.place", ORDER)
        while desk.jobs == jobs:
            await asyncio.sleep(0)
        assert await truth(run, "orders") == []
        let_pass(run)
        assert (await client.answer(number))["status"] == 200
        assert len(await truth(run, "orders")) == 1

    with_venue(QUIET, check)


def test_an_answer_comes_by_itself_when_both_latencies_have_passed() -> None:
    async def check(run: VenueRun) -> None:
        client = await RawClient(run).open()
        begin_ns = time.monotonic_ns()
        await client.answer(client.send("order.place", ORDER))
        assert time.monotonic_ns() - begin_ns >= 30_000_000

    with_venue(QUIET, check, trading=TradingSettings(entry_latency="20ms", response_latency="10ms"))


def test_messages_of_one_line_keep_their_order_whatever_the_delays() -> None:
    latency, queue, line = parse_latency("lognormal:1ms:2:10us", "seed"), DelayQueue(), Line()
    seen: list[int] = []
    for number in range(200):
        queue.send(line, latency, number * 1000, lambda _due, n=number: seen.append(n))  # type: ignore[misc]
    while (due := queue.next_due_ns()) is not None:
        queue.run(due)
    assert seen == list(range(200))


def test_sampled_and_recorded_latencies_are_the_same_for_a_seed(tmp_path: Path) -> None:
    table = tmp_path / "delays.csv"
    table.write_text("time,delay_ns\n1,100\n2,200\n3,300\n")
    for text in ("lognormal:250us:0.5", f"table:{table}"):
        first, second, other = (parse_latency(text, seed) for seed in ("a", "a", "b"))
        draws = [first.draw_ns() for _ in range(50)]
        assert draws == [second.draw_ns() for _ in range(50)]
        assert len(set(draws)) > 1
        assert not first.is_none
        if text.startswith("log"):
            assert draws != [other.draw_ns() for _ in range(50)]
            assert sorted(draws)[25] == pytest.approx(250_000, rel=0.4)
        else:
            assert set(draws) == {100, 200, 300}
    assert Latency(0).is_none


@pytest.mark.parametrize(
    "text", ["fast", "-1us", "61s", "lognormal:1ms", "lognormal:1ms:9", "table:/no/such"]
)
def test_a_latency_that_can_not_be_is_refused(text: str) -> None:
    with pytest.raises(SettingsError):
        parse_latency(text, "seed")


def test_a_latency_table_names_the_line_that_is_wrong(tmp_path: Path) -> None:
    table = tmp_path / "delays.csv"
    table.write_text("100\n200\nsoon\n")
    with pytest.raises(SettingsError, match=r"delays\.csv:3"):
        parse_latency(f"table:{table}", "seed")


def test_a_load_places_and_cancels_and_counts_what_it_did() -> None:
    async def check(run: VenueRun) -> None:
        load = await measure_orders(run.ready, 0.05, 8)
        assert load.orders == len(await truth(run, "orders")) > 0
        assert (load.refused, len(load.round_trips_ns)) == (0, 2 * load.orders)
        assert await truth(run, "orders?open=1") == []

    with_venue(QUIET, check, trading=TradingSettings(limits=0))
