from collections.abc import Callable
from typing import Any

from actors.runtime.intents import Moment
from shm.metrics import Metrics
from shm.records import IntentRecord, MarketRecord, ReportRecord
from shm.ring import Subscriber
from shm.spsc import Consumer

class Route:
    handler: Callable[[MarketRecord], object]
    binding: Any
    name: str
    active: bool
    rank: int
    def __init__(
        self, handler: Callable[[MarketRecord], object], binding: object, name: str, rank: int = 0
    ) -> None: ...

class Source:
    order: int
    index: int
    def __init__(self) -> None: ...
    def poll_now(self, limit: int = 256) -> int: ...
    @property
    def pending(self) -> bool: ...

class MarketSource(Source):
    on_lapped: Callable[[int], None] | None
    def __init__(
        self,
        mailbox: Mailbox,
        subscriber: Subscriber,
        order: int,
        on_lapped: Callable[[int], None] | None = None,
    ) -> None: ...

class ReportSource(Source):
    record: ReportRecord
    deliver: Callable[[ReportRecord], None]
    def __init__(
        self, mailbox: Mailbox, consumer: Consumer, order: int, deliver: Callable[[ReportRecord], None]
    ) -> None: ...

class IntentSource(Source):
    handler: Callable[[Any, int, IntentRecord], None]
    argument: Any
    def __init__(
        self,
        consumer: Consumer,
        order: int,
        handler: Callable[[Any, int, IntentRecord], None],
        argument: object,
    ) -> None: ...
    @property
    def record(self) -> IntentRecord: ...

class CallSource(Source):
    def __init__(self, order: int, call: Callable[[int], int], check: Callable[[], bool]) -> None: ...

class Mailbox:
    on_error: Callable[[Route, Exception], None] | None
    def __init__(self, moment: Moment, metrics: Metrics) -> None: ...
    @property
    def moment(self) -> Moment: ...
    @property
    def record(self) -> MarketRecord: ...
    @property
    def sources(self) -> list[Source]: ...
    @property
    def cycles(self) -> int: ...
    @property
    def last_cycle_ns(self) -> int: ...
    @property
    def cycle_ns_max(self) -> int: ...
    def add_source(self, source: Source) -> None: ...
    def add_route(self, kind: int, instrument_id: int, route: Route) -> None: ...
    def remove_routes(self, binding: object) -> None: ...
    def deliver(self, record: MarketRecord) -> None: ...
    def drain(self, limit: int = 256) -> int: ...
    def has_pending(self) -> bool: ...
