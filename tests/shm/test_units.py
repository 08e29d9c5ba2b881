"""Units: text to exact integers and back."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shm.errors import UnitsError
from shm.instruments import Instrument
from shm.units import (
    UNITS_MAX,
    UNITS_MIN,
    ceil_to_step,
    decimals_of,
    floor_to_step,
    format_units,
    notional_e8,
    notional_exact,
    parse_units,
    to_e8,
)


def instrument(**changes: object) -> Instrument:
    fields: dict[str, object] = {"venue_id": 1, "symbol": "X", "price_exponent": 2, "quantity_exponent": 3}
    return Instrument(**{**fields, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "exponent", "units"),
    [
        ("61800.20", 1, 618002),
        (b"61800.20", 2, 6180020),
        ("0.00000000001", 11, 1),
        ("5950000000000", 0, 5950000000000),
        ("-1.5", 1, -15),
        ("-0", 0, 0),
        ("000.100", 1, 1),
        ("9223372036854775807", 0, UNITS_MAX),
        ("-9223372036854775808", 0, UNITS_MIN),
    ],
)
def test_exact_text_becomes_units(text: str | bytes, exponent: int, units: int) -> None:
    assert parse_units(text, exponent) == units


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".",
        "1.",
        ".5",
        "+1",
        " 1",
        "1 ",
        "1e-11",
        "0x10",
        "1_000",
        "NaN",
        "inf",
        "٣",
        "1,5",
        "--1",
        b"\xff1",
    ],
)
def test_text_that_is_no_plain_decimal_is_refused(text: str | bytes) -> None:
    with pytest.raises(UnitsError, match="not a decimal number"):
        parse_units(text, 12)


def test_too_many_decimals_name_text_and_exponent() -> None:
    with pytest.raises(UnitsError, match=r"'61800\.25' does not fit exponent 1"):
        parse_units("61800.25", 1)


@pytest.mark.parametrize("text", ["9223372036854775808", "-9223372036854775809", "9" * 390])
def test_more_than_64_bits_is_refused(text: str) -> None:
    with pytest.raises(UnitsError, match="64 bits"):
        parse_units(text, 0)


def test_a_hostile_length_is_refused_without_work() -> None:
    with pytest.raises(UnitsError, match="characters"):
        parse_units("1" * 1_000_000, 0)


def test_scientific_notation_only_where_asked() -> None:
    assert parse_units("1e-11", 11, allow_scientific=True) == 1
    assert parse_units("5.95E12", 0, allow_scientific=True) == 5950000000000
    assert parse_units("0e9999", 0, allow_scientific=True) == 0
    with pytest.raises(UnitsError):
        parse_units("1e-12", 11, allow_scientific=True)
    with pytest.raises(UnitsError):
        parse_units("1e9999", 0, allow_scientific=True)


@pytest.mark.parametrize(
    ("units", "exponent", "text"),
    [
        (618002, 1, "61800.2"),
        (6180020, 2, "61800.20"),
        (1, 11, "0.00000000001"),
        (-5, 2, "-0.05"),
        (7, 0, "7"),
    ],
)
def test_units_are_written_with_exactly_their_decimals(units: int, exponent: int, text: str) -> None:
    assert format_units(units, exponent) == text


@settings(max_examples=200)
@given(st.integers(UNITS_MIN, UNITS_MAX), st.integers(0, 30))
def test_writing_and_reading_is_the_identity(units: int, exponent: int) -> None:
    text = format_units(units, exponent)
    assert parse_units(text, exponent) == units
    assert Decimal(text) == Decimal(units).scaleb(-exponent)


@settings(max_examples=200)
@given(st.decimals(-(10**12), 10**12, allow_nan=False, allow_infinity=False, places=6))
def test_the_smallest_exponent_is_the_smallest_that_fits(number: Decimal) -> None:
    text = f"{number:f}"
    exponent = decimals_of(text)
    assert Decimal(parse_units(text, exponent)).scaleb(-exponent) == number
    if exponent:
        with pytest.raises(UnitsError):
            parse_units(text, exponent - 1)


def test_decimals_of_scientific_text() -> None:
    assert decimals_of("1e-11") == 11
    assert decimals_of("1.50e1") == 0
    assert decimals_of("0.000") == 0


@pytest.mark.parametrize("exponent", [-1, 256])
def test_an_exponent_no_row_can_hold_is_refused(exponent: int) -> None:
    with pytest.raises(UnitsError):
        parse_units("1", exponent)
    with pytest.raises(UnitsError):
        format_units(1, exponent)


@settings(max_examples=100)
@given(st.integers(-(10**15), 10**15), st.integers(1, 10**6))
def test_steps_enclose_the_units(units: int, step: int) -> None:
    low, high = floor_to_step(units, step), ceil_to_step(units, step)
    assert low <= units <= high
    assert low % step == high % step == 0
    assert high - low in (0, step)


def test_a_step_of_zero_is_refused() -> None:
    with pytest.raises(UnitsError):
        floor_to_step(1, 0)
    with pytest.raises(UnitsError):
        ceil_to_step(1, -5)


def test_linear_notional_is_price_times_quantity_times_multiplier() -> None:
    # 61800.20 x 0.015 x 1 = 927.003
    assert notional_e8(6180020, 15, instrument()) == 92700300000
    # a contract of 0.01 base: 2 contracts at 100.00
    assert (
        notional_e8(10000, 2, instrument(quantity_exponent=0, multiplier=1, multiplier_exponent=2))
        == 2 * 10**8
    )
    assert notional_e8(6180020, -15, instrument()) == -92700300000


def test_inverse_notional_does_not_know_the_price() -> None:
    contract = instrument(is_inverse=True, quantity_exponent=0, multiplier=100)
    assert notional_e8(1, 3, contract) == notional_e8(10**12, 3, contract) == 300 * 10**8


def test_products_beyond_64_bits_stay_exact() -> None:
    exact, exponent = notional_exact(UNITS_MAX, UNITS_MAX, instrument())
    assert (exact, exponent) == (UNITS_MAX * UNITS_MAX, 5)
    assert notional_e8(UNITS_MAX, UNITS_MAX, instrument()) == UNITS_MAX * UNITS_MAX * 1000


def test_a_remainder_below_e8_is_rounded_away_from_zero() -> None:
    assert to_e8(1, 9) == 1
    assert to_e8(-1, 9) == -1
    assert to_e8(10, 9) == 1
    assert to_e8(0, 30) == 0
