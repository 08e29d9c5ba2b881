"""A strategy that wants to trade at every message, before the real gate, and what it must not be allowed."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from feeds.session import FeedSession
from risk.exposure import ExposureBook
from risk.gate import Gate
from risk.limits import Limits
from shm.book import BookSlab, BookSnapshot, Certificate
from shm.enums import BookState, IntentKind, OrderType, Reason, Side, TimeInForce, TradingState
from shm.instruments import Instrument, InstrumentTable
from shm.records import IntentRecord
from shm.units import ceil_to_step, notional_e8

#: What the gate may say of a good order: nothing, or something of its book.
OF_BOOKS = {
    Reason.NONE, Reason.BOOK_NOT_LIVE, Reason.BOOK_EPOCH, Reason.BOOK_LIVE_ID, Reason.BOOK_SILENT,
    Reason.BOOK_OLD, Reason.BOOK_BUSY, Reason.INTENT_OLD,
}  # fmt: skip


class Trading:
    """A halt word that nobody sets."""

    generation = 0

    def halt_state(self) -> tuple[TradingState, int]:
        """As the control segment answers."""
        return TradingState.ACTIVE, 0


@dataclass(slots=True)
class _Cited:
    certificate: Certificate
    price_units: int
    quantity_units: int


class Decider:
    """Asks the gate for an order whenever it is told to.

    It cites the newest certificate that said LIVE, and goes on citing it when the book says so no more:
    whatever passes then is the gate's fault.

    Args:
        slab: the books.
        session: knows their states without the slab.
        rows: the instruments, numbered from 0.
        epoch: of the run and its books.
        silence_ns: of the gate's limits.
    """

    def __init__(
        self, slab: BookSlab, session: FeedSession, rows: list[Instrument], epoch: int, silence_ns: int
    ) -> None:
        self._slab, self._session, self._epoch = slab, session, epoch
        table = InstrumentTable.create(bytearray(InstrumentTable.bytes_needed(len(rows))), len(rows))
        for row in rows:
            assert table.add(row) == row.instrument_id
        self.gate = Gate(
            epoch=epoch, control=Trading(), slab_of=lambda _: slab, is_alive=lambda _: True,
            limits=Limits(max_silence_ns=silence_ns), exposures=ExposureBook(table.get), instruments=table,
            find_order=lambda _: None,
        )  # fmt: skip
        self._rows = rows
        self._cited: dict[int, _Cited] = {}
        self._orders = 0
        self.verdicts: Counter[Reason] = Counter()
        #: Orders that passed on a book that was not LIVE.
        self.wrong: list[str] = []

    def decide(self, instrument_id: int, now_ns: int) -> BookSnapshot | None:
        """Ask for one order; the book it was decided on if it passed, else None."""
        snapshot = self._slab.load(instrument_id)
        assert snapshot is not None, "nobody else writes"
        row = self._rows[instrument_id]
        if snapshot.certificate.state == BookState.LIVE and snapshot.bids:
            self._cite(row, snapshot)
        cited = self._cited.get(instrument_id)
        if cited is None:
            return None
        verdict = Reason(self.gate.check(self._intent(row, cited, now_ns), now_ns))
        self.verdicts[verdict] += 1
        if verdict is not Reason.NONE:
            return None
        state = self._session.state(instrument_id)
        if state is not BookState.LIVE or snapshot.certificate.state != BookState.LIVE:
            self.wrong.append(f"{row.symbol}: an order passed while its book was {state.name}")
        return snapshot

    def _cite(self, row: Instrument, snapshot: BookSnapshot) -> None:
        price = snapshot.bids[0][0]
        known = self._cited.get(row.instrument_id)
        if known is not None and known.price_units == price:
            known.certificate = snapshot.certificate
            return
        quantity = ceil_to_step(max(row.min_quantity_units, 1), row.lot_size)
        while notional_e8(price, quantity, row) < row.min_notional_units:
            quantity *= 2
        self._cited[row.instrument_id] = _Cited(snapshot.certificate, price, quantity)

    def _intent(self, row: Instrument, cited: _Cited, now_ns: int) -> IntentRecord:
        self._orders += 1
        certificate = cited.certificate
        intent = IntentRecord(
            kind=int(IntentKind.NEW), side=int(Side.BUY), order_type=int(OrderType.LIMIT),
            time_in_force=int(TimeInForce.GTC), actor_id=1, worker_slot=1, incarnation=1, epoch=self._epoch,
            instrument_id=row.instrument_id, client_order_id=self._orders, price_units=cited.price_units,
            quantity_units=cited.quantity_units, decide_ns=now_ns, publish_ns=certificate.publish_ns,
        )  # fmt: skip
        intent.add_certificate(
            row.instrument_id, certificate.epoch, certificate.live_id, certificate.last_sequence
        )
        return intent
