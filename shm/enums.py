"""Enumerations that cross processes: their numbers are part of the memory layout.

Numbers are never reused. Zero is always "none" because fresh shared memory is zero. The few that C
code reads stand again in `native/shm_enums.h`; a contract test compares both files.
"""

from __future__ import annotations

from enum import IntEnum, IntFlag


class SegmentKind(IntEnum):
    """What a segment holds."""

    CONTROL = 1
    INSTRUMENTS = 2
    BOOKS = 3
    MARKET_RING = 4
    INTENT_RING = 5
    REPORT_RING = 6
    BLOB_RING = 7
    POSITIONS = 8
    LIMITS = 9
    METRICS = 10
    STATE = 11
    RATES = 12


class RateLane(IntEnum):
    """Who goes first where a venue's rate limit is short; a lane's share is kept from all lanes behind it."""

    CANCEL = 0
    RECONCILE = 1
    RESYNC = 2
    NEW = 3


class RateScope(IntEnum):
    """Whom a venue counts together."""

    ADDRESS = 1
    ACCOUNT = 2
    INSTRUMENT = 3  # of one account
    CONNECTION = 4


class RateUnit(IntEnum):
    """What a venue counts."""

    WEIGHT = 1
    REQUESTS = 2
    ORDERS = 3
    CONNECTS = 4
    MESSAGES = 5


class RateStop(IntEnum):
    """What a venue's refusal stops."""

    NEW = 1  # new orders that the bucket counts; cancels pass
    BUCKET = 2  # everything that the bucket counts
    ADDRESS = 3  # everything from that address


class WorkerState(IntEnum):
    """Life of the process in a worker slot, as the supervisor sees it (S0-36)."""

    NONE = 0
    NEW = 1
    STARTING = 2
    RUNNING = 3
    DRAINING = 4
    STOPPED = 5
    FAILED = 6
    STALLED = 7


class TradingState(IntEnum):
    """What orders may pass: all, only reducing ones, only cancels."""

    ACTIVE = 0
    REDUCING = 1
    HALTED = 2


class BookState(IntEnum):
    """How far a book may be trusted (`design`: the certificate)."""

    NONE = 0
    SYNCING = 1
    LIVE = 2
    STALE = 3
    DESYNC = 4


class BookReason(IntEnum):
    """Why a book's state last changed."""

    NONE = 0
    START = 1
    PROVEN = 2
    GAP = 3
    SOCKET_LOST = 4
    SILENCE = 5
    BAD_LEVEL = 6
    CROSSED = 7
    CLOCK = 8
    AUDIT = 9
    CHECKSUM = 10
    PUBLISHER_RESTART = 11
    SNAPSHOT_TOO_OLD = 12
    RESYNC_GRANTED = 13
    BUFFER_OVERFLOW = 14
    TIMESTAMP = 15
    SPREAD = 16
    PRICE_JUMP = 17
    VOLUME_SPIKE = 18
    ANOMALY = 19
    QUARANTINE = 20
    DELISTED = 21
    MAINTENANCE = 22
    RANGE = 23  # the market left the prices that the snapshot knew


class RecordKind(IntEnum):
    """Kinds of market-data records on a broadcast ring."""

    BOOK = 1
    BBO = 2
    TRADE = 3
    STATUS = 4
    MARK = 5
    LIQUIDATION = 6


class IntentKind(IntEnum):
    """The commands of an actor to the gateway."""

    NEW = 1
    CANCEL = 2
    REPLACE = 3
    MASS_CANCEL = 4
    MASS_STATUS = 5  # tell me my working orders


class ReportKind(IntEnum):
    """Kinds of execution reports."""

    NEW = 1
    FILL = 2
    CANCELED = 3
    REPLACED = 4
    REJECTED = 5
    DENIED = 6
    EXPIRED = 7
    CANCEL_REJECTED = 8
    REPLACE_REJECTED = 9
    UNKNOWN = 10
    STATUS = 11  # an order as it stands, or the end of an answer to MASS_STATUS


class Side(IntEnum):
    """Side of an order or aggressor of a trade."""

    NONE = 0
    BUY = 1
    SELL = 2


class OrderType(IntEnum):
    """How an order is priced."""

    LIMIT = 1
    MARKET = 2


class TimeInForce(IntEnum):
    """How long an order may rest."""

    GTC = 1
    IOC = 2
    FOK = 3


class OrderFlags(IntFlag):
    """Options of an order, and who sent it."""

    NONE = 0
    POST_ONLY = 1
    REDUCE_ONLY = 2
    FROM_HALT = 256
    FROM_SENTINEL = 512
    FROM_EMERGENCY = 1024


class OrderStatus(IntEnum):
    """Status of an order (FIX OrdStatus, plus DENIED and UNKNOWN)."""

    NONE = 0
    PENDING_NEW = 1
    NEW = 2
    PARTIALLY_FILLED = 3
    FILLED = 4
    PENDING_CANCEL = 5
    CANCELED = 6
    PENDING_REPLACE = 7
    REJECTED = 8
    EXPIRED = 9
    DENIED = 10
    UNKNOWN = 11


class RequestStatus(IntEnum):
    """What became of one command, apart from the order's own status."""

    NONE = 0
    SENT = 1
    ACCEPTED = 2
    REFUSED = 3
    TIMED_OUT = 4


class Liquidity(IntEnum):
    """Which side of a fill we were."""

    NONE = 0
    MAKER = 1
    TAKER = 2


class Reason(IntEnum):
    """Why an order was denied by our gate (1-99) or refused by a venue (100 up)."""

    NONE = 0
    HALTED = 1
    REDUCING = 2
    NO_CERTIFICATE = 3
    BOOK_NOT_LIVE = 4
    BOOK_EPOCH = 5
    BOOK_LIVE_ID = 6
    BOOK_SILENT = 7
    BOOK_OLD = 8
    BOOK_BUSY = 9
    INTENT_OLD = 10
    UNKNOWN_INSTRUMENT = 11
    INSTRUMENT_NOT_TRADING = 12
    PRICE_TICK = 13
    QUANTITY_LOT = 14
    QUANTITY_MIN = 15
    QUANTITY_MAX = 16
    NOTIONAL_MIN = 17
    ORDER_SIZE = 18
    POSITION = 19
    EXPOSURE = 20
    ORDER_RATE = 21
    OPEN_ORDERS = 22
    DUPLICATE_ID = 23
    UNKNOWN_ORDER = 24
    ORDER_TERMINAL = 25
    PRICE_BAND = 26
    GENERATION = 27
    WRONG_EPOCH = 28
    PUBLISHER_DEAD = 29
    BAD_INTENT = 30
    REDUCE_ONLY = 31
    JOURNAL = 32
    CORRELATION = 33  # with everything that moves along with it
    SENTINEL = 34  # nobody would cancel if we were gone
    POST_ONLY_WOULD_CROSS = 100
    VENUE_UNKNOWN_ORDER = 101
    VENUE_REJECTED = 102
    NOT_RECEIVED = 103
    FOK_NOT_FILLABLE = 104
    IOC_REMAINDER = 105
    USER_CANCEL = 106
    ORPHANED = 107
    MASS_CANCEL = 108
    SELF_TRADE = 109
    STOPPING = 110
    VENUE_MARGIN = 111  # not enough balance or margin, or too much for the leverage
    VENUE_FILTER = 112  # price, quantity or notional outside what the venue allows
    VENUE_LIMIT = 113  # a rate limit, or too many open orders
    VENUE_REDUCE_ONLY = 114
    VENUE_CLOCK = 115  # the request's time was outside the venue's window
    VENUE_ACCESS = 116  # key, signature, permission or account mode
    VENUE_BUSY = 117  # overloaded or in maintenance
    VENUE_INSTRUMENT = 118  # not trading at the venue


class InstrumentKind(IntEnum):
    """What kind of instrument a row describes."""

    SPOT = 1
    PERPETUAL = 2
    FUTURE = 3
    OPTION = 4


class InstrumentStatus(IntEnum):
    """Whether an instrument row may be traded."""

    TRADING = 1
    HALTED = 2
    DELISTED = 3
    RETIRED = 4


class JournalKind(IntEnum):
    """Kinds of journal records."""

    INSTRUMENT = 1
    INTENT = 2
    DENIED = 3
    SENT = 4
    REPORT = 5
    GENERATION = 6
    HALT = 7
    WORKER = 8
    NOTE = 9
    DISCREPANCY = 10  # ours and the venue's word differed, and what was done about it
    SLIPPAGE = 11  # what an order cost; in the journal of a strategy worker's measurements
    HELD = 12  # a command that was SENT to the session waits there: it has not left
    RELEASED = 13  # ... and leaves now
    AGREED = 14  # an account and its venue hold the same orders and positions
