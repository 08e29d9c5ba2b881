"""The scripted orders through hftbacktest: its exchange with partial fills, driven by a compiled loop."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

import numpy as np
import numpy.typing as npt

from tools.bench.fills.market import BUY, Market
from tools.bench.fills.ours import Outcome, Terms
from tools.bench.fills.script import LANES, Scripted

PEER = "hftbacktest"
SUBMIT, CANCEL = 0, 1
_E8 = 100_000_000
ACTION = np.dtype(
    [
        ("at", "i8"),
        ("what", "i8"),
        ("number", "i8"),
        ("buys", "?"),
        ("ioc", "?"),
        ("price", "f8"),
        ("quantity", "f8"),
    ]
)
#: Ours → the method of its asset that sets the same model; power takes N.
MODELS = {
    "risk_averse": "risk_adverse_queue_model",
    "power": "power_prob_queue_model",
    "power2": "power_prob_queue_model2",
    "power3": "power_prob_queue_model3",
    "log": "log_prob_queue_model",
    "log2": "log_prob_queue_model2",
}


def peer_events(market: Market) -> npt.NDArray[Any]:
    """The market as its array of events: each changed level and each trade is one."""
    hft = import_module("hftbacktest")
    types = import_module("hftbacktest.types")
    both = types.EXCH_EVENT | types.LOCAL_EVENT
    side_of = {True: types.BUY_EVENT, False: types.SELL_EVENT}
    price_one, units_one = _ones(market)
    rows = []
    for index, event in enumerate(market.events):
        kind = types.DEPTH_SNAPSHOT_EVENT if index == 0 else hft.DEPTH_EVENT
        for side, price, units in event.changes:
            flags = both | kind | side_of[side == BUY]
            rows.append((flags, event.at_ns, event.at_ns, price / price_one, units / units_one, 0, 0, 0.0))
        if event.aggressor:
            flags = both | hft.TRADE_EVENT | side_of[event.aggressor == BUY]
            traded = event.price / price_one, event.quantity / units_one
            rows.append((flags, event.at_ns, event.at_ns, *traded, 0, 0, 0.0))
    return np.array(rows, dtype=types.event_dtype)


def _actions(script: Sequence[Scripted], price_one: int, units_one: int) -> list[tuple[Any, ...]]:
    """Submits and cancels in order of time, orders numbered from 1."""
    return sorted(
        (at_ns, what, number, o.side == BUY, o.is_ioc, o.price / price_one, o.units / units_one)
        for number, o in enumerate(script, 1)
        for at_ns, what in ((o.send_ns, SUBMIT), (o.send_ns + o.life_ns, CANCEL))
        if what == SUBMIT or o.life_ns
    )


def _ones(market: Market) -> tuple[int, int]:
    row = market.instrument
    return 10**row.price_exponent, 10**row.quantity_exponent


def make_asset(market: Market, data: npt.NDArray[Any], terms: Terms) -> Any:
    """Its asset with our terms."""
    price_one, units_one = _ones(market)
    row = market.instrument
    asset = (
        import_module("hftbacktest")
        .BacktestAsset()
        .data([data])
        .linear_asset(1.0)
        .constant_order_latency(terms.entry_ns, terms.response_ns)
        .partial_fill_exchange()
        .trading_value_fee_model(terms.maker_e8 / _E8, terms.taker_e8 / _E8)
        .tick_size(row.tick_size / price_one)
        .lot_size(row.lot_size / units_one)
        .last_trades_capacity(0)
    )
    shape = terms.model.removeprefix("probability:")
    name, _, number = ("power:1" if shape == "probability" else shape).partition(":")
    method = getattr(asset, MODELS[name])
    return method(float(number)) if number else method()


@dataclass(slots=True)
class PeerRun:
    """What came of it.

    Args:
        outcomes: of each order, by number. When it filled is known of an order that filled whole only: the
            last that is told of any other is its cancel.
        stops: order → code of the error that ended a backtest while it was out.
        fees_e8: all fees that its state booked.
        backtests: how many were needed.
        seconds: all of them together.
    """

    outcomes: dict[int, Outcome]
    stops: dict[int, int] = field(default_factory=dict)
    fees_e8: float = 0.0
    backtests: int = 0
    seconds: float = 0.0


class Peer:
    """One installation of it, compiled once.

    Args:
        market: what it is fed.
    """

    def __init__(self, market: Market) -> None:
        self._market = market
        self.data = peer_events(market)
        self._drive = _compiled()

    def run(self, script: Sequence[Scripted], terms: Terms) -> PeerRun:
        """Let every order meet the market, lane after lane.

        Where its backtest stops with an error, the lane goes on in a new one behind the order it stopped at.
        """
        run = PeerRun({order.number: Outcome() for order in script})
        began = time.perf_counter()
        for lane in range(LANES):
            left = [order for order in script if order.lane == lane]
            while left:
                left = self._lane(left, terms, run)
        run.seconds = time.perf_counter() - began
        return run

    def _lane(self, script: Sequence[Scripted], terms: Terms, run: PeerRun) -> list[Scripted]:
        """One backtest; returns the orders behind the one it stopped at."""
        price_one, units_one = _ones(self._market)
        table = np.array(_actions(script, price_one, units_one), dtype=ACTION)
        backtest = import_module("hftbacktest").HashMapMarketDepthBacktest(
            [make_asset(self._market, self.data, terms)]
        )
        rows, words = self._drive(backtest, table, int(self.data["exch_ts"][-1]), len(script))
        run.fees_e8 += float(backtest.state_values(0).fee) * _E8
        backtest.close()
        run.backtests += 1
        code, at = (int(word) for word in words[0])
        # The action it did not get to belongs to the order that was out, or to the first behind it.
        culprit = (at if table[at]["what"] == CANCEL else at - 1) if code else len(table)
        number = table[culprit]["number"] if code else 0
        for place, order in enumerate(script, 1):
            filled, price = rows[place]
            at_ns, is_whole = (int(word) for word in words[place])
            units = round(filled * units_one)
            run.outcomes[order.number] = Outcome(units, units * round(price * price_one), at_ns * is_whole)
            if place == number:
                run.stops[order.number] = code
                return list(script[place:])
        return []

    def events_per_s(self, terms: Terms, elapse_ns: int = 60_000_000_000) -> float:
        """How many of our events a second it takes; one resting order, as ours has."""
        row = self._market.instrument
        price_one, units_one = _ones(self._market)
        first = self._market.books[0]
        assert first is not None
        asset = make_asset(self._market, self.data, terms)
        backtest = import_module("hftbacktest").HashMapMarketDepthBacktest([asset])
        backtest.elapse(1)
        backtest.submit_buy_order(0, 1, first[0][-1][0] / price_one, row.lot_size / units_one, 0, 0, False)
        began = time.perf_counter()
        while backtest.elapse(elapse_ns) == 0:
            pass
        spent = time.perf_counter() - began
        backtest.close()
        return len(self._market.events) / spent


def _compiled() -> Callable[..., tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]]:
    """The loop, compiled by numba: with Python between the calls it would measure Python."""
    njit = import_module("numba").njit
    hft = import_module("hftbacktest")
    gtc, ioc, limit, filled = hft.GTC, import_module("hftbacktest.order").IOC, hft.LIMIT, hft.FILLED

    @njit  # type: ignore[untyped-decorator]
    def drive(backtest: Any, table: Any, end_ns: int, count: int) -> Any:
        rows = np.zeros((count + 1, 2))
        words = np.zeros((count + 1, 2), dtype=np.int64)
        backtest.elapse(1)
        for i in range(len(table)):
            wait_ns = table[i].at - backtest.current_timestamp
            if wait_ns > 0:
                code = backtest.elapse(wait_ns)
                if code != 0:
                    words[0, 0], words[0, 1] = code, i
                    break
            number = table[i].number
            if table[i].what == 1:
                order = backtest.orders(0).get(number)
                if order is not None and order.cancellable:
                    backtest.cancel(0, number, False)
                continue
            force = ioc if table[i].ioc else gtc
            if table[i].buys:
                backtest.submit_buy_order(0, number, table[i].price, table[i].quantity, force, limit, False)
            else:
                backtest.submit_sell_order(0, number, table[i].price, table[i].quantity, force, limit, False)
        wait_ns = end_ns - backtest.current_timestamp
        if wait_ns > 0:
            backtest.elapse(wait_ns)
        orders = backtest.orders(0)
        for number in range(1, count + 1):
            order = orders.get(number)
            if order is not None:
                rows[number, 0] = order.qty - order.leaves_qty
                rows[number, 1] = order.exec_price
                words[number, 0] = order.exch_timestamp
                words[number, 1] = order.status == filled
        return rows, words

    return drive  # type: ignore[no-any-return]
