"""The merged view: what several books are together, exactly, and only those that are LIVE."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from shm.book import BookSlab, Certificate, TradeTotals
from shm.enums import BookState
from shm.errors import InstrumentError, LayoutError
from shm.instruments import Instrument
from shm.merged import LEGS_MAX, MergedBook, Standing
from shm.words import load_acquire, store_release
from tests.kit.naive_merged import Levels, naive_side

NOW = 10_000_000_000
SECOND = 1_000_000_000
# By hand: slab header, one pair of lines of streams.
ENTRIES_AT = 128 + 128
#: Coins, contracts of a hundredth with another exponent, and a contract of a thousand.
TERMS = (
    {"price_exponent": 2, "quantity_exponent": 3, "base": "BTC"},
    {"price_exponent": 1, "quantity_exponent": 2, "multiplier": 1, "multiplier_exponent": 2, "base": "BTC"},
    {"price_exponent": 3, "quantity_exponent": 0, "base": "1000BTC"},
)
FACTORS = (1, 1, 1000)


class Desk:
    """Three venues with a slab of their own each."""

    def __init__(self, depth: int = 8, slab_depth: int = 8, **settings: int) -> None:
        self.rows = [
            Instrument(venue_id=index + 1, symbol=f"S{index}", canonical="BTC-USDT-PERP", **terms)  # type: ignore[arg-type]
            for index, terms in enumerate(TERMS)
        ]
        self.payloads = [bytearray(BookSlab.bytes_needed(slab_depth, 1, 1)) for _ in self.rows]
        self.slabs = [BookSlab.create(payload, slab_depth, 1, 1, 0) for payload in self.payloads]
        self.view = MergedBook(self.slabs, self.rows, depth, **settings)

    def store(
        self, index: int, bids: Levels, asks: Levels, state: int = BookState.LIVE, data_ns: int = NOW
    ) -> None:
        certificate = Certificate(state=state, epoch=2, live_id=7, last_sequence=11, data_ns=data_ns)
        self.slabs[index].store(0, certificate, TradeTotals(), bids, asks)
        self.slabs[index].touch_stream(0, NOW)

    def money(self, *, is_ask: bool) -> list[tuple[Fraction, Fraction, int]]:
        """The view's levels as numbers."""
        view = self.view
        rows = view.asks[: view.ask_count] if is_ask else view.bids[: view.bid_count]
        return [
            (
                Fraction(int(p), 10**view.price_exponent),
                Fraction(int(q), 10**view.quantity_exponent),
                int(mask),
            )
            for p, q, mask in rows
        ]

    def standings(self) -> list[Standing]:
        return [self.view.leg(index).standing for index in range(3)]


def test_levels_of_several_venues_stand_by_price_with_their_mask() -> None:
    desk = Desk()
    desk.store(0, [(10_000, 5_000), (9_990, 1_000)], [(10_010, 2_000)])  # 100.00, 99.90 × BTC
    desk.store(1, [(1_000, 300), (998, 10)], [(1_002, 7)])  # 100.0, 99.8 × 0.01 BTC × 10^-2
    assert desk.view.merge(NOW) == 0b110
    assert desk.money(is_ask=False) == [
        (Fraction(100), 5 + Fraction(3, 100), 0b110),
        (Fraction("99.9"), Fraction(1), 0b010),
        (Fraction("99.8"), Fraction(1, 1000), 0b100),
    ]
    assert [mask for *_, mask in desk.money(is_ask=True)] == [0b010, 0b100]
    leg = desk.view.leg(1)
    assert (leg.venue_id, leg.standing, leg.certificate.live_id, leg.alive_ns) == (2, Standing.IN, 7, NOW)
    assert leg.bid_price_units // leg.price_scale == 1_000
    assert leg.ask_quantity_units // leg.quantity_scale == 7
    assert [c.last_sequence for c in desk.view.certificates()] == [11, 11]
    with pytest.raises(IndexError, match="leg 3 of 3"):
        desk.view.leg(3)


def test_a_contract_of_a_thousand_stands_at_the_price_of_one() -> None:
    desk = Desk()
    desk.store(0, [(10_000, 1)], [])
    desk.store(2, [(100_000_000, 2)], [])  # 100,000 for a thousand
    desk.view.merge(NOW)
    assert desk.money(is_ask=False) == [(Fraction(100), 2000 + Fraction(1, 1000), 0b1010)]


@pytest.mark.parametrize("state", [state for state in BookState if state != BookState.LIVE])
def test_a_book_that_leaves_live_leaves_the_view_at_once(state: BookState) -> None:
    desk = Desk()
    desk.store(0, [(10_000, 1)], [(10_010, 1)])
    desk.store(1, [(1_000, 1)], [(1_001, 1)])
    assert desk.view.merge(NOW) == 0b110
    desk.store(0, [(10_000, 1)], [(10_010, 1)], state=state)
    assert desk.view.merge(NOW) == 0b100
    assert {mask for side in (False, True) for *_, mask in desk.money(is_ask=side)} == {0b100}
    assert desk.standings()[0] is Standing.NOT_LIVE
    assert desk.view.leg(0).bid_quantity_units == 0
    desk.store(0, [(10_000, 1)], [(10_010, 1)])
    assert desk.view.merge(NOW) == 0b110


def test_silence_and_age_take_a_book_out_though_nothing_was_stored() -> None:
    desk = Desk(max_silence_ns=2 * SECOND, max_data_age_ns=SECOND)
    desk.store(0, [(10_000, 1)], [])
    desk.store(1, [(1_000, 1)], [], data_ns=NOW - SECOND)
    assert desk.view.merge(NOW) == 0b110
    assert desk.view.merge(NOW + 1) == 0b010
    assert desk.standings()[1] is Standing.OLD
    assert desk.view.merge(NOW + 2 * SECOND + 1) == 0
    assert desk.standings()[:2] == [Standing.SILENT, Standing.SILENT]
    assert (desk.view.bid_count, desk.view.ask_count) == (0, 0)
    assert not desk.view.is_crossed


def test_a_stream_that_never_said_anything_is_silent_unless_silence_is_not_looked_at() -> None:
    desk = Desk()
    desk.slabs[0].store(0, Certificate(state=BookState.LIVE), TradeTotals(), [(1, 1)], [])
    assert desk.view.merge(NOW) == 0
    open_view = MergedBook(desk.slabs, desk.rows, 8, max_silence_ns=0)
    assert open_view.merge(NOW) == 0b010


def test_a_book_whose_writer_died_in_the_middle_leaves_and_comes_back_with_the_next_store() -> None:
    desk = Desk()
    desk.store(0, [(10_000, 1)], [])
    desk.store(1, [(1_000, 1)], [])
    assert desk.view.merge(NOW) == 0b110
    payload = desk.payloads[0]
    store_release(payload, ENTRIES_AT, load_acquire(payload, ENTRIES_AT) + 1)
    assert desk.view.merge(NOW) == 0b100
    assert desk.standings()[0] is Standing.BUSY
    assert desk.view.leg(0).certificate == Certificate(instrument_id=0)
    desk.store(0, [(10_000, 1)], [])
    assert desk.view.merge(NOW) == 0b110


def test_venues_that_cross_or_lock_one_another_are_shown_as_they_are() -> None:
    desk = Desk()
    desk.store(0, [(10_020, 3)], [(10_030, 1)])
    desk.store(1, [(1_000, 1)], [(1_001, 4)])
    assert desk.view.merge(NOW) == 0b110
    assert desk.view.is_crossed
    assert (desk.money(is_ask=False)[0][2], desk.money(is_ask=True)[0][2]) == (0b010, 0b100)
    desk.store(1, [(1_000, 1)], [(1_002, 4)])
    desk.view.merge(NOW)
    assert (desk.view.is_crossed, desk.view.is_locked) == (False, True)


def test_a_level_that_64_bits_do_not_hold_takes_its_book_out_and_no_other() -> None:
    desk = Desk()
    desk.store(0, [(10_000, 1)], [])
    desk.store(1, [(2**62, 1)], [])  # × 100 in shared units
    desk.store(2, [(100_000_000, 2**62)], [])
    assert desk.view.merge(NOW) == 0b010
    assert desk.standings() == [Standing.IN, Standing.UNFIT, Standing.UNFIT]
    desk.store(1, [(1_000, 1)], [])
    assert desk.view.merge(NOW) == 0b110


def test_behind_a_slab_that_is_too_short_levels_are_not_called_whole() -> None:
    desk = Desk(depth=8, slab_depth=2)
    desk.store(0, [(10_000, 1), (9_990, 1)], [(10_010, 1)])
    desk.store(1, [(1_000, 1), (990, 1)], [(1_005, 1)])
    desk.view.merge(NOW)
    # 100, 99.90 | 99.00: the first venue may have something between.
    assert (desk.view.bid_count, desk.view.bid_whole) == (3, 2)
    assert (desk.view.ask_count, desk.view.ask_whole) == (2, 2)


def test_a_view_of_less_depth_than_its_slabs_is_whole() -> None:
    desk = Desk(depth=2, slab_depth=4)
    desk.store(0, [(10_000 - n, 1) for n in range(4)], [])
    desk.store(1, [(1_000 - n, 1) for n in range(4)], [])
    desk.view.merge(NOW)
    assert (desk.view.bid_count, desk.view.bid_whole) == (2, 2)
    assert desk.view.bids.shape == (2, 3)


PRICES = st.integers(1, 60)
SIDE = st.dictionaries(PRICES, st.integers(1, 10**9), max_size=8)


class MergedAgainstNaive(RuleBasedStateMachine):
    """Books come, go and change state; the view is what fractions and a dict say."""

    def __init__(self) -> None:
        super().__init__()
        self.desk = Desk(depth=5, slab_depth=8)
        self.books: dict[int, tuple[Levels, Levels]] = {}

    @rule(index=st.integers(0, 2), bids=SIDE, asks=SIDE, state=st.sampled_from([1, 2, 2, 2, 3, 4]))
    def store(self, index: int, bids: dict[int, int], asks: dict[int, int], state: int) -> None:
        # One price of each venue in three is the same money.
        scale = (100, 10, 1_000_000)[index]
        levels = [
            sorted(((price * scale, quantity) for price, quantity in side.items()), reverse=best)
            for side, best in ((bids, True), (asks, False))
        ]
        self.desk.store(index, levels[0], levels[1], state=state)
        self.books.pop(index, None)
        if state == BookState.LIVE:
            self.books[index] = (levels[0], levels[1])

    @invariant()
    def equal(self) -> None:
        mask = self.desk.view.merge(NOW)
        assert mask == sum(1 << index + 1 for index in self.books)
        for side, is_ask in enumerate((False, True)):
            books = [(self.desk.rows[i], pair[side], FACTORS[i]) for i, pair in self.books.items()]
            assert self.desk.money(is_ask=is_ask) == naive_side(books, 5, is_ask=is_ask)


MergedAgainstNaive.TestCase.settings = settings(max_examples=40, stateful_step_count=12)
test_the_view_is_what_a_naive_one_is = MergedAgainstNaive.TestCase


@settings(max_examples=40)
@given(st.lists(st.lists(st.integers(1, 20), min_size=1, max_size=6, unique=True), min_size=1, max_size=4))
def test_whole_levels_are_those_no_cut_book_ends_before(sides: list[list[int]]) -> None:
    rows = [
        Instrument(
            venue_id=n, symbol=f"V{n}", canonical="A-B", base="A", price_exponent=0, quantity_exponent=0
        )
        for n in range(len(sides))
    ]
    slabs = [BookSlab.create(bytearray(BookSlab.bytes_needed(4, 1, 1)), 4, 1, 1, 0) for _ in rows]
    for slab, prices in zip(slabs, sides, strict=True):
        asks = [(price, 1) for price in sorted(prices)[:4]]
        slab.store(0, Certificate(state=BookState.LIVE), TradeTotals(), [], asks)
    view = MergedBook(slabs, rows, 16, max_silence_ns=0)
    view.merge(NOW)
    true = naive_side(
        [(r, [(p, 1) for p in prices], 1) for r, prices in zip(rows, sides, strict=True)], 24, is_ask=True
    )
    shown = [(int(p), int(q), int(mask)) for p, q, mask in view.asks[: view.ask_whole]]
    assert shown == [(int(p), int(q), mask) for p, q, mask in true[: len(shown)]]
    assert all(len(prices) < 4 for prices in sides) <= (view.ask_whole == view.ask_count == len(true))


def test_what_can_not_be_merged_is_refused() -> None:
    desk = Desk()
    with pytest.raises(InstrumentError, match="no instrument"):
        MergedBook([], [])
    with pytest.raises(LayoutError, match="1 slabs for 3"):
        MergedBook(desk.slabs[:1], desk.rows)
    with pytest.raises(LayoutError, match="depth 0"):
        MergedBook(desk.slabs, desk.rows, 0)
    with pytest.raises(InstrumentError, match="can be merged"):
        MergedBook(desk.slabs[:1] * (LEGS_MAX + 1), desk.rows[:1] * (LEGS_MAX + 1))
    lost = Instrument(
        venue_id=1, instrument_id=5, symbol="L", canonical="A-B", price_exponent=0, quantity_exponent=0
    )
    with pytest.raises(LayoutError, match="L: its book slab does not hold instrument 5"):
        MergedBook(desk.slabs[:1], [lost])
    with pytest.raises(LayoutError, match="does not hold"):
        MergedBook([None], desk.rows[:1])  # type: ignore[list-item]
