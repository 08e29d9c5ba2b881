"""The record of an order: which of routing, style and risk changed it, and by how much."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from actors.execution import Execution
from actors.measures import measure_folders
from actors.runtime.context import Context
from actors.strategies.market_maker import MarketMaker
from actors.strategies.quotes import QuoteRecord
from exec.slippage import Style
from shm.enums import Side
from shm.journal_reader import JournalFollower
from tests.actors.test_execution import BUY, PATIENCE_NS, SELL, Tape
from tests.actors.test_routing import E8, SECOND_NS, three
from tests.kit.stream_frames import bybit
from tests.kit.three_books import BINANCE, BYBIT, CANONICAL, FEED, OKX, ThreeBooks
from tools.journal_view import Filter, View, documents, line, read_decision
from tools.verbs.journal import find_journals, run_cat


def give_folder(host: Any, folder: Path) -> None:
    """Let a virtual worker write what a live one writes."""
    object.__setattr__(host.spec, "state_dir", str(folder))
    host._shared.clear()


def decisions(folder: Path, order: int = 0) -> list[dict[str, Any]]:
    """What the journals of measurements tell, of one order or of all."""
    found = []
    for path, _ in measure_folders(folder):
        wanted = Filter(frozenset(("DECISION",)), order)
        found += list(documents(View(path), JournalFollower(path), wanted))
    return found


def test_a_style_that_was_chosen_stands_in_the_record_of_its_order(tmp_path: Path) -> None:
    tape = Tape()
    give_folder(tape.world.context.host, tmp_path)
    tape.world.actor.execution = Execution(tape.world.context, patience_ns=PATIENCE_NS)
    orders = []
    for side in (BUY, SELL):
        work = tape.work(side, style=Style.PASSIVE)
        tape.world.advance(2 * PATIENCE_NS)
        assert work.slippage is not None
        orders.append(work.slippage)
    assert len(decisions(tmp_path)) == 2
    (found,) = decisions(tmp_path, orders[1].order_id)
    assert (found["what"], found["client_order_id"]) == ("STYLE", orders[1].order_id)
    told = found["decision"]
    assert told["style"] == "passive" and told["cost_bps"] == pytest.approx(
        orders[1].total_e8 / 1e4, abs=1e-4
    )
    assert told["expected_bps"]["passive"] == pytest.approx(orders[0].total_e8 / 1e4, abs=1e-4)
    assert "style=passive" in line(found)


def test_a_route_stands_in_the_record_of_each_of_its_legs_with_what_risk_left_room_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    world = three()
    give_folder(world.context.host, tmp_path)
    plan = world.context.route(CANONICAL, Side.BUY, 4 * E8, position_limits={OKX: 40, BINANCE: 1_500})
    sent = world.context.send_route(plan)
    world.advance(SECOND_NS)
    found = {one["client_order_id"]: one["decision"] for one in decisions(tmp_path)}
    assert set(found) == set(sent.orders)
    for order_id, told in found.items():
        assert told["at"] == sent.orders[order_id]
        assert told["asked_e8"] == 4 * E8 and told["leg_of"] == len(sent.orders)
    rooms = {told["at"].partition(":")[0]: told["room_units"] for told in found.values()}
    assert 40 in rooms.values() and 1_500 in rooms.values()
    assert sum(told["leg_units"] for told in found.values()) == sum(
        leg.quantity_units for leg in plan.route.legs
    )
    order_id = next(iter(found))
    assert run_cat(find_journals(str(tmp_path), None), None, Filter(order=order_id), as_json=True) == 0
    (shown,) = [orjson.loads(text) for text in capsys.readouterr().out.splitlines()]
    assert shown["kind"] == "DECISION" and shown["what"] == "ROUTE" and shown["decision"] == found[order_id]


class Making(MarketMaker):
    """Quotes ten units, 30 ticks from the mid of one perpetual, and four ticks against each order held."""

    def __init__(self, context: Context, settings: Mapping[str, Any]) -> None:
        del settings
        own = {
            "venue": "bybit_linear", "quantity": "0.010", "half_spread_ticks": 30, "skew_ticks": 4.0,
            "volatility_weight": 0.0, "min_quote_life_ns": 0,
        }  # fmt: skip
        super().__init__(context, own)


class Made:
    """A world around it, whose worker keeps its journal in a folder."""

    def __init__(self, folder: Path) -> None:
        self.world = ThreeBooks(Making)
        give_folder(self.world.context.host, folder)
        self.actor = self.world.actor
        self.actor._record = QuoteRecord(self.world.context)
        self._more = 0
        self.show()

    def show(self, shift: int = 0) -> None:
        """A book around 600,010 units, further up by `shift`; each time a new one."""
        self._more += 1
        mid = 600_010 + shift
        self.world.show(BYBIT, [(mid - 10, 1_000 + self._more)], [(mid + 10, 1_000)])

    def sell_into(self, price_units: int) -> None:
        """Somebody sells ten units to whoever bids more than that."""
        row = {
            "T": 1_790_000_000_000, "s": "BTCUSDT", "S": "Sell", "v": "0.010", "BT": False, "seq": 1,
            "p": f"{price_units / 10:.1f}", "L": "ZeroPlusTick", "i": str(price_units),
        }  # fmt: skip
        feed: Any = self.world.world.host(FEED).bindings[BYBIT].actor
        feed.inject(bybit("publicTrade.BTCUSDT", [row]), self.world.world.clock.virtual_ns)
        self.world.world.settle()
        self.world.advance(SECOND_NS)

    def quotes(self) -> tuple[int, int]:
        """The ids of both quotes."""
        maker = self.actor.makers[BYBIT]
        return maker.bid.order_id, maker.ask.order_id


def test_a_quote_that_inventory_moved_says_so_in_the_record_of_its_order_and_others_say_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = Made(tmp_path)
    flat = made.quotes()
    made.sell_into(599_900)
    made.show()
    made.world.advance(SECOND_NS)
    found = {one["client_order_id"]: one["decision"] for one in decisions(tmp_path)}
    long = made.quotes()
    assert set(found) == set(long) and not set(long) & set(flat)
    for order_id, side, unmoved in zip(long, ("BUY", "SELL"), (599_980, 600_040), strict=True):
        told = found[order_id]
        order = made.world.context.working[order_id]
        assert told == {
            "actor_id": made.world.context.actor_id, "instrument": "BTCUSDT", "side": side,
            "inventory_units": 10, "price_units": order.price_units, "unmoved_price_units": unmoved,
            "volatility_ticks": 0, "skew_ticks": -4,
        }  # fmt: skip
    assert run_cat(find_journals(str(tmp_path), None), None, Filter(order=long[0]), as_json=False) == 0
    shown = capsys.readouterr().out
    assert "DECISION QUOTE" in shown and "skew_ticks=-4" in shown and "volatility_ticks" not in shown


def test_a_quote_that_volatility_moved_away_says_by_how_much(tmp_path: Path) -> None:
    made = Made(tmp_path)
    made.actor.config = replace(made.actor.config, volatility_weight=8.0)
    for shift in (10, 0, 10):
        made.show(shift)
        made.world.advance(SECOND_NS)
    found = {one["client_order_id"]: one["decision"] for one in decisions(tmp_path)}
    bid, ask = (found[order_id] for order_id in made.quotes())
    assert bid["skew_ticks"] == ask["skew_ticks"] == 0
    assert bid["volatility_ticks"] < 0 < ask["volatility_ticks"]
    assert bid["price_units"] == bid["unmoved_price_units"] + bid["volatility_ticks"]


def test_a_quote_that_was_withdrawn_for_its_inventory_says_so(tmp_path: Path) -> None:
    made = Made(tmp_path)
    made.sell_into(599_900)
    made.show()
    bid = made.quotes()[0]
    made.actor.config = replace(made.actor.config, max_inventory=1)
    made.show()
    made.world.advance(SECOND_NS)
    last = decisions(tmp_path, bid)[-1]["decision"]
    assert (last["withdrawn_by"], last["inventory_units"]) == ("max_inventory", 10)
    assert bid not in made.world.context.working


def test_words_leave_out_what_is_nothing_and_the_object_keeps_it() -> None:
    found = read_decision('{"decision":"ROUTE","order":7,"room_units":0,"left_out":{},"leg_units":3}')
    assert found["text"] == "leg_units=3"
    assert found["decision"] == {"room_units": 0, "left_out": {}, "leg_units": 3}
