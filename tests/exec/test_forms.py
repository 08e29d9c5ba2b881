"""Ready forms give the bytes that a plain formatter gives; nothing is kept for an order that has no form."""

from __future__ import annotations

import hashlib
import hmac

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exec.client_ids import encode
from exec.decimal_text import decimal_text
from exec.errors import OrderError
from exec.forms import (
    LATER_MS,
    NEW_PRICE,
    NEW_UNITS,
    ORDER_HEX,
    ORDER_ID,
    PRICE,
    REQUEST,
    SIGNATURE,
    TIME_MS,
    UNITS,
    Composer,
    Form,
    SigningComposer,
)
from exec.hmac_sha256 import HmacSha256
from exec.order import Order

ALL = f"{REQUEST}|{ORDER_HEX}|rl0a1b{ORDER_ID}|{UNITS}|{PRICE}|{NEW_UNITS}|{NEW_PRICE}|{TIME_MS}|{LATER_MS}"
HEAD, TAIL = Form(f"[{REQUEST}@{TIME_MS}{{"), Form("}]")
SIGNED_64 = st.integers(-(1 << 63), (1 << 63) - 1)
IDS = st.integers(1, (1 << 64) - 1)


def order(client_order_id: int = 5, price: int = 0, units: int = 1, **terms: int) -> Order:
    made = Order(client_order_id, 0, 1, price, units)
    for name, value in terms.items():
        setattr(made, name, value)
    return made


@settings(max_examples=200)
@given(
    ids=st.lists(IDS, min_size=1, max_size=3),
    values=st.tuples(SIGNED_64, SIGNED_64, SIGNED_64, SIGNED_64),
    exponents=st.tuples(st.integers(0, 20), st.integers(0, 20)),
    request_id=st.integers(0, 1 << 62),
    utc_ms=st.integers(0, 1 << 60),
)
def test_every_slot_is_filled_as_a_plain_formatter_fills_it(
    ids: list[int],
    values: tuple[int, int, int, int],
    exponents: tuple[int, int],
    request_id: int,
    utc_ms: int,
) -> None:
    price, units, new_price, new_units = values
    of_price, of_units = exponents
    made = [order(each, price, units, new_price_units=new_price, new_units=new_units) for each in ids]
    composer = Composer(lambda _kind, _order: Form(ALL, of_price, of_units, 7))
    frame = composer.frame(1, made, HEAD, TAIL, request_id, utc_ms)
    rows = [
        f"{request_id}|{each:x}|{encode(each, '0a1b')}|{decimal_text(units, of_units)}"
        f"|{decimal_text(price, of_price)}|{decimal_text(new_units, of_units)}"
        f"|{decimal_text(new_price, of_price)}|{utc_ms}|{utc_ms + 7}"
        for each in ids
    ]
    assert frame.decode() == f"[{request_id}@{utc_ms}{{{'},{'.join(rows)}}}]"


def test_a_form_is_made_once_for_equal_terms_and_anew_once_forgotten() -> None:
    made: list[tuple[int, int]] = []

    def make(kind: int, asked: Order) -> Form:
        made.append((kind, asked.flags))
        return Form(UNITS)

    composer = Composer(make)

    def send(kind: int, **terms: int) -> None:
        composer.frame(kind, [order(**terms)], Form(""), Form(""), 1, 1)

    for _ in range(3):
        send(1)
        send(1, flags=1)
        send(2)
    assert made == [(1, 0), (1, 1), (2, 0)]
    composer.book.clear()
    send(1)
    assert made[3:] == [(1, 0)]
    # Terms beyond what the venue's numbers can be are looked at each time.
    send(1, side=99)
    send(1, side=99)
    assert len(made) == 6


def test_an_order_without_a_form_is_refused_each_time_and_named_by_the_maker() -> None:
    def refuse(_kind: int, asked: Order) -> Form:
        raise OrderError(f"{asked!r}: no form")

    composer = Composer(refuse)
    for number in (3, 4):
        with pytest.raises(OrderError, match=f"Order\\(0x{number}, .*no form"):
            composer.frame(1, [order(number)], HEAD, TAIL, 1, 1)
    with pytest.raises(OrderError, match="client order id 0 is outside"):
        composer.frame(1, [order(0)], HEAD, TAIL, 1, 1)


@pytest.mark.parametrize(
    ("text", "exponent", "what"),
    [("a\tb", 0, "character 9 at 1"), (UNITS * 32, 0, "more than 31 slots"), ("", 41, "not within 0 .. 40")],
)
def test_a_form_that_could_not_be_filled_is_not_made(text: str, exponent: int, what: str) -> None:
    with pytest.raises(ValueError, match=what):
        Form(text, exponent)


@given(secret=st.binary(max_size=200), text=st.binary(max_size=300))
def test_signatures_are_those_of_the_standard_library(secret: bytes, text: bytes) -> None:
    signer = HmacSha256(secret)
    expected = hmac.new(secret, text, hashlib.sha256)
    assert (signer.digest(text), signer.hex(text)) == (expected.digest(), expected.hexdigest().encode())
    assert signer.hex(text) == expected.hexdigest().encode(), "the secret's part is not used up"


def test_a_frame_carries_the_signature_of_its_own_text() -> None:
    signer = HmacSha256(b"secret")
    forms = Form(f"q={UNITS}&t={TIME_MS}", 0, 2), Form(f'{{"q":"{UNITS}","s":"{SIGNATURE}"}}', 0, 2)
    composer = SigningComposer(lambda _kind, _order: forms, signer.hex)
    signature = hmac.new(b"secret", b"q=1.50&t=99", hashlib.sha256).hexdigest()
    assert composer.frame(1, order(units=150), 1, 99).decode() == f'{{"q":"1.50","s":"{signature}"}}'
    unsigned = SigningComposer(lambda _kind, _order: (None, forms[1]), signer.hex)
    assert unsigned.frame(1, order(units=150), 1, 99) == b'{"q":"1.50","s":""}'
