"""Where the market maker quotes: on the grid, never crossing the book or itself, against its inventory."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from actors.strategies.quotes import Terms, moved_by, quote_targets
from shm.enums import Side


@settings(max_examples=300, deadline=None)
@given(
    st.integers(1, 50),
    st.integers(50, 10**6),
    st.integers(1, 500),
    st.integers(0, 2000),
    st.integers(-5000, 5000),
    st.integers(0, 10),
)
def test_quotes_never_cross(tick: int, steps: int, spread: int, half: int, skew: int, improve: int) -> None:
    bid, ask = steps * tick, (steps + spread) * tick
    low, high = quote_targets(bid, ask, tick, half, skew, improve * tick)
    assert low % tick == 0
    assert high % tick == 0
    assert 0 < low < ask
    assert high > bid
    assert low < high
    assert low <= bid + improve * tick
    assert high >= ask - improve * tick


def test_flat_and_tight_joins_the_top_of_book() -> None:
    assert quote_targets(1000, 1001, 1, 0, 0, 0) == (1000, 1001)


def test_long_inventory_moves_both_quotes_down() -> None:
    flat = quote_targets(1000, 1010, 1, 8, 0, 0)
    long = quote_targets(1000, 1010, 1, 8, 3, 0)
    assert long[0] == flat[0] - 3
    assert long[1] == max(flat[1] - 3, 1010)


def test_off_grid_prices_are_rounded_away_from_the_other_side() -> None:
    low, high = quote_targets(1001, 1019, 5, 0, 0, 0)
    assert (low, high) == (1000, 1020)


@settings(max_examples=100, deadline=None)
@given(
    st.integers(1, 50), st.integers(50, 10**6), st.integers(1, 500), st.integers(0, 2000),
    st.integers(0, 500), st.integers(-5000, 5000), st.integers(0, 10),
)  # fmt: skip
def test_what_moved_a_quote_adds_up_to_where_it_stands(
    tick: int, steps: int, spread: int, fixed: int, wider: int, skew: int, improve: int
) -> None:
    bid, ask = steps * tick, (steps + spread) * tick
    terms = Terms(bid, ask, tick, fixed, fixed + wider, skew, improve * tick, 1)
    stand = quote_targets(bid, ask, tick, fixed + wider, skew, improve * tick)
    for side, price in zip((Side.BUY, Side.SELL), stand, strict=True):
        plain, by_volatility, by_skew = moved_by(side, price, terms)
        assert plain + (by_volatility + by_skew) * tick == price
        if not wider:
            assert by_volatility == 0
        if not skew:
            assert by_skew == 0
