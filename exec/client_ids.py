"""Client order ids on the wire: `rl`, 4 hex digits that name the instance, 16 of the 64-bit id.

Twenty-two lower-case letters and digits, legal at every venue. The tag keeps two instances that trade one
account from taking each other's orders for their own.
"""

from __future__ import annotations

import zlib

from exec.errors import OrderError

PREFIX = "rl"
TAG_CHARS = 4
ID_CHARS = 16
TEXT_CHARS = len(PREFIX) + TAG_CHARS + ID_CHARS
ID_MAX = (1 << 64) - 1
_HEX = frozenset("0123456789abcdef")


def tag_of(instance: str) -> str:
    """The four hex digits of an instance's name: the low half of its CRC32."""
    return f"{zlib.crc32(instance.encode()) & 0xFFFF:04x}"


def encode(client_order_id: int, tag: str) -> str:
    """Write an id for the wire.

    Raises:
        OrderError: the id is not within 1 to 2^64 - 1, or the tag is not four lower-case hex digits.
    """
    if not 1 <= client_order_id <= ID_MAX:
        raise OrderError(f"client order id {client_order_id} is outside 1 to 2^64 - 1")
    if len(tag) != TAG_CHARS or not _HEX.issuperset(tag):
        raise OrderError(f"tag {tag!r} is not {TAG_CHARS} lower-case hex digits")
    return f"{PREFIX}{tag}{client_order_id:016x}"


def decode(text: str, tag: str) -> int:
    """Read an id back; 0 when the text is not one of this instance's."""
    if len(text) != TEXT_CHARS or not text.startswith(PREFIX) or text[len(PREFIX) : -ID_CHARS] != tag:
        return 0
    digits = text[-ID_CHARS:]
    return int(digits, 16) if _HEX.issuperset(digits) else 0


def is_instance_order(text: str) -> bool:
    """Whether a text has the form of an id of any instance."""
    body = text[len(PREFIX) :]
    return len(text) == TEXT_CHARS and text.startswith(PREFIX) and _HEX.issuperset(body)
