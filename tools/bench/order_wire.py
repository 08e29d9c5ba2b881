"""From the gate's verdict to the bytes of a request, venue by venue: warm, from cold caches, and gathered.

The real journal, OMS, session and encoder with its signature, and a link that takes the bytes and drops them.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from exec.entries import EntryWriter
from exec.flow import process_intent
from exec.lifecycle import Event
from exec.oms import Oms
from exec.order import make_client_order_id
from exec.order_protocol import Request
from exec.session import VenueReport
from exec.venue_session import VenueSession
from exec.venue_sessions import TableDirectory, VenueSessions
from exec.venue_states import SessionState
from risk.exposure import ExposureBook
from shm.clock import now_ns, utc_ns
from shm.enums import OrderFlags
from shm.instruments import Instrument, InstrumentTable
from shm.journal import Journal
from shm.records import IntentRecord
from tools.bench.common import OURS, Measurement
from tools.venues.bench_accounts import INSTRUMENTS, ready_protocol

PRICE, UNITS = 6_000_000, 100
#: More than the first and second level of any cache; walked through before each order that shall be cold.
COLD_BYTES = 8 << 20
#: Orders of one duty cycle.
GATHERED = 20
WARM = 200
_CANCELED = int(Event.CANCELED)


class CountingLink:
    """Takes requests and counts them; connections are nobody's business here."""

    def __init__(self) -> None:
        self.requests = 0

    def send_order(self, frame: bytes) -> bool:
        """Take a frame."""
        del frame
        self.requests += 1
        return True

    def send_rest(self, request: Request) -> bool:
        """Take a REST request."""
        del request
        self.requests += 1
        return True


class OrderWire:
    """One account at one venue, its session up.

    Args:
        name: of the protocol.
        directory: of the journal.
    """

    def __init__(self, name: str, directory: Path) -> None:
        venue_id, symbol = INSTRUMENTS[name]
        table = InstrumentTable.create(bytearray(InstrumentTable.bytes_needed(1)), 1)
        table.add(
            Instrument(
                venue_id=venue_id,
                symbol=symbol,
                price_exponent=2,
                quantity_exponent=3,
                tick_size=10,
                lot_size=1,
            )
        )
        exposures = ExposureBook(table.get)
        exposures.mark(0, PRICE)
        self.journal = Journal.open(directory, "bench", 1, file_bytes=64 << 20)
        self.entries = EntryWriter(self.journal)
        self.oms = Oms(1, exposures, lambda _report: None, terminal_capacity=1_000)
        rows = TableDirectory(table)
        self.protocol = ready_protocol(name, rows, utc_ns)
        self.link = CountingLink()
        link: Any = self.link
        self.session = VenueSession(
            self.protocol,
            self.oms,
            link,
            utc_ns=utc_ns,
            venue_of=lambda instrument_id: rows.row(instrument_id).venue_id,
            entries=self.entries,
        )
        self.session.state = SessionState.UP
        self.session.is_connected = True
        self.sessions = VenueSessions(self.oms, [self.session])
        #: How many were made; also the number of the last one.
        self.orders = 0

    def intents(self, count: int) -> list[IntentRecord]:
        """New orders."""
        found = []
        for _ in range(count):
            self.orders += 1
            found.append(
                IntentRecord(
                    kind=1, side=1, order_type=1, time_in_force=1, actor_id=1, worker_slot=3, incarnation=1,
                    epoch=1, client_order_id=make_client_order_id(1, 3, 2, self.orders), price_units=PRICE,
                    quantity_units=UNITS, decide_ns=now_ns(), flags=int(OrderFlags.POST_ONLY),
                )
            )  # fmt: skip
        return found

    def take(self, intent: IntentRecord) -> None:
        """Carry out an intent that the gate let pass."""
        process_intent(intent, 0, self.orders, 3, self.oms, self.sessions, self.entries, now_ns, now_ns())

    def end(self, intents: Sequence[IntentRecord]) -> None:
        """Bring orders to their end, in nobody's time."""
        self.session.forget()
        for intent in intents:
            self.oms.apply_report(VenueReport(_CANCELED, intent.client_order_id, 0, 1), now_ns())

    def close(self) -> None:
        """Close the journal."""
        self.journal.close()


def send_times(
    wire: OrderWire, cycles: int, *, orders: int = 1, each: bool = False, cold: bool = False
) -> list[float]:
    """What an order took, in ns, in each of so many duty cycles.

    Args:
        wire: the account.
        cycles: how many.
        orders: gathered in each.
        each: flush behind every order instead of once.
        cold: sweep the caches before each cycle.
    """
    clock, dirt = time.perf_counter_ns, np.zeros(COLD_BYTES if cold else 1, dtype=np.uint8)
    times = []
    for cycle in range(-min(WARM, cycles), cycles):
        intents = wire.intents(orders)
        dirt += 1
        begin = clock()
        for intent in intents:
            wire.take(intent)
            if each:
                wire.sessions.flush(now_ns())
        wire.sessions.flush(now_ns())
        took = clock() - begin
        if cycle >= 0:
            times.append(took / orders)
        wire.end(intents)
    return times


def measure_wires(folder: Path, runs: int, count: int) -> list[Measurement]:
    """Every venue's way, warm, cold and gathered.

    Args:
        folder: for journals.
        runs: how often.
        count: orders of a run; a tenth of them cold.
    """
    found = []
    for name in INSTRUMENTS:
        figures: dict[str, list[float]] = {}
        for run in range(runs):
            wire = OrderWire(name, folder / f"{name}-{run}")
            try:
                for metric, value in _measure(wire, count).items():
                    figures.setdefault(metric, []).append(value)
            finally:
                wire.close()
        for metric, values in figures.items():
            unit = "ns" if "_ns" in metric else ""
            found.append(Measurement(OURS, f"wire_{name}_{metric}", unit, values))
    return found


def _measure(wire: OrderWire, count: int) -> dict[str, float]:
    found: dict[str, float] = {}
    for state, times in (
        ("warm", send_times(wire, count)),
        ("cold", send_times(wire, max(count // 10, 10), cold=True)),
    ):
        for percent in (50, 99):
            found[f"{state}_ns_p{percent}"] = float(np.percentile(times, percent))
    cycles = max(count // GATHERED, 5)
    # In turn, so that nothing else that changes meanwhile is taken for the difference.
    apart, together, orders, requests = [], [], 0, 0
    for _ in range(5):
        apart += send_times(wire, cycles // 5 + 1, orders=GATHERED, each=True)
        orders, requests = orders - wire.orders, requests - wire.link.requests
        together += send_times(wire, cycles // 5 + 1, orders=GATHERED)
        orders, requests = orders + wire.orders, requests + wire.link.requests
    found["gathered_ns_p50"] = float(np.percentile(together, 50))
    found["gathering_times_faster"] = float(np.percentile(apart, 50)) / found["gathered_ns_p50"]
    found["gathered_orders_per_request"] = orders / requests
    return found
