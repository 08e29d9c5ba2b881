from enum import IntEnum, IntFlag
from typing import Self, final

from feeds.validation import WatchSettings

class Found(IntFlag):
    NONE = 0
    JUMP = 1
    VOLUME = 2
    ANOMALY = 4

class Channel(IntEnum):
    RETURN = 0
    SPREAD = 1
    SIZE = 2
    IMBALANCE = 3
    GAP = 4
    RATE = 5
    TRADE = 6
    DISTANCE = 7

@final
class Watches:
    def __new__(cls, settings: WatchSettings, capacity: int) -> Self: ...
    def add(self, instrument_id: int, tick_size: int) -> None: ...
    def book(
        self, instrument_id: int, bid: int, bid_quantity: int, ask: int, ask_quantity: int, now_ns: int
    ) -> int: ...
    def trade(self, instrument_id: int, price_units: int, quantity_units: int, now_ns: int) -> int: ...
    def pause(self, instrument_id: int) -> None: ...
    def score(self, instrument_id: int) -> float: ...
    def channel(self, instrument_id: int) -> int: ...
    def usual(self, instrument_id: int, channel: int) -> tuple[float, float]: ...
