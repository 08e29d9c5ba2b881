"""The slow shadow audit: each LIVE book against a snapshot by a request, one after the other, round after
round.

Drives `feeds.audit` for the books of one session. It does no I/O: it asks for snapshots through a callable,
is given the answers and the time, and says through the session when a book is disproved.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from feeds.audit import AuditResult, AuditWindow, LevelDifference, VenueBook, Verdict, confirmed
from feeds.continuity import SnapshotRule
from feeds.errors import DecodeError
from feeds.transport.throttle import TokenBucket
from shm.units import parse_units

if TYPE_CHECKING:
    from feeds.session import FeedSession
    from shm.instruments import Instrument

KEPT = 100
TRIES = 5  # of one book in a row, before the next one has its turn


class AuditFinding(NamedTuple):
    """A book that was not what the venue says."""

    instrument_id: int
    symbol: str
    found_ns: int
    differences: tuple[LevelDifference, ...]

    def __str__(self) -> str:
        side, price, ours, theirs = self.differences[0]
        where = f"{'ask' if side else 'bid'} {price}: {ours} here, {theirs} at the venue"
        return f"{self.symbol}: {len(self.differences)} levels differ, the first {where} (units)"


@dataclass(slots=True)
class _Audit:
    row: Instrument
    live_id: int
    window: AuditWindow
    tries: int
    suspicion: tuple[LevelDifference, ...]


class Auditor:
    """Audits the books of one session in turn.

    Args:
        session: whose books; a difference is told by `FeedSession.on_audit_difference`, and a success is
        noted in the
            certificate.
        rows: the instruments, in the order of the round.
        request: called with an instrument_id when a snapshot is wanted; False = not now. The answer comes
        through
            `on_answer` or `on_failed`.
        period_ns: how long a round takes (`feeds.audit.audit_period_ns`); 0 = no audits.
        budget: of all audits, one token each; None = as many as asked for.
        settle_ns: a stream that brought nothing for so long after an answer has nothing more to say.
    """

    def __init__(
        self,
        session: FeedSession,
        rows: Iterable[Instrument],
        *,
        request: Callable[[int], bool],
        period_ns: int,
        budget: TokenBucket | None = None,
        settle_ns: int = 2_000_000_000,
    ) -> None:
        self._settle_ns = settle_ns
        self.session, self.period_ns = session, period_ns
        self._budget = budget
        self._hurried: dict[int, None] = {}  # asked for out of turn, in order
        self.findings: deque[AuditFinding] = deque(maxlen=KEPT)
        self._round = deque(rows)
        self._rows = {row.instrument_id: row for row in self._round}
        self._request = request
        self._next_ns: int | None = None
        self._open: dict[int, _Audit] = {}
        self._counts = dict.fromkeys(
            ("audits", "equal", "different", "suspected", "not_comparable", "failed", "hurried", "waits"), 0
        )
        session.pump.keeper = self.on_kept
        session.mutes.ask = self.hurry if period_ns else None

    def statistics(self) -> dict[str, int]:
        """Counts since the start: audits begun, and how they ended."""
        return {f"audit_{key}": count for key, count in self._counts.items()}

    def add(self, row: Instrument) -> None:
        """Add an instrument to the round."""
        self._round.append(row)
        self._rows[row.instrument_id] = row

    def remove(self, instrument_id: int) -> None:
        """Take an instrument out of the round."""
        self._end(instrument_id)
        self._rows.pop(instrument_id, None)
        self._hurried.pop(instrument_id, None)
        self._round = deque(row for row in self._round if row.instrument_id != instrument_id)

    def hurry(self, instrument_id: int) -> None:
        """Audit a book out of turn, as soon as the budget allows; no use where it is under way or unknown."""
        if instrument_id in self._rows and instrument_id not in self._open:
            self._hurried.setdefault(instrument_id)

    def _may_begin(self, now_ns: int) -> bool:
        if self._budget is None or self._budget.take(now_ns):
            return True
        self._counts["waits"] += 1
        return False

    def on_timer(self, now_ns: int) -> None:
        """Begin what is due, and judge what waits for its stream. Call it several times a second."""
        for audit in list(self._open.values()):
            self._judge(audit, now_ns)
        while self._hurried and self._may_begin(now_ns):
            number = next(iter(self._hurried))
            del self._hurried[number]
            self._counts["hurried"] += 1
            self._begin(self._rows[number], now_ns, 1, ())
        if not self.period_ns or not self._round:
            return
        if self._next_ns is None:
            self._next_ns = now_ns + self.period_ns // len(self._round)
        if now_ns < self._next_ns or not self._may_begin(now_ns):
            return
        self._next_ns = max(self._next_ns + self.period_ns // len(self._round), now_ns)
        row = self._round[0]
        self._round.rotate(-1)
        self._begin(row, now_ns, 1, ())

    def _begin(
        self, row: Instrument, now_ns: int, tries: int, suspicion: tuple[LevelDifference, ...]
    ) -> None:
        number = row.instrument_id
        certificate = self.session.core.certificate(number)
        if number in self._open or certificate is None or not self.session.may_audit(number):
            return
        window = AuditWindow(
            certificate.last_sequence,
            certificate.venue_utc_ns,
            now_ns,
            settle_ns=self._settle_ns,
            known=self.session.known_range(number),
        )
        # Watched from before the request on: whatever moment the answer is of, nothing between is missed.
        self.session.pump.keep(number, True)
        self._open[number] = _Audit(row, certificate.live_id, window, tries, suspicion)
        if not self._request(number):
            self._end(number)
            self._counts["failed"] += 1
            return
        self._counts["audits"] += 1

    def _end(self, instrument_id: int) -> None:
        if self._open.pop(instrument_id, None) is not None:
            self.session.pump.keep(instrument_id, False)

    def on_kept(self, instrument_id: int, frame: bytes, frame_ns: int) -> None:
        """Note what an applied update of an audited book touched (called by the pump)."""
        audit = self._open.get(instrument_id)
        if audit is None:
            return
        exponent = audit.row.price_exponent
        for written in self.session.adapter.written(frame):
            audit.window.touch((parse_units(text, exponent) for text in written.prices), frame_ns)

    def on_answer(self, instrument_id: int, body: bytes, now_ns: int) -> bool:
        """Take the body of a snapshot; False = no audit asked for it."""
        audit = self._open.get(instrument_id)
        if audit is None or audit.window.book is not None:
            return False
        try:
            sequence, venue_utc_ns, bids, asks = self.session.core.read_snapshot(instrument_id, body)
        except DecodeError:
            self._end(instrument_id)
            self._counts["failed"] += 1
            return True
        if self.session.adapter.snapshot_rule is SnapshotRule.IN_STREAM:
            sequence = 0  # numbers of the answer are not those of the stream
        audit.window.answer(VenueBook(sequence, venue_utc_ns, bids, asks), now_ns)
        self._judge(audit, now_ns)
        return True

    def on_failed(self, instrument_id: int, now_ns: int) -> bool:
        """Note that a snapshot could not be had; False = no audit asked for it."""
        audit = self._open.get(instrument_id)
        if audit is None or audit.window.book is not None:
            return False
        self._counts["failed"] += 1
        self._again(audit, now_ns)
        return True

    def _judge(self, audit: _Audit, now_ns: int) -> None:
        core, number = self.session.core, audit.row.instrument_id
        certificate = core.certificate(number)
        if certificate is None:
            return
        if not self.session.may_audit(number) or certificate.live_id != audit.live_id:
            self._counts["not_comparable"] += 1
            self._end(number)  # it was proven anew meanwhile, or is about to be
            return
        window = audit.window
        levels = len(window.book.bids) + len(window.book.asks) if window.book is not None else 1
        bids, asks = core.book(number, 2 * levels + 1)
        result = window.judge(bids, asks, certificate.last_sequence, certificate.venue_utc_ns, now_ns)
        if result is not None:
            self._conclude(audit, result, now_ns)

    def _conclude(self, audit: _Audit, result: AuditResult, now_ns: int) -> None:
        number = audit.row.instrument_id
        if result.verdict is Verdict.EQUAL:
            self._counts["equal"] += 1
            self._end(number)
            self.session.core.set_audit(number, now_ns)
            self.session.on_audit_equal(number, now_ns)
        elif result.verdict is Verdict.NOT_COMPARABLE:
            self._counts["not_comparable"] += 1
            self._again(audit, now_ns)
        elif audit.window.is_by_sequence or confirmed(audit.suspicion, result.differences):
            self._counts["different"] += 1
            self._end(number)
            self.findings.append(AuditFinding(number, audit.row.symbol, now_ns, result.differences))
            self.session.on_audit_difference(number, now_ns)
        else:
            self._counts["suspected"] += 1
            audit.suspicion = result.differences
            self._again(audit, now_ns)

    def _again(self, audit: _Audit, now_ns: int) -> None:
        self._end(audit.row.instrument_id)
        if audit.tries < TRIES and self._may_begin(now_ns):
            self._begin(audit.row, now_ns, audit.tries + 1, audit.suspicion)
