"""What the intents of one ring meet in a gateway: the account's own orders, or those of a rehearsal."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from exec.entries import EntryWriter
from exec.oms import Oms
from exec.session import OrderSession
from shm.enums import Reason
from shm.histogram import Histogram
from shm.records import IntentRecord

OnIntent = Callable[["Lane", int, IntentRecord], None]


@dataclass(slots=True)
class Lane:
    """One way from the ring to the wire.

    Args:
        slot: of the worker whose ring it is.
        consumed: ring sequence up to which intents were journaled by the process before this one.
        judge: the gate's verdict on an intent at a time.
        oms, session, entries: see `exec.flow.process_intent`.
        intent_ns: how old intents are when they are taken up.
        gate_ns: how long the verdict takes.
        is_real: False = nobody sent these, and nothing of them may be seen anywhere.
    """

    slot: int
    consumed: int
    judge: Callable[[IntentRecord, int], Reason]
    oms: Oms
    session: OrderSession
    entries: EntryWriter
    intent_ns: Histogram
    gate_ns: Histogram
    is_real: bool = True
