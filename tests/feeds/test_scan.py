"""The strict scanner, seen through the decoder: what is JSON, what is a decimal, what is refused and why."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feeds.errors import DecodeError
from feeds.venues.binance_usdm.decode import BinanceUsdmDecoder

FRAME = '{"e":"depthUpdate","E":1,"s":"X","U":1,"u":2,"pu":0,"b":[["%s","1"]],"a":[]}'


def refusal(frame: str | bytes) -> str:
    with pytest.raises(DecodeError) as caught:
        BinanceUsdmDecoder().decode_message(frame.encode() if isinstance(frame, str) else frame)
    return str(caught.value)


def with_value(value: str) -> str:
    """A control message with an unknown key that holds `value`."""
    return '{"result":null,"zz":' + value + "}"


@pytest.mark.parametrize(
    "text", ["1e5", "-1", "", "1.", ".5", "+1", " 1", "1 ", "0x1", "1,5", "1.2.3", "NaN", "\\u0031"]
)
def test_only_plain_decimals_are_prices(text: str) -> None:
    told = refusal(FRAME % text)
    assert told.startswith("b[0]: not a plain decimal") and "at byte" in told


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1", (1, 0)),
        ("61800.20", (6_180_020, 2)),
        ("00012.500", (12_500, 3)),
        ("0.00000000001", (1, 11)),
        ("5950000000000", (5_950_000_000_000, 0)),
        ("999999999999999999", (10**18 - 1, 0)),
        ("9223372036854775807", (2**63 - 1, 0)),
        ("123.4500000000000000000000000000", (12_345, 2)),
        ("0000000000000000000000000000001.5", (15, 1)),
    ],
)
def test_decimals_keep_every_digit(text: str, expected: tuple[int, int]) -> None:
    assert BinanceUsdmDecoder().decode_message((FRAME % text).encode()).bids[0][:2] == expected


@pytest.mark.parametrize(
    "text", ["9223372036854775808", "1" * 40, "0." + "0" * 25 + "1234567890123456789012"]
)
def test_numbers_beyond_64_bits_are_refused(text: str) -> None:
    assert "number too large" in refusal(FRAME % text)


@given(st.decimals(min_value="0.000000000001", max_value=10**6, places=12))
@settings(max_examples=100, deadline=None)
def test_any_decimal_comes_back_exactly(value: object) -> None:
    text = f"{value:f}"
    mantissa, decimals = BinanceUsdmDecoder().decode_message((FRAME % text).encode()).bids[0][:2]
    whole, _, fraction = text.partition(".")
    assert mantissa * 10 ** len(fraction) == int(whole + fraction) * 10**decimals


@pytest.mark.parametrize(
    "value",
    [
        "1",
        "-1",
        "0",
        "-0",
        "1.5",
        "1e5",
        "1E-5",
        "true",
        "false",
        "null",
        '"a\\"\\\\\\/\\b\\f\\n\\r\\t\\u00e9"',
        "[]",
        "{}",
        "[1,[2,{}]]",
        '{"a":[1],"a":2}',
        '"\u00e9\u20ac\U0001f600"',
        " [ 1 , 2 ] ",
    ],
)
def test_unknown_values_of_any_kind_are_read_over(value: str) -> None:
    assert BinanceUsdmDecoder().decode_message(with_value(value).encode()).kind == 5


@pytest.mark.parametrize(
    "value",
    [
        "01",
        "1.",
        ".5",
        "+1",
        "1e",
        "1e+",
        "--1",
        "tru",
        "nul",
        "True",
        "NaN",
        "Infinity",
        "'a'",
        '"\\x"',
        '"\\u12g4"',
        '"\t"',
        "[1,]",
        "[,1]",
        '{"a":1,}',
        "{a:1}",
        '{"a"}',
        "[1 2]",
        "1 2",
        '"a',
        "\x00",
    ],
)
def test_what_is_not_json_is_refused_anywhere(value: str) -> None:
    assert refusal(with_value(value))


@pytest.mark.parametrize(
    "raw",
    [
        b"\xff",
        b"\xc0\x80",
        b"\xe0\x80\x80",
        b"\xed\xa0\x80",
        b"\xf5\x80\x80\x80",
        b"\xf4\x90\x80\x80",
        b"\xc3",
    ],
)
def test_strings_must_be_utf8(raw: bytes) -> None:
    assert "not UTF-8" in refusal(b'{"result":null,"zz":"' + raw + b'"}')


def test_nesting_is_bounded() -> None:
    assert BinanceUsdmDecoder().decode_message(with_value("[" * 20 + "]" * 20).encode())
    assert "nested too deeply" in refusal(with_value("[" * 100_000 + "]" * 100_000))


def test_a_key_given_twice_is_refused_known_or_not() -> None:
    assert "key given twice" in refusal('{"result":null,"result":null}')
    assert "key given twice" in refusal('{"result":null,"zz":1,"zz":2}')
    assert "u: key given twice" in refusal(FRAME.replace('"u":2', '"u":2,"u":3') % "1")


def test_escapes_are_refused_where_plain_text_decides() -> None:
    assert "escaped text" in refusal('{"\\u0065":"trade"}')
    assert "s: escaped text" in refusal((FRAME % "1").replace('"X"', '"\\u0058"'))


@pytest.mark.parametrize("tail", ["x", "{}", ",", "]", "\x00", '"'])
def test_nothing_may_follow_the_message(tail: str) -> None:
    assert "bytes behind the message" in refusal('{"result":null}' + tail)


def test_frames_are_bounded() -> None:
    assert "frame too large" in refusal(with_value('"' + "a" * (4 << 20) + '"'))
    assert BinanceUsdmDecoder().decode_message(with_value('"' + "a" * (3 << 20) + '"').encode())


@pytest.mark.parametrize("frame", ["", " ", "null", "[]", "1", '"e"', "{}", '{"zz":1}', "garbage"])
def test_what_is_no_message_is_refused(frame: str) -> None:
    assert refusal(frame)


def test_many_unknown_keys_are_refused_rather_than_unchecked() -> None:
    keys = ",".join(f'"k{i}":1' for i in range(70))
    assert "too many unknown keys" in refusal('{"result":null,' + keys + "}")
