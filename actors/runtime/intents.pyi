from collections.abc import Iterable

from shm.metrics import Metrics
from shm.spsc import Producer

class Clock:
    virtual_ns: int
    def __init__(self, virtual_ns: int = 0) -> None: ...
    def now_ns(self) -> int: ...

class Moment:
    instrument_id: int
    def __init__(self, clock: Clock, capacity: int) -> None: ...
    @property
    def clock(self) -> Clock: ...
    @property
    def capacity(self) -> int: ...
    @property
    def drain_ns(self) -> int: ...
    def certificate(self, instrument_id: int) -> tuple[int, int, int]: ...

class OrderIds:
    def __init__(self, base: int) -> None: ...
    @property
    def base(self) -> int: ...
    @property
    def counter(self) -> int: ...
    def next(self) -> int: ...

class IntentPort:
    generation: int
    def __init__(
        self,
        producer: Producer,
        moment: Moment,
        ids: OrderIds,
        metrics: Metrics,
        *,
        actor_id: int,
        worker_slot: int,
        incarnation: int,
        epoch: int,
        generation: int,
    ) -> None: ...
    def new_order(
        self,
        instrument_id: int,
        side: int,
        price_units: int,
        quantity_units: int,
        order_type: int = 1,
        time_in_force: int = 1,
        flags: int = 0,
        certificates: Iterable[int] | None = None,
    ) -> int | None: ...
    def replace(
        self,
        orig_client_order_id: int,
        instrument_id: int,
        side: int,
        price_units: int,
        quantity_units: int,
        flags: int = 0,
        certificates: Iterable[int] | None = None,
    ) -> int | None: ...
    def command(
        self, kind: int, instrument_id: int, orig_client_order_id: int = 0, flags: int = 0
    ) -> int | None: ...
