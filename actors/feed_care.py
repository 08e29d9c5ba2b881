"""What a feed does beside following its streams: audits of its books, and instruments that come to an end.

Driven by the market data actor's heartbeat; asks the reference actor for snapshots through the feed's ports.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from actors.errors import SettingsError
from actors.runtime.settings import read_settings
from feeds.audit import audit_period_ns
from feeds.auditor import Auditor
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


@dataclass(frozen=True, slots=True)
class AuditSettings:
    """How books are audited.

    Args:
        period_s: shortest time of a round over all books; 0 = no audits.
        share: of the venue's request budget that audits may cost; a round takes as long as this needs.
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
        weight, granted = self.depth(adapter).weight, adapter.snapshot_weight_per_minute
        return audit_period_ns(books, weight, granted, self.share, int(self.period_s * 1e9))


class FeedCare:
    """Audits and retirements of one session.

    Args:
        session: whose books.
        table: the instruments of the run.
        rows: those of the session.
        settings: of the audits.
        request: asks for a snapshot of an instrument with so many levels a side; False = not now.
        request_listing: asks for a look at the venue's list of instruments.
    """

    def __init__(
        self,
        session: FeedSession,
        table: InstrumentTable,
        rows: Iterable[Instrument],
        settings: AuditSettings,
        request: Callable[[int, int], bool],
        request_listing: Callable[[], bool],
    ) -> None:
        self.session = session
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
        )

    def on_timer(self, now_ns: int) -> None:
        """Do what is due. Call it several times a second."""
        self.auditor.on_timer(now_ns)
        if now_ns - self._looked_ns < LOOK_NS:
            return
        self._looked_ns = now_ns
        for row in [row for number, row in self._rows.items() if self._table.get(number).status in GONE]:
            self._retire(row, now_ns)
        if self._wants_listing and self._request_listing():
            self._wants_listing = False

    def on_notice(self, notice: Notice) -> None:
        """Take what the venue said; a word about an instrument asks for a look at its list."""
        self._wants_listing |= notice.topic == "instrument"

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
            return
        core.free_symbol(number)
        self.session.add_instrument(new, certificate.stream, now_ns)
        self._rows[new.instrument_id] = new
        self.auditor.add(new)

    def on_snapshot(self, instrument_id: int, body: bytes, now_ns: int) -> bool:
        """Take an answer if an audit asked for it."""
        return self.auditor.on_answer(instrument_id, body, now_ns)

    def on_snapshot_failed(self, instrument_id: int, _body: bytes, now_ns: int) -> bool:
        """Note a failure if an audit asked."""
        return self.auditor.on_failed(instrument_id, now_ns)

    def statistics(self) -> dict[str, int]:
        """Counts since the start."""
        return {**self.auditor.statistics(), "retired": self.retired}
