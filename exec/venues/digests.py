"""Venue identifiers that are no numbers (UUIDs) as numbers that a report has room for."""

from __future__ import annotations

from hashlib import blake2b

_MASK = (1 << 63) - 1


def digest63(text: str) -> int:
    """A number of 63 bits that stands for a text: the same in every process and run, never 0; 0 for "".

    BLAKE2b of 8 bytes without its top bit. Among a million identifiers two share a number with probability
    5 * 10^-8; trade ids are compared within one order only, where it is nothing.
    """
    if not text:
        return 0
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big") & _MASK or 1


def number63(text: str) -> int:
    """A decimal identifier as the number it is, where that fits 63 bits; else its digest."""
    if text.isascii() and text.isdecimal() and len(text) <= 19:
        number = int(text)
        if 0 < number <= _MASK:
            return number
    return digest63(text)
