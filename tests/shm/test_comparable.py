"""Shared units: exact whichever exponents, multipliers and contracts of a thousand the venues use."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shm.comparable import factor_power, rows_of, shared_units
from shm.enums import InstrumentKind, InstrumentStatus
from shm.errors import InstrumentError
from shm.instruments import Instrument
from tests.kit.naive_merged import price_of, quantity_of


def row(venue_id: int = 1, **fields: object) -> Instrument:
    values: dict[str, object] = {
        "venue_id": venue_id, "symbol": f"S{venue_id}", "canonical": "BTC-USDT-PERP", "base": "BTC",
        "price_exponent": 2, "quantity_exponent": 3,
    }  # fmt: skip
    return Instrument(**{**values, **fields})  # type: ignore[arg-type]


def test_contracts_and_coins_share_the_finest_unit() -> None:
    coins, contracts = (
        row(1),
        row(2, price_exponent=1, quantity_exponent=2, multiplier=1, multiplier_exponent=2),
    )
    units = shared_units([coins, contracts])
    assert (units.price_exponent, units.quantity_exponent) == (2, 4)
    assert (units.price_scales, units.quantity_scales) == ((1, 10), (10, 1))


@pytest.mark.parametrize(
    ("base", "power"),
    [("SHIB", 0), ("1000SHIB", 3), ("SHIB1000", 3), ("10000SHIB", 4), ("1MSHIB", 6), ("", 0)],
)
def test_the_factor_of_a_contract_stands_in_its_base(base: str, power: int) -> None:
    assert factor_power(row(canonical="SHIB-USDT-PERP", base=base)) == power


@pytest.mark.parametrize("base", ["2000SHIB", "1SHIB", "WSHIB", "1000MSHIB", "PEPE"])
def test_a_base_that_is_no_known_multiple_is_an_error_that_names_it(base: str) -> None:
    with pytest.raises(InstrumentError, match=f"S1: its base '{base}'"):
        factor_power(row(canonical="SHIB-USDT-PERP", base=base))


def test_a_contract_of_a_thousand_is_brought_to_one() -> None:
    thousand = row(1, canonical="SHIB-USDT-PERP", base="1000SHIB", price_exponent=6, quantity_exponent=0)
    million = row(
        2,
        canonical="SHIB-USDT-PERP",
        base="SHIB",
        price_exponent=9,
        quantity_exponent=1,
        multiplier=1_000_000,
    )
    units = shared_units([thousand, million])
    assert (units.price_exponent, units.quantity_exponent) == (9, 1)
    assert units.price_scales == (1, 1)
    assert units.quantity_scales == (10_000, 1_000_000)


ROWS = st.lists(
    st.tuples(
        st.integers(0, 9), st.integers(0, 6), st.integers(1, 1000), st.integers(0, 4),
        st.sampled_from([0, 3, 6]),
    ),
    min_size=1, max_size=4,
)  # fmt: skip


@settings(max_examples=80)
@given(ROWS, st.booleans(), st.integers(1, 10**6), st.integers(0, 10**6))
def test_what_is_equal_in_money_is_equal_in_shared_units(
    made: list[tuple[int, int, int, int, int]], is_inverse: bool, price_units: int, quantity_units: int
) -> None:
    rows = [
        row(
            index, price_exponent=price, quantity_exponent=quantity, multiplier=multiplier,
            multiplier_exponent=exponent, is_inverse=is_inverse,
            base=("1" + "0" * power if power else "") + "BTC",
        )
        for index, (price, quantity, multiplier, exponent, power) in enumerate(made)
    ]  # fmt: skip
    units = shared_units(rows)
    for index, (one, (*_, power)) in enumerate(zip(rows, made, strict=True)):
        assert Fraction(price_units * units.price_scales[index], 10**units.price_exponent) == price_of(
            one, price_units, 10**power
        )
        assert Fraction(
            quantity_units * units.quantity_scales[index], 10**units.quantity_exponent
        ) == quantity_of(one, quantity_units, 10**power)


@pytest.mark.parametrize(
    "other",
    [
        row(2, canonical="ETH-USDT-PERP", base="ETH"),
        row(2, kind=InstrumentKind.FUTURE),
        row(2, is_inverse=True),
    ],
)
def test_what_is_not_one_instrument_is_refused(other: Instrument) -> None:
    with pytest.raises(InstrumentError, match=r"S2 .* is not the same instrument as S1"):
        shared_units([row(1), other])
    with pytest.raises(InstrumentError, match="no instrument"):
        shared_units([])


def test_units_that_64_bits_do_not_hold_are_refused_by_name() -> None:
    with pytest.raises(InstrumentError, match="S2 of venue 2 shares no unit"):
        shared_units([row(1, price_exponent=30), row(2, price_exponent=2)])


def test_rows_of_a_name_are_those_in_force() -> None:
    gone = row(1, status=InstrumentStatus.RETIRED)
    delisted = row(3, status=InstrumentStatus.DELISTED)
    halted, other = row(2, status=InstrumentStatus.HALTED), row(1, canonical="X-Y")
    assert rows_of([gone, row(1), other, halted, delisted], "BTC-USDT-PERP") == [row(1), halted]
