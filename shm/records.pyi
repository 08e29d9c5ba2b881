from typing import NamedTuple, Never, Self, final

from typing_extensions import Buffer, disjoint_base

from shm.record_fields import FIELD_NAMES as FIELD_NAMES

MARKET_RECORD_BYTES: int
INTENT_RECORD_BYTES: int
REPORT_RECORD_BYTES: int
CERTIFICATES_MAX: int

class CertificateRef(NamedTuple):
    instrument_id: int
    epoch: int
    live_id: int
    last_sequence: int

@disjoint_base
class Record:
    def __init__(self, *args: Never, **fields: int) -> None: ...
    @property
    def size_bytes(self) -> int: ...
    def load(self, buffer: Buffer, offset: int = 0) -> None: ...
    def store_into(self, buffer: Buffer, offset: int = 0) -> None: ...
    def to_bytes(self) -> bytes: ...
    @classmethod
    def from_bytes(cls, data: Buffer) -> Self: ...
    def reset(self) -> None: ...
    def copy(self) -> Self: ...
    def __eq__(self, other: object, /) -> bool: ...
    __hash__ = None  # type: ignore[assignment]

@final
class MarketRecord(Record):
    kind: int
    book_state: int
    side: int
    instrument_id: int
    epoch: int
    live_id: int
    last_sequence: int
    value0: int
    value1: int
    value2: int
    value3: int
    frame_ns: int
    publish_ns: int
    venue_utc_ns: int
    reason: int
    bid_count: int
    ask_count: int
    flags: int
    def __init__(
        self,
        *args: Never,
        kind: int = ...,
        book_state: int = ...,
        side: int = ...,
        instrument_id: int = ...,
        epoch: int = ...,
        live_id: int = ...,
        last_sequence: int = ...,
        value0: int = ...,
        value1: int = ...,
        value2: int = ...,
        value3: int = ...,
        frame_ns: int = ...,
        publish_ns: int = ...,
        venue_utc_ns: int = ...,
        reason: int = ...,
        bid_count: int = ...,
        ask_count: int = ...,
        flags: int = ...,
    ) -> None: ...
    @property
    def bid_price_units(self) -> int: ...
    @property
    def bid_quantity_units(self) -> int: ...
    @property
    def ask_price_units(self) -> int: ...
    @property
    def ask_quantity_units(self) -> int: ...
    @property
    def price_units(self) -> int: ...
    @property
    def quantity_units(self) -> int: ...
    @property
    def trade_id(self) -> int: ...
    @property
    def index_price_units(self) -> int: ...
    @property
    def funding_rate_units(self) -> int: ...
    @property
    def mark_exponent(self) -> int: ...
    @property
    def funding_rate_exponent(self) -> int: ...
    @property
    def next_funding_utc_ns(self) -> int: ...

@final
class IntentRecord(Record):
    kind: int
    side: int
    order_type: int
    time_in_force: int
    flags: int
    actor_id: int
    instrument_id: int
    worker_slot: int
    incarnation: int
    epoch: int
    generation: int
    client_order_id: int
    orig_client_order_id: int
    price_units: int
    quantity_units: int
    frame_ns: int
    publish_ns: int
    drain_ns: int
    decide_ns: int
    def __init__(
        self,
        *args: Never,
        kind: int = ...,
        side: int = ...,
        order_type: int = ...,
        time_in_force: int = ...,
        flags: int = ...,
        actor_id: int = ...,
        instrument_id: int = ...,
        worker_slot: int = ...,
        incarnation: int = ...,
        epoch: int = ...,
        generation: int = ...,
        client_order_id: int = ...,
        orig_client_order_id: int = ...,
        price_units: int = ...,
        quantity_units: int = ...,
        frame_ns: int = ...,
        publish_ns: int = ...,
        drain_ns: int = ...,
        decide_ns: int = ...,
    ) -> None: ...
    @property
    def certificate_count(self) -> int: ...
    @property
    def certificates(self) -> list[CertificateRef]: ...
    def add_certificate(self, instrument_id: int, epoch: int, live_id: int, last_sequence: int) -> None: ...
    def clear_certificates(self) -> None: ...
    def certificate(self, index: int) -> CertificateRef: ...

@final
class ReportRecord(Record):
    kind: int
    side: int
    order_status: int
    request_status: int
    liquidity: int
    reason: int
    actor_id: int
    instrument_id: int
    client_order_id: int
    orig_client_order_id: int
    venue_order_id: int
    trade_id: int
    price_units: int
    order_units: int
    filled_units: int
    leaves_units: int
    last_units: int
    last_price_units: int
    fee_units: int
    position_units: int
    frame_ns: int
    decide_ns: int
    gate_ns: int
    send_ns: int
    ack_ns: int
    report_ns: int
    venue_utc_ns: int
    generation: int
    epoch: int
    def __init__(
        self,
        *args: Never,
        kind: int = ...,
        side: int = ...,
        order_status: int = ...,
        request_status: int = ...,
        liquidity: int = ...,
        reason: int = ...,
        actor_id: int = ...,
        instrument_id: int = ...,
        client_order_id: int = ...,
        orig_client_order_id: int = ...,
        venue_order_id: int = ...,
        trade_id: int = ...,
        price_units: int = ...,
        order_units: int = ...,
        filled_units: int = ...,
        leaves_units: int = ...,
        last_units: int = ...,
        last_price_units: int = ...,
        fee_units: int = ...,
        position_units: int = ...,
        frame_ns: int = ...,
        decide_ns: int = ...,
        gate_ns: int = ...,
        send_ns: int = ...,
        ack_ns: int = ...,
        report_ns: int = ...,
        venue_utc_ns: int = ...,
        generation: int = ...,
        epoch: int = ...,
    ) -> None: ...
