"""What a feed does beside following its streams: audits of its books, and instruments that come to an end.

Driven by the market data actor's heartbeat; asks the reference actor for snapshots through the feed's ports.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from actors.errors import ActorError, SettingsError
from actors.runtime.settings import read_settings
from feeds.audit import audit_period_ns
from feeds.auditor import Auditor
from feeds.errors import FeedError
from feeds.quiet import QuietSettings
from feeds.transport.throttle import TokenBucket
from feeds.validation import Severity, ValidationSettings, WatchSettings
from shm.enums import InstrumentStatus

if TYPE_CHECKING:
    from feeds.adapter import Notice, SnapshotDepth, VenueAdapter
    from feeds.session import FeedSession
    from shm.instruments import Instrument, InstrumentTable

LOOK_NS = 1_000_000_000
GONE = (InstrumentStatus.DELISTED, InstrumentStatus.RETIRED)


def find_row(table: InstrumentTable, venue_id: int, name: str) -> Instrument | None:
    """The row in use of a venue's symbol or of a canonical name, or None."""
    return table.by_symbol(venue_id, name) or table.by_canonical(name, venue_id)


def read_validation(data: Mapping[str, Any]) -> ValidationSettings:
    """Read the limits and severities of the validation rules, severities by name ("status"), `watch` a table.

    Raises:
        SettingsError: an unknown name, or a value of the wrong type or out of range.
    """
    values: dict[str, Any] = dict(data)
    for key, value in data.items():
        if key.endswith("_severity"):
            names = {severity.name.lower(): severity for severity in Severity}
            if value not in names:
                raise SettingsError(
                    f"market_data.validation: {key} is {value!r}, not one of {', '.join(names)}"
                )
            values[key] = names[value]
    try:
        if "watch" in values:
            values["watch"] = read_settings(WatchSettings, values["watch"], "market_data.validation.watch")
        return read_settings(ValidationSettings, values, "market_data.validation")
    except (ValueError, AttributeError) as error:
        raise SettingsError(f"market_data.validation: {error}") from error


def read_quiet(data: Mapping[str, Any], repeat_ns: int, symbol_of: Callable[[str], str]) -> QuietSettings:
    """Read how long single books may be quiet: `least_s`, `most_s`, `scale`, and `instruments` by name.

    Args:
        data: the settings.
        repeat_ns: after how long the venue's stream repeats itself, 0 = it does not.
        symbol_of: the symbol of a symbol or canonical name.

    Raises:
        SettingsError: an unknown name, or a value of the wrong type or out of range.
    """
    limits = data.get("instruments", {})
    unknown = sorted(data.keys() - {"least_s", "most_s", "scale", "instruments"})
    if unknown or not isinstance(limits, Mapping):
        raise SettingsError(f"market_data.quiet: unknown settings {unknown}, or 'instruments' is no table")
    values: dict[str, Any] = {"repeat_ns": repeat_ns}
    try:
        for key in ("least", "most"):
            if f"{key}_s" in data:
                values[f"{key}_ns"] = round(data[f"{key}_s"] * 1e9)
        if "scale" in data:
            values["scale"] = data["scale"]
        values["limits_ns"] = {symbol_of(name): round(seconds * 1e9) for name, seconds in limits.items()}
        return QuietSettings(**values)
    except (TypeError, ValueError) as error:
        raise SettingsError(f"market_data.quiet: {error}") from error


@dataclass(frozen=True, slots=True)
class AuditSettings:
    """How books are audited.

    Args:
        period_s: shortest time of a round over all books; 0 = no audits.
        share: of the venue's REST limit that audits may cost; a round takes as long as this needs.
        levels: levels a side compared at least, as far as the venue gives them.
    """

    period_s: float = 60.0
    share: float = 0.1
    levels: int = 100

    def __post_init__(self) -> None:
        if self.period_s < 0 or not 0 < self.share <= 1 or self.levels < 1:
            raise SettingsError(f"market_data: these settings of audits are not usable: {self}")

    def depth(self, adapter: VenueAdapter) -> SnapshotDepth:
        """The shallowest snapshot that is deep enough, else the deepest."""
        enough = [depth for depth in adapter.snapshot_depths if depth.levels >= self.levels]
        return enough[-1] if enough else adapter.snapshot_depths[0]

    def period_ns(self, adapter: VenueAdapter, books: int) -> int:
        """How long a round over so many books takes; 0 = no audits."""
        if not self.period_s:
            return 0
        weight, granted = self._weight(adapter), adapter.rest_per_minute
        return audit_period_ns(books, weight, granted, self.share, int(self.period_s * 1e9))

    def budget(self, adapter: VenueAdapter) -> TokenBucket:
        """What all audits together may ask for: a minute's share at once, and as much a minute after that."""
        per_minute = adapter.rest_per_minute * self.share / self._weight(adapter)
        return TokenBucket(max(int(per_minute), 1), per_minute / 60)

    def _weight(self, adapter: VenueAdapter) -> int:
        # Of a REST request: what a resubscription weighs is another budget.
        return adapter.snapshot_request("", self.depth(adapter).levels).weight


class FeedCare:
    """Audits and retirements of one session.

    Args:
        session: whose books.
        table: the instruments of the run.
        rows: those of the session.
        settings: of the audits.
        request: asks for a snapshot of an instrument with so many levels a side; False = not now.
        request_listing: asks for a look at the venue's list of instruments.
        follow: says whether an instrument that is new in the table is one of this session.
        begin: subscribes to an instrument's streams, on a stream number or where there is room; returns that
            of its book. What it raises as ActorError refuses the instrument, and is told.
        end: subscribes to them no more.
        tell: told in words what came and went.
    """

    def __init__(
        self,
        session: FeedSession,
        table: InstrumentTable,
        rows: Iterable[Instrument],
        settings: AuditSettings,
        request: Callable[[int, int], bool],
        request_listing: Callable[[], bool],
        *,
        follow: Callable[[Instrument], bool] = lambda _row: False,
        begin: Callable[[Instrument, int | None], int] | None = None,
        end: Callable[[Instrument], None] = lambda _row: None,
        tell: Callable[[str], None] = lambda _text: None,
    ) -> None:
        self.session = session
        self._follow, self._begin, self._end, self._tell = follow, begin, end, tell
        self._gone: dict[int, Instrument] = {}  # retired here, and to begin again if they are listed again
        self._awaited: dict[int, Instrument] = {}  # new rows that do not trade yet
        self._seen = 0  # rows looked at; those that patterns mean may not trade yet
        self.listed = 0
        self._table = table
        self._rows = {row.instrument_id: row for row in rows}
        self._request_listing = request_listing
        self._looked_ns = 0
        self._wants_listing = False
        self.retired = 0
        levels = settings.depth(session.adapter).levels
        self.auditor = Auditor(
            session,
            self._rows.values(),
            request=lambda instrument_id: request(instrument_id, levels),
            period_ns=settings.period_ns(session.adapter, len(self._rows)),
            budget=settings.budget(session.adapter),
        )

    def on_timer(self, now_ns: int) -> None:
        """Do what is due. Call it several times a second."""
        self.auditor.on_timer(now_ns)
        if now_ns - self._looked_ns < LOOK_NS:
            return
        self._looked_ns = now_ns
        for row in [row for number, row in self._rows.items() if self._table.get(number).status in GONE]:
            self._retire(row, now_ns)
        self._look_for_new(now_ns)
        if self._wants_listing and self._request_listing():
            self._wants_listing = False

    def on_notice(self, notice: Notice) -> None:
        """Take what the venue said; a word about an instrument asks for a look at its list."""
        self._wants_listing |= notice.topic == "instrument"

    def _look_for_new(self, now_ns: int) -> None:
        """Begin the books of instruments that are new in the table, or trade again."""
        for number in range(self._seen, len(self._table)):
            row = self._table.get(number)
            if row.venue_id == self.session.adapter.venue_id and self._follow(row):
                self._awaited[number] = row
        self._seen = len(self._table)
        for number in [*self._awaited, *self._gone]:
            row = self._table.get(number)
            if number in self._rows or row.status == InstrumentStatus.RETIRED:
                self._awaited.pop(number, None)
            elif row.status == InstrumentStatus.TRADING:
                self._awaited.pop(number, None)
                self._list(row, now_ns)

    def _list(self, row: Instrument, now_ns: int) -> None:
        number, core = row.instrument_id, self.session.core
        old = self._gone.pop(number, None)
        certificate = None if old is None else core.certificate(number)
        try:
            stream = None if certificate is None else int(certificate.stream)
            stream = self._begin(row, stream) if self._begin is not None else stream or 0
        except ActorError as error:
            self._tell(f"{row.symbol} is listed, but not followed: {error}")
            return
        try:
            self._begin_book(row, stream, now_ns, is_known=old is not None)
        except FeedError as error:
            self._end(row)
            self._tell(f"{row.symbol} is listed, but not followed: {error}")
            return
        self._rows[number] = row
        self.auditor.add(row)
        self.listed += 1
        again = " again" if old is not None else ""
        self._tell(f"{row.symbol} ({row.canonical}) is listed{again}: its book begins")

    def _begin_book(self, row: Instrument, stream: int, now_ns: int, *, is_known: bool) -> None:
        if is_known:
            self.session.revive(row.instrument_id, now_ns)
            return
        for other in [number for number, one in self._gone.items() if one.symbol == row.symbol]:
            del self._gone[other]  # it had other terms
            self.session.core.free_symbol(other)
        self.session.add_instrument(row, stream, now_ns)

    def _retire(self, row: Instrument, now_ns: int) -> None:
        """End a book; if its symbol has a new row, begin that one's on the same stream."""
        number, core = row.instrument_id, self.session.core
        del self._rows[number]
        self.retired += 1
        self.auditor.remove(number)
        self.session.suspects.retire(number, now_ns)
        new = self._table.by_symbol(row.venue_id, row.symbol)
        certificate = core.certificate(number)
        if new is None or new.instrument_id == number or new.status in GONE or certificate is None:
            self._gone[number] = row
            self._end(row)
            self._tell(f"{row.symbol} ({row.canonical}) is delisted: its book ended, cancel what rests there")
            return
        core.free_symbol(number)
        self.session.add_instrument(new, certificate.stream, now_ns)
        self._rows[new.instrument_id] = new
        self.auditor.add(new)
        self._tell(f"{row.symbol} ({row.canonical}) has new terms: a new book, cancel what rests there")

    def on_snapshot(self, instrument_id: int, body: bytes, now_ns: int) -> bool:
        """Take an answer if an audit asked for it."""
        return self.auditor.on_answer(instrument_id, body, now_ns)

    def on_snapshot_failed(self, instrument_id: int, _body: bytes, now_ns: int) -> bool:
        """Note a failure if an audit asked."""
        return self.auditor.on_failed(instrument_id, now_ns)

    def statistics(self) -> dict[str, int]:
        """Counts since the start."""
        return {**self.auditor.statistics(), "retired": self.retired, "listed": self.listed}
