"""A message read by the shape of the last one is what reading it key by key makes of it, or is read so."""

from __future__ import annotations

import random

import pytest

from feeds.decoder import TRAIT_CHECKSUM, TRAIT_UNNUMBERED, DecodedMessage, MessageKind
from feeds.errors import DecodeError
from feeds.venues.okx.decode import OkxDecoder
from tests.fuzz.test_decode_fuzz import mutate
from tests.kit.stream_frames import okx, okx_book

SWAP = "BTC-USDT-SWAP"
NUMBERED = okx_book(SWAP, 110, 100, [("84093.4", "0.50"), ("84093", "0")], [("84093.5", "3")], checksum=0)
CHECKED = okx_book(SWAP, None, None, [("1.5", "2")], [("1.6", "12")], checksum=-59769065)
BEHIND = okx_book(SWAP, 110, 100, [("1", "1")], checksum=7).replace(b'"asks"', b'"zz":{"a":[1,"x"]},"asks"')


def outcome(decoder: OkxDecoder, frame: bytes) -> DecodedMessage | str:
    try:
        return decoder.decode_message(frame)
    except DecodeError as error:
        return str(error)


def taught(frame: bytes) -> OkxDecoder:
    decoder = OkxDecoder()
    decoder.decode_message(frame)
    assert decoder.has_shape
    return decoder


def compare(frames: tuple[bytes, ...], count: int, seed: int) -> int:
    """Mutate frames, read each with a decoder that knows its shape and with one that knows none."""
    rng, accepted = random.Random(seed), 0
    for number in range(count):
        frame = frames[number % len(frames)]
        mutated = mutate(rng, frame)
        found, expected = outcome(taught(frame), mutated), outcome(OkxDecoder(), mutated)
        assert found == expected, mutated
        accepted += not isinstance(found, str)
    return accepted


def test_mutated_frames_mean_the_same_with_and_without_a_shape() -> None:
    assert compare((NUMBERED, CHECKED, BEHIND), 1500, 1) > 50


@pytest.mark.prove
def test_many_mutated_frames_mean_the_same_with_and_without_a_shape() -> None:
    assert compare((NUMBERED, CHECKED, BEHIND), 40_000, 2) > 1000


@pytest.mark.parametrize("number", ["007", "-0", "-5", "1.0", "1e3", "9" * 18, "9" * 19, "", '"5"', "null"])
@pytest.mark.parametrize("key", [b'"checksum":', b'"seqId":', b'"prevSeqId":'])
def test_a_number_of_another_form_is_refused_or_read_as_without_a_shape(key: bytes, number: str) -> None:
    begin = NUMBERED.index(key) + len(key)
    end = min(NUMBERED.index(b, begin) for b in (b",", b"}") if b in NUMBERED[begin:])
    frame = NUMBERED[:begin] + number.encode() + NUMBERED[end:]
    assert outcome(taught(NUMBERED), frame) == outcome(OkxDecoder(), frame)


@pytest.mark.parametrize(
    "time", ["", "0", "007", "9223372036854", "9223372036855", "9" * 18, "9" * 19, "1.5", "-1"]
)
def test_a_time_of_another_form_is_refused_or_read_as_without_a_shape(time: str) -> None:
    begin = NUMBERED.index(b'"ts":"') + 6
    frame = NUMBERED[:begin] + time.encode() + NUMBERED[NUMBERED.index(b'"', begin) :]
    assert outcome(taught(NUMBERED), frame) == outcome(OkxDecoder(), frame)


def test_every_beginning_of_a_frame_is_refused_as_without_a_shape() -> None:
    for end in range(len(NUMBERED)):
        assert outcome(taught(NUMBERED), NUMBERED[:end]) == outcome(OkxDecoder(), NUMBERED[:end])


def test_bytes_behind_a_frame_are_refused_and_spaces_are_not() -> None:
    decoder = taught(NUMBERED)
    assert "behind the message" in str(outcome(decoder, NUMBERED + b"}"))
    assert outcome(decoder, NUMBERED + b" \n") == outcome(decoder, NUMBERED)


def test_values_change_and_the_rest_stands() -> None:
    decoder = taught(NUMBERED)
    m = decoder.decode_message(okx_book("ETH-USDT", 7, 7, [], [("1", "2"), ("3", "4.5")], checksum=0))
    assert (m.symbol, m.last_sequence, m.previous_sequence, m.traits) == ("ETH-USDT", 7, 7, 0)
    assert (m.bids, m.asks) == ((), ((1, 0, 2, 0), (3, 0, 45, 1)))


def test_a_checksum_that_is_not_zero_is_one_and_one_that_is_zero_proves_nothing_alone() -> None:
    decoder = taught(CHECKED)
    m = decoder.decode_message(CHECKED.replace(b"-59769065", b"2147483647"))
    assert (m.traits, m.checksum) == (TRAIT_CHECKSUM | TRAIT_UNNUMBERED, 2147483647)
    assert "checksum" in str(outcome(decoder, CHECKED.replace(b"-59769065", b"2147483648")))
    assert "seqId: missing" in str(outcome(decoder, CHECKED.replace(b"-59769065", b"0")))


def test_a_venue_that_begins_to_write_otherwise_is_read_and_the_new_shape_is_learned() -> None:
    decoder = taught(CHECKED)
    for sequence in range(20):
        m = decoder.decode_message(okx_book(SWAP, sequence + 1, sequence, [("1", "1")], checksum=0))
        assert (m.last_sequence, m.previous_sequence) == (sequence + 1, sequence)


def test_a_whole_book_and_other_channels_teach_nothing() -> None:
    decoder = OkxDecoder()
    decoder.decode_message(okx_book(SWAP, 100, -1, [("1", "1")], action="snapshot"))
    decoder.decode_message(okx_book(SWAP, 9, None, [("2", "1")], action="", checksum=None, channel="books5"))
    decoder.decode_message(okx_book(SWAP, 7, None, [("2", "1")], action="", channel="bbo-tbt"))
    assert not decoder.has_shape


def test_an_update_that_names_its_instrument_twice_teaches_nothing() -> None:
    decoder, twice = OkxDecoder(), NUMBERED.replace(b'"ts"', b'"instId":"BTC-USDT-SWAP","ts"')
    assert decoder.decode_message(twice).symbol == SWAP
    assert not decoder.has_shape
    other = twice.replace(b'"instId":"BTC-USDT-SWAP"', b'"instId":"ETH-USDT"', 1)
    assert "names another instrument" in str(outcome(decoder, other))


def test_the_shape_of_a_stream_that_is_no_longer_the_chosen_one_is_forgotten() -> None:
    decoder = taught(NUMBERED)
    decoder.depth_stream = "books-l2-tbt"
    assert not decoder.has_shape
    assert decoder.decode_message(NUMBERED).kind == MessageKind.CONTROL


def test_a_trade_between_updates_is_read_as_a_trade() -> None:
    decoder = taught(NUMBERED)
    trade = {"instId": SWAP, "tradeId": "5", "px": "1.5", "sz": "2", "side": "buy", "ts": "1790439596276"}
    assert decoder.decode_message(okx("trades", [trade], instId=SWAP)).kind == MessageKind.TRADE
    assert decoder.decode_message(NUMBERED).kind == MessageKind.DEPTH
