"""One venue's order entry as bytes: requests out, the venue's words in. No sockets, no clocks, no tasks.

A protocol turns orders into `Request`s and frames or HTTP bodies into `Word`s. Who owns sockets, timers,
rates and retries is `exec.venue_session`; who sends REST requests is the account actor. A protocol keeps no
state but what the venue's rules demand (a listen key, an instrument code).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from math import inf
from typing import ClassVar, Protocol

from exec.foreign_fees import ForeignFees
from exec.order import Order
from exec.request import Request as Request
from exec.session import VenueReport
from shm.enums import Reason
from shm.instruments import Instrument


class RequestKind(IntEnum):
    """What a request asks for."""

    NEW = 1
    REPLACE = 2
    CANCEL = 3
    MASS_CANCEL = 4
    QUERY = 5  # one order, by client order id: its state
    OPEN_ORDERS = 6
    POSITIONS = 7
    FILLS = 8
    BALANCES = 9
    LISTEN_KEY = 10  # make one
    LISTEN_KEY_KEEP = 11
    DEAD_MAN = 12  # arm, refresh (timeout > 0) or disarm (0) the venue's own cancel-all timer
    SERVER_TIME = 13
    LOGIN = 14
    ACCOUNT = 15  # leverage, margin and position mode, fees


class Lane(IntEnum):
    """Whose turn it is when requests are scarce, most urgent first; the numbers of `shm.rate_ledger`."""

    CANCEL = 0
    RECONCILE = 1
    RESYNC = 2
    NEW = 3


class Way(IntEnum):
    """How a request travels."""

    ORDER_SOCKET = 1
    REST = 2


class Channel(IntEnum):
    """Where a frame came from."""

    ORDER_SOCKET = 1
    PRIVATE_STREAM = 2
    REST = 3
    SPARE_STREAM = 4  # the private stream's other socket while one replaces the other
    SPARE_ORDERS = 5  # likewise the order socket's

    @property
    def spare(self) -> Channel:
        """The other socket of an order socket or private stream."""
        return Channel.SPARE_ORDERS if self is Channel.ORDER_SOCKET else Channel.SPARE_STREAM

    @property
    def meaning(self) -> Channel:
        """What it carries: a spare socket carries what its first one does."""
        if self is Channel.SPARE_ORDERS:
            return Channel.ORDER_SOCKET
        return Channel.PRIVATE_STREAM if self is Channel.SPARE_STREAM else self


class Action(IntEnum):
    """What an answer that is no success obliges us to do; the venue's table gives each code its own."""

    REFUSED = 1  # the venue's word that nothing was done: final
    ASK = 2  # it may have been done: the order is UNKNOWN until a query is answered
    WAIT = 3  # a rate limit: nothing was done, obey `wait_ns`, all processes
    RELOGIN = 4  # session or listen key is over: log in again; nothing was done
    RESYNC_TIME = 5  # our clock is off at the venue: measure the offset; nothing was done
    STOP = 6  # key, permission, account or address is refused: nothing may be sent until a human looks
    DONE = 7  # says no, but what was wanted holds (dead already, mode is set already)


# ---- what a venue says -------------------------------------------------------------------------------


@dataclass(slots=True)
class Answer:
    """The venue's answer to a request, or to one order of a batch request.

    Args:
        request_id: of the request; 0 when the venue does not say.
        is_ok: it was accepted (an acknowledgment; what became of the order comes as VenueReports).
        reason: ours, for what was refused.
        action: what follows when it was not accepted.
        code, text: the venue's own words, for log and audit.
        order_id: root client order id of the one order concerned, 0 = all of the request.
        reports: what it says about orders, ready for the OMS.
        filled_units: how much of that order is filled in all; -1 = it does not say.
        is_last: no further answer to this request follows (False for the items of a batch but the last).
    """

    request_id: int
    is_ok: bool
    reason: Reason = Reason.NONE
    action: Action = Action.REFUSED
    code: str = ""
    text: str = ""
    order_id: int = 0
    wait_ns: int = 0
    reports: list[VenueReport] = field(default_factory=list)
    is_last: bool = True
    filled_units: int = -1


@dataclass(frozen=True, slots=True)
class OpenOrderWord:
    """An order that rests at the venue now, ours (client_order_id > 0) or anyone's (0)."""

    client_order_id: int
    instrument_id: int  # -1: an instrument this run does not trade; `symbol` names it
    symbol: str
    side: int
    price_units: int
    order_units: int
    filled_units: int
    venue_order_id: str
    client_text: str
    reduce_only: bool = False
    venue_utc_ns: int = 0


@dataclass(frozen=True, slots=True)
class PositionWord:
    """A signed position in the venue's quantity unit, and its average entry price (0 = flat)."""

    instrument_id: int
    symbol: str
    position_units: int
    avg_price_units: int
    venue_utc_ns: int = 0


@dataclass(frozen=True, slots=True)
class BalanceWord:
    """A balance in 10^-8 of its asset."""

    asset: str
    total_e8: int
    available_e8: int
    venue_utc_ns: int = 0


class Sign(IntEnum):
    """What a ControlWord says about the connection."""

    LOGGED_IN = 1
    LOGIN_REFUSED = 2
    SUBSCRIBED = 3
    SUBSCRIBE_REFUSED = 4
    PONG = 5
    PING = 6  # wants `reply` sent back
    LISTEN_KEY = 7  # `text` is the new key
    LISTEN_KEY_EXPIRED = 8
    CLOSING = 9  # the venue announces that it will end the connection
    MAINTENANCE = 10
    USED = 11  # `values`: purpose -> used, `limits`: purpose -> limit, from headers or a rateLimits array
    SERVER_TIME = 12  # `venue_utc_ns`
    DEAD_MAN = 13  # the venue's timer fired or was set
    SNAPSHOT_END = 14  # the answer to OPEN_ORDERS, POSITIONS, FILLS or BALANCES (request_id) is complete
    MORE = 15  # the answer has another page: `text` is its cursor (request_id)
    MARGIN_CALL = 16
    FORCED = 17  # the venue trades on the account: liquidation, deleveraging, settlement; `text` says which


@dataclass(frozen=True, slots=True)
class ControlWord:
    """Something about the connection or the account, not about an order."""

    sign: Sign
    request_id: int = 0
    text: str = ""
    reply: bytes = b""
    venue_utc_ns: int = 0
    values: Mapping[str, int] = field(default_factory=dict)
    limits: Mapping[str, int] = field(default_factory=dict)


Word = Answer | VenueReport | OpenOrderWord | PositionWord | BalanceWord | ControlWord


class Directory(Protocol):
    """The instruments a protocol speaks about."""

    def row(self, instrument_id: int) -> Instrument:
        """The row; raises KeyError for an id that is not of this account's venues."""

    def find(self, venue_id: int, symbol: str) -> Instrument | None:
        """The current row of a venue's own symbol, or None."""


class OrderProtocol(ABC):
    """A venue's order entry; every method is pure but for the venue's own session facts.

    `utc_ns` is our wall clock corrected by the venue's offset; it goes into signatures. `request_id` counts
    up by one per request. Encoders raise OrderError, naming order and field, when the venue has no form for
    an order (a FOK post-only, a batch above the limit) before anything is sent; decoders raise DecodeError
    (exec.errors) naming what is wrong with a frame and where, and change nothing.
    """

    #: Fees paid in other assets than the instruments settle in.
    foreign_fees: ForeignFees
    name: ClassVar[str]
    venue_ids: ClassVar[tuple[int, ...]]
    max_new_batch: ClassVar[int]
    max_cancel_batch: ClassVar[int]
    max_replace_batch: ClassVar[int]
    has_replace: ClassVar[bool] = True
    #: Seconds between application pings that the venue demands; 0 = none (control frames suffice).
    ping_s: ClassVar[float] = 0.0
    #: A new order or an amendment that reaches the venue later than so many seconds after its timestamp is
    #: refused there. Until then nobody can say of an order that the venue does not know that it never will.
    request_life_s: float = 5.0
    #: From how many commands of one duty cycle a batch is worth it: more where batches go a slower way.
    batch_from: ClassVar[int] = 2
    #: How many SUBSCRIBED words the answers to `subscribes` bring.
    subscriptions: ClassVar[int] = 1
    #: Name of the constructor's option that makes a private connection the venue's dead man: it cancels when
    #: the last of these is gone. "" = the timers of `dead_man` alone do.
    dead_man_option: ClassVar[str] = ""
    #: What the timers of `dead_man` can be set to at most, in seconds.
    dead_man_max_s: ClassVar[float] = inf
    #: Base address of REST requests at the real venue.
    rest_url: ClassVar[str] = ""

    # ---- connections ----

    @abstractmethod
    def order_url(self) -> str:
        """Address of the order socket."""

    @abstractmethod
    def private_url(self) -> str:
        """Address of the private stream; raises OrderError while a listen key is needed and missing."""

    @abstractmethod
    def opening_requests(self, first_request_id: int, utc_ns: int) -> Sequence[Request]:
        """What REST must have answered before the private stream is opened (a listen key); often nothing."""

    @abstractmethod
    def logins(self, channel: Channel, request_id: int, utc_ns: int) -> Sequence[bytes]:
        """Frames to send first on a new connection: the login; may be empty."""

    @abstractmethod
    def subscribes(self, request_id: int, utc_ns: int) -> Sequence[bytes]:
        """Frames to send on the private stream once logged in; may be empty."""

    @abstractmethod
    def ping(self, utc_ns: int) -> bytes:
        """The application ping; empty where none is demanded."""

    @abstractmethod
    def keep_alive(self, request_id: int, utc_ns: int) -> Request | None:
        """What keeps the session valid (a listen key's PUT), each `keep_alive_s`; None: nothing."""

    keep_alive_s: ClassVar[float] = 0.0

    # ---- orders ----

    @abstractmethod
    def new(self, orders: Sequence[Order], request_id: int, utc_ns: int) -> Request:
        """Place one order, or several (at most max_new_batch, of one family) in one request."""

    @abstractmethod
    def cancel(
        self, orders: Sequence[Order], request_id: int, utc_ns: int, lane: Lane = Lane.CANCEL
    ) -> Request:
        """Cancel one order or several by client order id."""

    @abstractmethod
    def replace(self, orders: Sequence[Order], request_id: int, utc_ns: int) -> Request:
        """Amend to `order.new_price_units` and `order.new_units` (the new total quantity)."""

    @abstractmethod
    def cancel_foreign(
        self, orders: Sequence[OpenOrderWord], request_id: int, utc_ns: int
    ) -> Sequence[Request]:
        """Cancel orders by the venue's id (manual ones, another program's)."""

    def batch_key(self, kind: RequestKind, order: Order) -> int:
        """Orders with equal keys may share a batch request of that kind."""
        del kind, order
        return 0

    def has_position(self, instrument_id: int) -> bool:
        """Whether POSITIONS tells of an instrument: of a contract, but not of what is bought outright."""
        del instrument_id
        return True

    @abstractmethod
    def mass_cancel(self, instrument_ids: Sequence[int], request_id: int, utc_ns: int) -> Sequence[Request]:
        """Cancel all that rests at these instruments, whoever placed it, in the venue's fewest requests.

        Empty = everything the account has; where the venue has no such request, the caller asks OPEN_ORDERS
        and cancels what it names (the answer is then an empty sequence).
        """

    # ---- questions ----

    @abstractmethod
    def query(self, order: Order, request_id: int, utc_ns: int) -> Sequence[Request]:
        """Ask what became of one order: fills, then its state; a VenueReport NOT_FOUND when it has none."""

    def fills_of(self, order: Order, request_id: int, utc_ns: int) -> Sequence[Request]:
        """Ask for all fills of one order (kind FILLS); empty where `query` brings them."""
        del order, request_id, utc_ns
        return ()

    @abstractmethod
    def snapshot(
        self, kind: RequestKind, request_id: int, utc_ns: int, *, since_utc_ns: int = 0, cursor: str = ""
    ) -> Sequence[Request]:
        """Ask OPEN_ORDERS, POSITIONS, FILLS (since) or BALANCES; one request per product family if needed."""

    @abstractmethod
    def dead_man(self, timeout_s: float, request_id: int, utc_ns: int) -> Sequence[Request]:
        """Arm or refresh the venue's cancel-all timer; 0 disarms. Empty where the venue has none."""

    @abstractmethod
    def server_time(self, request_id: int) -> Request:
        """Ask the venue's clock (not signed)."""

    # ---- listening ----

    @abstractmethod
    def decode(self, frame: bytes, channel: Channel) -> list[Word]:
        """The words of a websocket frame, in the venue's order; unknown kinds give none."""

    @abstractmethod
    def decode_rest(
        self, request: Request, status: int, headers: Mapping[str, str], body: bytes
    ) -> list[Word]:
        """The words of a REST answer; `status` 0 = none came (timeout, reset): an Answer with Action.ASK."""
