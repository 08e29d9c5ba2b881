from collections.abc import Sequence
from enum import IntEnum
from typing import NamedTuple, Self

import numpy as np
import numpy.typing as npt
from typing_extensions import disjoint_base

from shm.book import BookSlab, Certificate
from shm.instruments import Instrument

LEGS_MAX: int

class Standing(IntEnum):
    IN = 0
    NOT_LIVE = 1
    BUSY = 2
    SILENT = 3
    OLD = 4
    UNFIT = 5

class MergedLeg(NamedTuple):
    instrument_id: int
    venue_id: int
    standing: Standing
    certificate: Certificate
    alive_ns: int
    bid_price_units: int
    bid_quantity_units: int
    ask_price_units: int
    ask_quantity_units: int
    price_scale: int
    quantity_scale: int

@disjoint_base
class MergedBook:
    def __new__(
        cls,
        slabs: Sequence[BookSlab],
        rows: Sequence[Instrument],
        depth: int = 32,
        *,
        max_silence_ns: int = 2_000_000_000,
        max_data_age_ns: int = 0,
    ) -> Self: ...
    @property
    def rows(self) -> tuple[Instrument, ...]: ...
    @property
    def bids(self) -> npt.NDArray[np.int64]: ...
    @property
    def asks(self) -> npt.NDArray[np.int64]: ...
    @property
    def price_exponent(self) -> int: ...
    @property
    def quantity_exponent(self) -> int: ...
    @property
    def depth(self) -> int: ...
    @property
    def mask(self) -> int: ...
    @property
    def bid_count(self) -> int: ...
    @property
    def ask_count(self) -> int: ...
    @property
    def bid_whole(self) -> int: ...
    @property
    def ask_whole(self) -> int: ...
    @property
    def merged_ns(self) -> int: ...
    @property
    def max_silence_ns(self) -> int: ...
    @property
    def max_data_age_ns(self) -> int: ...
    @property
    def is_crossed(self) -> bool: ...
    @property
    def is_locked(self) -> bool: ...
    def merge(self, now_ns: int) -> int: ...
    def leg(self, index: int) -> MergedLeg: ...
    def certificates(self) -> list[Certificate]: ...
