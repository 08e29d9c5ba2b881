from enum import IntEnum
from typing import NamedTuple

from typing_extensions import Buffer

class MessageKind(IntEnum):
    NONE = 0
    DEPTH = 1
    TRADE = 2
    BBO = 3
    MARK = 4
    CONTROL = 5
    SNAPSHOT = 6
    TICKER = 7
    LIQUIDATION = 8

TRAIT_SNAPSHOT: int
TRAIT_CHECKSUM: int
TRAIT_UNNUMBERED: int

class DecodedItem(NamedTuple):
    symbol: str
    side: int
    flags: int
    price: tuple[int, int]
    quantity: tuple[int, int]
    trade_id: int
    venue_utc_ns: int

class DecodedMessage(NamedTuple):
    kind: MessageKind
    symbol: str
    first_sequence: int
    last_sequence: int
    previous_sequence: int
    venue_utc_ns: int
    trade_id: int
    side: int
    flags: int
    next_funding_utc_ns: int
    values: tuple[tuple[int, int], ...]
    bids: tuple[tuple[int, int, int, int], ...]
    asks: tuple[tuple[int, int, int, int], ...]
    traits: int
    checksum: int
    value_mask: int
    items: tuple[DecodedItem, ...]

class Decoder:
    depth_stream: str
    with_ticker_bbo: bool
    @property
    def has_checksum(self) -> bool: ...
    @property
    def has_shape(self) -> bool: ...
    def __init__(self) -> None: ...
    def decode_message(self, frame: Buffer) -> DecodedMessage: ...
    def decode_snapshot_message(self, body: Buffer) -> DecodedMessage: ...
