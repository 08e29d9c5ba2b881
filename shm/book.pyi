from collections.abc import Sequence
from typing import NamedTuple, Never, Self

import numpy as np
import numpy.typing as npt
from typing_extensions import Buffer, disjoint_base

DEPTH_MAX: int

class Certificate(NamedTuple):
    instrument_id: int = 0
    state: int = 0
    epoch: int = 0
    live_id: int = 0
    last_sequence: int = 0
    data_ns: int = 0
    venue_utc_ns: int = 0
    publish_ns: int = 0
    audit_ns: int = 0
    stream: int = 0
    reason: int = 0
    gaps: int = 0
    resyncs: int = 0

class TradeTotals(NamedTuple):
    buy_count: int = 0
    sell_count: int = 0
    buy_quantity_units: int = 0
    sell_quantity_units: int = 0
    buy_notional: int = 0
    sell_notional: int = 0
    last_trade_id: int = 0
    last_price_units: int = 0

class BookSnapshot(NamedTuple):
    certificate: Certificate
    totals: TradeTotals
    bids: tuple[tuple[int, int], ...]
    asks: tuple[tuple[int, int], ...]

@disjoint_base
class BookSlab:
    def __init__(self, *args: Never, **kwargs: Never) -> None: ...
    @staticmethod
    def bytes_needed(depth: int, capacity: int, streams: int) -> int: ...
    @staticmethod
    def create(buffer: Buffer, depth: int, capacity: int, streams: int, owner_slot: int) -> BookSlab: ...
    @staticmethod
    def attach(buffer: Buffer) -> BookSlab: ...
    @property
    def depth(self) -> int: ...
    @property
    def capacity(self) -> int: ...
    @property
    def streams(self) -> int: ...
    @property
    def owner_slot(self) -> int: ...
    def store(
        self,
        instrument_id: int,
        certificate: Certificate,
        totals: TradeTotals,
        bids: Sequence[tuple[int, int]],
        asks: Sequence[tuple[int, int]],
    ) -> None: ...
    def load(self, instrument_id: int) -> BookSnapshot | None: ...
    def load_into(
        self, instrument_id: int, bids: npt.NDArray[np.int64], asks: npt.NDArray[np.int64]
    ) -> int: ...
    def certificate(self, instrument_id: int) -> Certificate | None: ...
    def totals(self, instrument_id: int) -> TradeTotals | None: ...
    def stream_alive_ns(self, stream: int) -> int: ...
    def touch_stream(self, stream: int, now_ns: int) -> None: ...

@disjoint_base
class BookReader:
    def __new__(cls, slab: BookSlab, bids: npt.NDArray[np.int64], asks: npt.NDArray[np.int64]) -> Self: ...
    @property
    def slab(self) -> BookSlab: ...
    @property
    def bids(self) -> npt.NDArray[np.int64]: ...
    @property
    def asks(self) -> npt.NDArray[np.int64]: ...
    @property
    def state(self) -> int: ...
    @property
    def last_sequence(self) -> int: ...
    def load(self, instrument_id: int) -> int: ...
    def certificate(self) -> Certificate: ...
    def totals(self) -> TradeTotals: ...
