"""Working an order on the virtual clock: taken at once, rested and filled, rested in vain; and the A/B."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

import pytest

from actors.execution import Execution, Work
from actors.runtime.context import Context
from exec.slippage import Style
from exec.style_switch import StyleSwitch
from shm.enums import ReportKind, Side, TradingState
from shm.records import MarketRecord, ReportRecord
from tests.kit.stream_frames import bybit
from tests.kit.three_books import BYBIT, FEED, Listening, ThreeBooks

MS_NS = 1_000_000
PATIENCE_NS = 500 * MS_NS
BUY, SELL = Side.BUY, Side.SELL
FEES = {"maker_fee_bps": 2.0, "taker_fee_bps": 5.0}
MID = 600_010


class Working(Listening):
    """Has an execution and forwards what it must."""

    def __init__(self, context: Context, settings: Mapping[str, Any]) -> None:
        super().__init__(context, settings)
        self.execution = Execution(context, patience_ns=PATIENCE_NS)

    def on_book(self, record: MarketRecord) -> None:
        """Tests decide."""

    def on_report(self, report: ReportRecord) -> None:
        super().on_report(report)
        self.execution.on_report(report)

    def on_stop(self) -> None:
        self.execution.tell()


class Tape:
    """One venue's book around a mid, and trades at its touches."""

    def __init__(self, gateway: Mapping[str, Any] | None = None) -> None:
        self.world = ThreeBooks(Working, gateway=FEES | dict(gateway or {}))
        self.mid = MID
        self._trades = 0
        self._shown = 1
        self.show(MID)

    @property
    def execution(self) -> Execution:
        found: Execution = self.world.actor.execution
        return found

    def show(self, mid: int) -> None:
        """Ten units either side of the mid stand 1,000 (one more every other time); further out 5,000."""
        self.mid = mid
        self._shown += 1
        near = 1_000 + self._shown % 2
        self.world.show(BYBIT, [(mid - 10, near), (mid - 20, 5_000)], [(mid + 10, near), (mid + 20, 5_000)])

    def trade(self, side: Side, quantity: int) -> None:
        """An aggressor takes that much at the touch."""
        self._trades += 1
        price = self.mid + (10 if side == BUY else -10)
        data = [{"T": 1_790_000_000_000, "s": "BTCUSDT", "S": side.name.title(),
                 "v": f"{quantity / 1000:.3f}", "p": f"{price / 10:.1f}", "L": "ZeroPlusTick",
                 "i": str(self._trades), "BT": False, "seq": self._trades}]  # fmt: skip
        feed: Any = self.world.world.host(FEED).bindings[BYBIT].actor
        feed.inject(bybit("publicTrade.BTCUSDT", data), self.world.world.clock.virtual_ns)
        self.world.world.settle()

    def work(self, side: Side, units: int = 100, style: Style | None = None) -> Work:
        work = self.execution.work(BYBIT, side, units, style=style)
        assert work is not None
        self.world.world.settle()
        return work


def test_taking_costs_half_the_spread_and_the_taker_fee() -> None:
    tape = Tape()
    work = tape.work(BUY, style=Style.AGGRESSIVE)
    assert work.slippage is not None
    half_spread_e8 = 10 * 10**8 / MID
    assert work.slippage.price_e8 == pytest.approx(half_spread_e8, abs=1)
    assert work.slippage.total_e8 == pytest.approx(half_spread_e8 + 50_000, abs=3)
    assert work.slippage.fill_ns == 0


def test_more_than_the_touch_holds_is_taken_from_the_levels_behind_it() -> None:
    tape = Tape()
    work = tape.work(SELL, 3_000, style=Style.AGGRESSIVE)
    assert work.left_units == 0
    assert {r.last_price_units for r in tape.world.actor.reports if r.kind == ReportKind.FILL} == {
        MID - 10,
        MID - 20,
    }


def test_resting_earns_half_the_spread_once_the_queue_before_it_is_gone() -> None:
    tape = Tape()
    work = tape.work(BUY, style=Style.PASSIVE)
    tape.world.advance(100 * MS_NS)
    tape.trade(SELL, 900)
    assert work.left_units == 100
    tape.trade(SELL, 250)
    assert work.slippage is not None
    assert work.slippage.style is Style.PASSIVE
    assert work.slippage.total_e8 == pytest.approx(20_000 - 10 * 10**8 / MID, abs=3)
    assert work.slippage.fill_ns == 100 * MS_NS


def test_what_rested_in_vain_is_withdrawn_and_taken_at_the_price_of_then() -> None:
    tape = Tape()
    work = tape.work(BUY, style=Style.PASSIVE)
    tape.show(MID + 50)
    tape.world.advance(PATIENCE_NS - 1)
    assert tape.execution.open == 1
    tape.world.advance(2)
    assert work.slippage is not None
    assert work.slippage.price_e8 == pytest.approx(60 * 10**8 / MID, abs=1)
    assert work.slippage.fill_ns >= PATIENCE_NS
    assert not tape.world.context.working


def test_a_part_that_rested_well_and_a_part_that_was_taken_are_one_order() -> None:
    tape = Tape()
    work = tape.work(SELL, style=Style.PASSIVE)
    tape.trade(BUY, 1_040)
    assert work.left_units == 60
    tape.world.advance(PATIENCE_NS)
    assert work.slippage is not None
    assert work.slippage.filled_units == 100
    assert work.slippage.fee_e8 == pytest.approx((40 * 20_000 + 60 * 50_000) / 100, abs=10)


def test_an_order_that_is_denied_never_reached_the_market_and_teaches_nothing() -> None:
    tape = Tape()
    tape.world.context.host.control.set_halt(TradingState.HALTED, 1)
    work = tape.work(BUY)
    tape.world.advance(100 * MS_NS)
    assert work.slippage is not None
    assert work.slippage.filled_units == 0
    assert tape.execution.ledger.rows() == {}
    assert tape.execution.decisions[-1]["denied"] == "HALTED"
    assert tape.execution.switch.rows()[0]["aggressive"]["weight"] == 0.0


def test_a_book_that_is_not_live_begins_nothing() -> None:
    world = ThreeBooks(Working)
    assert world.actor.execution.work(BYBIT, BUY, 100) is None
    assert world.actor.execution.open == 0


def test_what_was_measured_is_told_at_the_end() -> None:
    tape = Tape()
    tape.work(BUY, style=Style.AGGRESSIVE)
    tape.world.world.stop()
    told = tape.world.notes("slippage")[-1]
    assert told["styles"]["all"]["orders"] == 1
    assert told["decisions"][0]["style"] == "aggressive"


# ---- A/B on a tape whose truth is known -----------------------------------------------------------


def mean_cost(truth: str, style: Style | None, orders: int = 120) -> float:
    """Mean cost in bps on one tape.

    `calm`: the mid stands and the touch we rest at is traded through: resting always fills. `running`: the
    mid runs up whenever we buy and down whenever we sell: resting never fills.
    """
    tape = Tape()
    tape.world.actor.execution = Execution(
        tape.world.context, StyleSwitch(fixed=style), patience_ns=PATIENCE_NS
    )
    chance = random.Random(9)
    for number in range(orders):
        side = SELL if number % 2 else BUY
        tape.work(side)
        tape.world.advance(100 * MS_NS)
        if truth == "calm":
            tape.trade(SELL if side == BUY else BUY, 1_200)
            tape.show(MID)
        else:
            tape.show(tape.mid + (30 if side == BUY else -30) * chance.choice((10, 12)))
        tape.world.advance(900 * MS_NS)
    return float(tape.execution.ledger.rows()["all"]["total_bps"])


def test_the_switch_lowers_slippage_where_resting_fills() -> None:
    aggressive, passive, switch = (mean_cost("calm", s) for s in (Style.AGGRESSIVE, Style.PASSIVE, None))
    assert passive < aggressive
    assert switch < aggressive - 0.8 * (aggressive - passive)


def test_the_switch_learns_to_take_where_resting_is_run_over() -> None:
    aggressive, passive, switch = (mean_cost("running", s) for s in (Style.AGGRESSIVE, Style.PASSIVE, None))
    assert aggressive < passive
    assert switch < aggressive + 0.2 * (passive - aggressive)
