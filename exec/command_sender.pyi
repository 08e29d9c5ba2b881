from collections.abc import Callable, Sequence

from exec.entry_writer import OrderEntries
from exec.lifecycle import Event
from exec.oms import Oms
from exec.order import Order
from exec.order_protocol import OrderProtocol, Request, RequestKind
from exec.session import OnVenueReport, VenueReport
from exec.venue_commands import Rates, SessionCounts, SessionTimes, VenueLink
from exec.venue_doubts import DoubtBook
from exec.venue_requests import RequestBook
from exec.venue_states import SessionState

REACHES_VENUE: frozenset[SessionState]
RETRY_NS: int

class Command:
    not_before_ns: int
    is_held: bool
    def __init__(self, kind: RequestKind, order: Order, since_ns: int, not_before_ns: int = 0) -> None: ...
    @property
    def kind(self) -> RequestKind: ...
    @property
    def order(self) -> Order: ...
    @property
    def since_ns(self) -> int: ...
    @property
    def new_id(self) -> int: ...

class CommandSender:
    on_report: OnVenueReport
    is_connected: bool
    entries: OrderEntries | None
    protocol: OrderProtocol
    oms: Oms
    link: VenueLink
    rates: Rates
    times: SessionTimes
    counts: SessionCounts
    state: SessionState
    offset_ns: int
    on_event: Callable[[str, str], None]
    on_wire: Callable[[int, int], None]
    requests: RequestBook
    doubts: DoubtBook
    traded: set[int]
    _utc_ns: Callable[[], int]
    _next_id: int
    _retry_ns: int | None
    _new_sent_ns: dict[int, int]
    def __init__(
        self,
        protocol: OrderProtocol,
        oms: Oms,
        link: VenueLink,
        *,
        utc_ns: Callable[[], int],
        rates: Rates,
        times: SessionTimes,
        on_event: Callable[[str, str], None],
    ) -> None: ...
    def accepts(self, kind: int, instrument_id: int) -> bool: ...
    def new(self, order: Order, now_ns: int) -> None: ...
    def cancel(self, order: Order, now_ns: int) -> None: ...
    def replace(self, order: Order, now_ns: int) -> None: ...
    @property
    def utc_ns(self) -> int: ...
    @property
    def in_doubt(self) -> int: ...
    @property
    def queued(self) -> int: ...
    def flush(self, now_ns: int) -> None: ...
    def pay(self, requests: Sequence[Request], now_ns: int) -> int: ...
    def send(
        self, request: Request, now_ns: int, orders: Sequence[Order] = (), is_paid: bool = False
    ) -> int: ...
    def refuse_queue(self, now_ns: int, *, cancels: bool) -> None: ...
    def requeue_cancel(self, order: Order, not_before_ns: int, now_ns: int) -> None: ...
    def hasten_cancel(self, order: Order, now_ns: int) -> None: ...
    @staticmethod
    def report_of(event: Event, order: Order, reason: int) -> VenueReport: ...
    def forget(self) -> None: ...
    def take_id(self) -> int: ...
    def not_found_ns(self, order: Order, now_ns: int) -> int: ...
    def doubt(self, order: Order, now_ns: int, delay_ns: int = 0, *, must_ask: bool = False) -> None: ...
