"""The gate: each refusal names the first failing check; cancels and forced reductions always pass."""

from __future__ import annotations

import dataclasses
import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from risk.checks import check_band
from risk.exposure import ExposureBook
from risk.gate import Gate, LivingWorkers
from risk.limits import Limits
from shm.book import BookSlab, Certificate, TradeTotals
from shm.control import Control
from shm.enums import (
    BookState,
    InstrumentStatus,
    IntentKind,
    OrderFlags,
    OrderType,
    Reason,
    Side,
    TimeInForce,
    TradingState,
    WorkerState,
)
from shm.instruments import Instrument, InstrumentTable
from shm.records import IntentRecord

EPOCH, NOW = 7, 10_000_000_000
BUY, SELL = int(Side.BUY), int(Side.SELL)
BASE = {
    "kind": int(IntentKind.NEW),
    "side": BUY,
    "order_type": int(OrderType.LIMIT),
    "time_in_force": int(TimeInForce.GTC),
    "actor_id": 1,
    "worker_slot": 3,
    "incarnation": 1,
    "epoch": EPOCH,
    "generation": 4,
    "client_order_id": 1001,
    "price_units": 1000,
    "quantity_units": 10,
    "decide_ns": NOW - 1000,
}


class FakeControl:
    """A halt word the test sets."""

    def __init__(self) -> None:
        self.state = TradingState.ACTIVE
        self.generation = 5

    def halt_state(self) -> tuple[TradingState, int]:
        """As the control segment answers."""
        return self.state, 0


class FakeOrder:
    """What the gate needs of a working order."""

    def __init__(
        self, price: int, units: int, side: int = BUY, filled: int = 0, terminal: bool = False
    ) -> None:
        self.instrument_id, self.side, self.order_type = 0, side, int(OrderType.LIMIT)
        self.price_units, self.filled_units, self.leaves_units = price, filled, units - filled
        self.reserved_units, self.reserved_product = self.leaves_units, self.leaves_units * price
        self.is_terminal = terminal


class Desk:
    """A gate over one real slab and table; money: 1 unit of price times quantity = 1000 e8."""

    def __init__(self, **limits: int) -> None:
        table = InstrumentTable.create(bytearray(InstrumentTable.bytes_needed(4)), 4)
        for symbol in ("A", "B"):
            table.add(
                Instrument(
                    venue_id=1,
                    symbol=symbol,
                    price_exponent=2,
                    quantity_exponent=3,
                    tick_size=10,
                    lot_size=5,
                    min_quantity_units=10,
                    max_quantity_units=1000,
                    min_notional_units=9_000_000,
                )
            )
        self.table = table
        self.slab = BookSlab.create(bytearray(BookSlab.bytes_needed(4, 4, 1)), 4, 4, 1, 2)
        self.exposures = ExposureBook(table.get)
        self.control = FakeControl()
        self.orders: dict[int, FakeOrder] = {}
        self.is_alive = True
        self.gate = Gate(
            epoch=EPOCH,
            control=self.control,
            slab_of=lambda _: self.slab,
            is_alive=lambda slot: self.is_alive,
            limits=Limits(**{"price_band_bps": 100, **limits}),
            exposures=self.exposures,
            instruments=table,
            find_order=self.orders.get,
        )
        self.gate.generation = 4
        self.show()

    def show(
        self,
        state: BookState = BookState.LIVE,
        alive_ns: int = NOW - 1000,
        data_ns: int = NOW - 1000,
        epoch: int = 2,
        live_id: int = 9,
    ) -> None:
        """Store a book 990/1000 for both instruments."""
        for i in (0, 1):
            self.slab.store(
                i,
                Certificate(
                    instrument_id=i,
                    state=int(state),
                    epoch=epoch,
                    live_id=live_id,
                    last_sequence=50,
                    data_ns=data_ns,
                    stream=0,
                ),
                TradeTotals(),
                [(990, 100)],
                [(1000, 100)],
            )
        self.slab.touch_stream(0, alive_ns)

    def intent(self, cite: int = 1, **fields: int) -> IntentRecord:
        """A good order unless told otherwise."""
        record = IntentRecord(**(BASE | {k: int(v) for k, v in fields.items()}))
        for _ in range(cite):
            record.add_certificate(0, 2, 9, 50)
        return record

    def check(self, now_ns: int = NOW, cite: int = 1, **fields: int) -> Reason:
        """Verdict on such an order."""
        return self.gate.check(self.intent(cite, **fields), now_ns)


def e8(price: int, quantity: int) -> int:
    """Notional with these exponents."""
    return price * quantity * 1000


def test_a_good_order_passes() -> None:
    assert Desk().check() is Reason.NONE


FORCED = [OrderFlags.FROM_HALT, OrderFlags.FROM_SENTINEL, OrderFlags.FROM_EMERGENCY]


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"kind": 77}, Reason.BAD_INTENT),
        ({"side": 0}, Reason.BAD_INTENT),
        ({"side": 3}, Reason.BAD_INTENT),
        ({"quantity_units": 0}, Reason.BAD_INTENT),
        ({"quantity_units": -10}, Reason.BAD_INTENT),
        ({"quantity_units": 2**62}, Reason.BAD_INTENT),
        ({"price_units": 0}, Reason.BAD_INTENT),
        ({"price_units": -1000}, Reason.BAD_INTENT),
        ({"order_type": 9}, Reason.BAD_INTENT),
        ({"order_type": OrderType.MARKET}, Reason.BAD_INTENT),
        ({"time_in_force": 0}, Reason.BAD_INTENT),
        ({"time_in_force": TimeInForce.IOC, "flags": OrderFlags.POST_ONLY}, Reason.BAD_INTENT),
        ({"epoch": 8}, Reason.WRONG_EPOCH),
        ({"generation": 2}, Reason.GENERATION),
        ({"generation": 3}, Reason.NONE),
        ({"generation": 5}, Reason.NONE),
        ({"generation": 6}, Reason.GENERATION),
        ({"instrument_id": 3}, Reason.UNKNOWN_INSTRUMENT),
        ({"price_units": 995}, Reason.PRICE_TICK),
        ({"quantity_units": 12}, Reason.QUANTITY_LOT),
        ({"quantity_units": 5}, Reason.QUANTITY_MIN),
        ({"quantity_units": 1005}, Reason.QUANTITY_MAX),
        ({"price_units": 890}, Reason.NOTIONAL_MIN),
        ({"decide_ns": NOW - 100_000_001}, Reason.INTENT_OLD),
        ({"decide_ns": NOW + 1}, Reason.INTENT_OLD),
        ({"cite": 0}, Reason.NO_CERTIFICATE),
        ({"price_units": 1010}, Reason.NONE),
        ({"price_units": 1020}, Reason.PRICE_BAND),
        ({"price_units": 980, "side": SELL}, Reason.PRICE_BAND),
        ({"order_type": OrderType.MARKET, "price_units": 0, "time_in_force": 2}, Reason.PRICE_BAND),
    ],
)
def test_each_bad_order_names_its_check(fields: dict[str, int], reason: Reason) -> None:
    assert Desk().check(**fields) is reason


def test_status_of_the_row_is_read_at_each_check() -> None:
    desk = Desk()
    assert desk.check() is Reason.NONE
    desk.table.set_status(0, InstrumentStatus.HALTED)
    assert desk.check(client_order_id=2) is Reason.INSTRUMENT_NOT_TRADING
    assert desk.check(client_order_id=3, instrument_id=1, cite=0) is Reason.NO_CERTIFICATE
    desk.table.set_status(0, InstrumentStatus.TRADING)
    assert desk.check(client_order_id=4) is Reason.NONE
    desk.table.retire(0)
    assert desk.check(client_order_id=5) is Reason.INSTRUMENT_NOT_TRADING


def test_a_row_added_later_is_known_from_then_on() -> None:
    desk = Desk()
    assert desk.check(instrument_id=2, cite=0) is Reason.UNKNOWN_INSTRUMENT
    desk.table.add(dataclasses.replace(desk.table.get(0), symbol="C"))
    assert desk.check(instrument_id=2, cite=0) is Reason.NO_CERTIFICATE
    assert desk.check(instrument_id=3, cite=0) is Reason.UNKNOWN_INSTRUMENT


@pytest.mark.parametrize(
    ("shown", "reason"),
    [
        ({"state": BookState.STALE}, Reason.BOOK_NOT_LIVE),
        ({"state": BookState.DESYNC}, Reason.BOOK_NOT_LIVE),
        ({"state": BookState.SYNCING}, Reason.BOOK_NOT_LIVE),
        ({"epoch": 3}, Reason.BOOK_EPOCH),
        ({"live_id": 10}, Reason.BOOK_LIVE_ID),
        ({"alive_ns": NOW - 2_000_000_001}, Reason.BOOK_SILENT),
        ({"data_ns": NOW - 5_001}, Reason.BOOK_OLD),
        ({"data_ns": NOW - 5_000}, Reason.NONE),
    ],
)
def test_each_bad_book_names_its_check(shown: dict[str, int], reason: Reason) -> None:
    desk = Desk(max_data_age_ns=5_000)
    desk.show(**shown)  # type: ignore[arg-type]
    assert desk.check() is reason


def test_every_cited_book_counts() -> None:
    desk = Desk()
    intent = desk.intent()
    intent.add_certificate(1, 2, 8, 50)
    assert desk.gate.check(intent, NOW) is Reason.BOOK_LIVE_ID


def test_a_dead_publisher_is_refused() -> None:
    desk = Desk()
    desk.is_alive = False
    assert desk.check() is Reason.PUBLISHER_DEAD


def test_living_workers_are_those_whose_state_in_the_control_segment_says_so() -> None:
    control = Control.create(bytearray(Control.bytes_needed()), EPOCH, 1)
    owner = control.slot(2)  # of the desk's slab
    living = LivingWorkers(control, {WorkerState.RUNNING, WorkerState.DRAINING})
    desk = Desk()
    gate = Gate(
        epoch=EPOCH, control=desk.control, slab_of=lambda _: desk.slab, is_alive=living, limits=Limits(),
        exposures=desk.exposures, instruments=desk.table, find_order=desk.orders.get,
    )  # fmt: skip
    gate.generation = 4
    for state in (0, *WorkerState, 64, 65, 2**64 - 1):
        owner.state = state
        lives = state in (WorkerState.RUNNING, WorkerState.DRAINING)
        assert living(2) is lives
        assert gate.check(desk.intent(), NOW) is (Reason.NONE if lives else Reason.PUBLISHER_DEAD)
    with pytest.raises(ValueError):
        living(64)


UNITS = st.integers(0, 2**62 - 1)


@settings(max_examples=200, deadline=None)
@given(st.sampled_from([BUY, SELL]), UNITS, UNITS, UNITS, st.integers(1, 9999), st.integers(-2, 2))
def test_the_band_is_exact_up_to_the_largest_prices(
    side: int, price: int, bid: int, ask: int, band_bps: int, near: int
) -> None:
    reference = (ask or bid) if side == BUY else (bid or ask)
    edge = reference * (10_000 + (band_bps if side == BUY else -band_bps)) // 10_000 + near
    for asked in (price, min(max(edge, 1), 2**62 - 1)):
        through = (asked - reference) * (1 if side == BUY else -1) * 10_000 > reference * band_bps
        expected = Reason.PRICE_BAND if through or not reference else Reason.NONE
        assert check_band(side, asked, bid, ask, band_bps) == expected


def test_duplicate_ids_are_refused() -> None:
    desk = Desk()
    desk.orders[1001] = FakeOrder(1000, 10)
    assert desk.check() is Reason.DUPLICATE_ID


def test_order_size_limits() -> None:
    assert Desk(max_order_units=10).check(quantity_units=15) is Reason.ORDER_SIZE
    assert Desk(max_order_notional_e8=e8(1000, 10)).check() is Reason.NONE
    assert Desk(max_order_notional_e8=e8(1000, 10) - 1).check() is Reason.ORDER_SIZE


def test_open_orders_limit_is_per_instrument() -> None:
    desk = Desk(max_open_orders=2)
    desk.exposures.adjust(0, BUY, 10, 10_000, 2)
    assert desk.check() is Reason.OPEN_ORDERS
    assert desk.check(instrument_id=1) is Reason.NONE


def test_rate_is_spent_only_by_orders_that_pass() -> None:
    desk = Desk(orders_per_s=10, burst=2, max_order_units=20)
    for _ in range(5):
        assert desk.check(quantity_units=30) is Reason.ORDER_SIZE
    assert [desk.check() for _ in range(3)] == [Reason.NONE, Reason.NONE, Reason.ORDER_RATE]
    assert desk.check(now_ns=NOW + 99_999_999, decide_ns=NOW + 99_000_000) is Reason.ORDER_RATE
    desk.show(alive_ns=NOW, data_ns=NOW)
    assert desk.check(now_ns=NOW + 100_000_000, decide_ns=NOW + 99_000_000) is Reason.NONE


def test_position_limit_counts_position_open_and_this_order_per_side() -> None:
    desk = Desk(max_position_notional_e8=e8(1000, 30))
    desk.exposures.mark(0, 1000)
    desk.exposures.apply_fill(0, BUY, 1000, 10, 0)
    desk.exposures.adjust(0, BUY, 10, 10_000, 1)
    assert desk.check() is Reason.NONE
    assert desk.check(quantity_units=15) is Reason.POSITION
    assert desk.check(side=SELL, quantity_units=40) is Reason.NONE
    assert desk.check(side=SELL, quantity_units=45) is Reason.POSITION


def test_above_the_position_limit_reducing_still_passes() -> None:
    desk = Desk(max_position_notional_e8=e8(1000, 30))
    desk.exposures.mark(0, 1000)
    desk.exposures.apply_fill(0, BUY, 1000, 100, 0)
    assert desk.check(side=SELL, quantity_units=50) is Reason.NONE
    assert desk.check() is Reason.POSITION


def test_exposure_limit_is_over_all_instruments() -> None:
    desk = Desk(max_exposure_e8=e8(1000, 30))
    desk.exposures.mark(1, 1000)
    desk.exposures.apply_fill(1, SELL, 1000, 20, 0)
    assert desk.check() is Reason.NONE
    assert desk.check(quantity_units=15) is Reason.EXPOSURE
    assert desk.check(instrument_id=1, quantity_units=20) is Reason.NONE


def test_two_correlated_instruments_count_as_one() -> None:
    desk = Desk(max_correlated_notional_e8=e8(1000, 30))
    desk.exposures.mark(1, 1000)
    desk.exposures.apply_fill(1, BUY, 1000, 20, 0)
    assert desk.check(quantity_units=15) is Reason.NONE
    desk.gate.set_groups([((0, 1), (1, 1))])
    assert desk.check(quantity_units=10) is Reason.NONE
    assert desk.check(quantity_units=15) is Reason.CORRELATION
    # What reduces, or goes the other way, is no more of the same.
    assert desk.check(instrument_id=1, side=SELL, quantity_units=20) is Reason.NONE
    assert desk.check(side=SELL, quantity_units=25) is Reason.NONE
    desk.gate.set_groups([((0, 1), (1, -1))])
    assert desk.check(quantity_units=25) is Reason.NONE
    assert desk.check(side=SELL, quantity_units=15) is Reason.CORRELATION
    desk.gate.set_groups([])
    assert desk.check(side=SELL, quantity_units=25) is Reason.NONE


def test_halted_refuses_everything_but_cancels() -> None:
    desk = Desk()
    desk.control.state = TradingState.HALTED
    assert desk.check() is Reason.HALTED
    for kind in (IntentKind.CANCEL, IntentKind.MASS_CANCEL):
        assert desk.check(kind=kind) is Reason.NONE


def test_reducing_passes_only_what_reduces_with_open_orders_counted() -> None:
    desk = Desk()
    desk.control.state = TradingState.REDUCING
    assert desk.check() is Reason.REDUCING
    desk.exposures.apply_fill(0, BUY, 1000, 20, 0)
    assert desk.check(side=SELL, quantity_units=20) is Reason.NONE
    assert desk.check(side=SELL, quantity_units=25) is Reason.REDUCING
    assert desk.check(side=BUY) is Reason.REDUCING
    desk.exposures.adjust(0, SELL, 10, 10_000, 1)
    assert desk.check(side=SELL, quantity_units=15) is Reason.REDUCING
    assert desk.check(side=SELL, quantity_units=10) is Reason.NONE


def test_a_replace_of_a_reducing_order_is_judged_by_what_it_adds() -> None:
    desk = Desk()
    desk.control.state = TradingState.REDUCING
    desk.exposures.apply_fill(0, BUY, 1000, 20, 0)
    desk.orders[5] = FakeOrder(1000, 20, side=SELL)
    desk.exposures.adjust(0, SELL, 20, 20_000, 1)
    replace = {"kind": IntentKind.REPLACE, "orig_client_order_id": 5, "client_order_id": 6, "side": SELL}
    assert desk.check(**replace, quantity_units=20, price_units=990) is Reason.NONE
    assert desk.check(**replace, quantity_units=25) is Reason.REDUCING


def test_reduce_only_must_reduce() -> None:
    desk = Desk()
    flags = OrderFlags.REDUCE_ONLY
    assert desk.check(flags=flags) is Reason.REDUCE_ONLY
    desk.exposures.apply_fill(0, SELL, 1000, 10, 0)
    assert desk.check(flags=flags) is Reason.NONE
    assert desk.check(flags=flags, quantity_units=15) is Reason.REDUCE_ONLY


@pytest.mark.parametrize("flag", FORCED)
@pytest.mark.parametrize("trading", list(TradingState))
@pytest.mark.parametrize("book", list(BookState))
def test_forced_reductions_pass_in_every_state(flag: int, trading: TradingState, book: BookState) -> None:
    desk = Desk(orders_per_s=1, max_open_orders=1, max_order_units=1)
    desk.control.state = trading
    desk.show(state=book, alive_ns=0)
    desk.is_alive = False
    desk.exposures.apply_fill(0, BUY, 1000, 20, 0)
    desk.exposures.adjust(0, SELL, 20, 20_000, 1)
    good = {
        "flags": flag | OrderFlags.REDUCE_ONLY,
        "side": SELL,
        "quantity_units": 20,
        "cite": 0,
        "decide_ns": 1,
    }
    assert desk.check(**good) is Reason.NONE
    market = good | {"order_type": OrderType.MARKET, "price_units": 0, "time_in_force": 2}
    assert desk.check(**market) is Reason.NONE
    assert desk.check(**(good | {"instrument_id": 3})) is Reason.UNKNOWN_INSTRUMENT
    assert desk.check(**(good | {"quantity_units": 25})) is Reason.REDUCE_ONLY
    assert desk.check(**(good | {"side": BUY})) is Reason.REDUCE_ONLY
    assert desk.check(**(good | {"price_units": 995})) is Reason.PRICE_TICK
    for kind in (IntentKind.CANCEL, IntentKind.MASS_CANCEL, IntentKind.MASS_STATUS):
        assert desk.check(kind=kind, cite=0, instrument_id=0xFFFFFFFF, epoch=0, generation=0) is Reason.NONE


def test_a_forced_flag_without_reduce_only_buys_nothing() -> None:
    desk = Desk()
    desk.control.state = TradingState.HALTED
    for flag in FORCED:
        assert desk.check(flags=flag) is Reason.HALTED


def test_replaces() -> None:
    desk = Desk()
    replace = {"kind": IntentKind.REPLACE, "orig_client_order_id": 5, "client_order_id": 6}
    assert desk.check(**replace) is Reason.UNKNOWN_ORDER
    desk.orders[5] = FakeOrder(1000, 10, terminal=True)
    assert desk.check(**replace) is Reason.ORDER_TERMINAL
    desk.orders[5] = FakeOrder(1000, 20)
    assert desk.check(**replace, side=SELL) is Reason.BAD_INTENT
    assert desk.check(**replace, cite=0, quantity_units=20) is Reason.NONE
    assert desk.check(**replace, cite=0, price_units=990, quantity_units=20) is Reason.NONE
    assert desk.check(**replace, cite=0, quantity_units=25) is Reason.NO_CERTIFICATE
    assert desk.check(**replace, cite=0, price_units=1010, quantity_units=20) is Reason.NO_CERTIFICATE
    desk.orders[5] = FakeOrder(1000, 20, filled=15)
    assert desk.check(**replace, quantity_units=15) is Reason.QUANTITY_MIN
    desk.orders[6] = FakeOrder(1000, 20)
    assert desk.check(**replace, quantity_units=20) is Reason.DUPLICATE_ID


def test_a_replace_counts_only_what_it_adds_in_the_worst_case() -> None:
    desk = Desk(max_position_notional_e8=e8(1000, 30), max_exposure_e8=e8(1000, 30))
    desk.orders[5] = FakeOrder(1000, 20)
    desk.exposures.adjust(0, BUY, 20, 20_000, 1)
    replace = {"kind": IntentKind.REPLACE, "orig_client_order_id": 5, "client_order_id": 6}
    assert desk.check(**replace, quantity_units=30) is Reason.NONE
    assert desk.check(**replace, quantity_units=35) is Reason.POSITION


def test_the_first_failing_check_wins_in_the_documented_order() -> None:
    faults: list[tuple[dict[str, int], Reason]] = [
        ({"side": 0}, Reason.BAD_INTENT),
        ({"epoch": 8}, Reason.WRONG_EPOCH),
        ({"generation": 1}, Reason.GENERATION),
        ({"instrument_id": 3}, Reason.UNKNOWN_INSTRUMENT),
        ({"price_units": 1025}, Reason.PRICE_TICK),
        ({"quantity_units": 1003}, Reason.QUANTITY_LOT),
        ({"decide_ns": 1}, Reason.INTENT_OLD),
        ({"cite": 0}, Reason.NO_CERTIFICATE),
        ({"flags": OrderFlags.REDUCE_ONLY}, Reason.REDUCE_ONLY),
    ]
    for (first, reason), (second, _) in itertools.combinations(faults, 2):
        assert Desk().check(**(second | first)) is reason
