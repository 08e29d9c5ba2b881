from typing import NamedTuple

EPOCH_BITS: int
SLOT_BITS: int
INCARNATION_BITS: int
COUNTER_BITS: int
TERMINAL: frozenset[int]

class ClientOrderId(NamedTuple):
    epoch: int
    worker_slot: int
    incarnation: int
    counter: int

def make_client_order_id(epoch: int, worker_slot: int, incarnation: int, counter: int) -> int: ...
def split_client_order_id(client_order_id: int) -> ClientOrderId: ...

class Order:
    ack_ns: int
    acknowledged: bool
    actor_id: int
    aliases: list[int]
    client_order_id: int
    decide_ns: int
    epoch: int
    fill_product: int
    filled_units: int
    flags: int
    frame_ns: int
    gate_ns: int
    generation: int
    incarnation: int
    instrument_id: int
    is_pending_cancel: bool
    is_pending_replace: bool
    leaves_units: int
    new_client_order_id: int
    new_price_units: int
    new_units: int
    order_type: int
    order_units: int
    price_units: int
    reason: int
    request_ns: int
    request_status: int
    reserved_product: int
    reserved_units: int
    root_client_order_id: int
    send_ns: int
    sent: bool
    side: int
    status: int
    time_in_force: int
    trade_ids: set[int] | None
    value_price_units: int
    venue_order_id: int
    worker_slot: int
    def __init__(
        self, client_order_id: int, instrument_id: int, side: int, price_units: int, order_units: int
    ) -> None: ...
    @property
    def is_terminal(self) -> bool: ...
    @property
    def avg_price_units(self) -> int: ...
    def working_status(self) -> int: ...
    def has_new_terms(self, price_units: int, units: int) -> bool: ...
    def take_terms(self, price_units: int, units: int) -> None: ...
