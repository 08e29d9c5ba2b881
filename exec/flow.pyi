from collections.abc import Callable, Iterable

from exec.entries import EntryWriter
from exec.oms import Oms
from exec.order import Order
from exec.session import OrderSession
from shm.records import IntentRecord

def process_intent(
    intent: IntentRecord,
    reason: int,
    ring_sequence: int,
    from_slot: int,
    oms: Oms,
    session: OrderSession,
    entries: EntryWriter,
    clock: Callable[[], int],
    now_ns: int,
) -> Order | None: ...
def send_new(
    intent: IntentRecord,
    oms: Oms,
    session: OrderSession,
    entries: EntryWriter,
    clock: Callable[[], int],
    now_ns: int,
) -> Order | None: ...
def send_replace(
    intent: IntentRecord,
    oms: Oms,
    session: OrderSession,
    entries: EntryWriter,
    clock: Callable[[], int],
    now_ns: int,
) -> Order | None: ...
def cancel_orders(
    orders: Iterable[Order],
    oms: Oms,
    session: OrderSession,
    entries: EntryWriter,
    clock: Callable[[], int],
    now_ns: int,
) -> int: ...
