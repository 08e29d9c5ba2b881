from collections.abc import Callable, Iterable, Sequence
from typing import Never, Protocol

from risk.exposure import ExposureBook
from risk.limits import Limits
from risk.rate import OrderRate
from shm.book import BookSlab
from shm.control import Control
from shm.enums import Reason, TradingState
from shm.instruments import InstrumentTable
from shm.records import IntentRecord

class _HaltWord(Protocol):
    def halt_state(self) -> tuple[TradingState, int]: ...
    @property
    def generation(self) -> int: ...

class _WorkingOrder(Protocol):
    instrument_id: int
    side: int
    price_units: int
    filled_units: int
    leaves_units: int
    reserved_units: int
    reserved_product: int
    order_type: int
    @property
    def is_terminal(self) -> bool: ...

class LivingWorkers:
    def __init__(self, control: Control, states: Iterable[int]) -> None: ...
    def __call__(self, slot: int) -> bool: ...

class Gate:
    epoch: int
    generation: int
    control: _HaltWord
    slab_of: Callable[[int], BookSlab]
    exposures: ExposureBook
    instruments: InstrumentTable
    find_order: Callable[[int], _WorkingOrder | None]
    rate: OrderRate
    def __init__(
        self,
        *args: Never,
        epoch: int,
        control: _HaltWord,
        slab_of: Callable[[int], BookSlab],
        is_alive: Callable[[int], bool],
        limits: Limits,
        exposures: ExposureBook,
        instruments: InstrumentTable,
        find_order: Callable[[int], _WorkingOrder | None],
        limits_of: dict[int, Limits] | None = None,
    ) -> None: ...
    @property
    def is_alive(self) -> Callable[[int], bool]: ...
    @property
    def limits(self) -> Limits: ...
    @property
    def limits_of(self) -> dict[int, Limits]: ...
    def set_limits(self, limits: Limits, limits_of: dict[int, Limits] | None = None) -> None: ...
    def set_groups(self, groups: Iterable[Sequence[tuple[int, int]]]) -> None: ...
    def check(self, intent: IntentRecord, now_ns: int) -> Reason: ...
    def rehearse(self, intent: IntentRecord, now_ns: int) -> Reason: ...
