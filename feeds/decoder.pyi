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

class Decoder:
    def __init__(self) -> None: ...
    def decode_message(self, frame: Buffer) -> DecodedMessage: ...
    def decode_snapshot_message(self, body: Buffer) -> DecodedMessage: ...
