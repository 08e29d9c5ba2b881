"""Where a gateway's orders and positions come from at its start: its journal, or what a standby followed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import cast

from actors.errors import ActorError
from actors.journals import DigestJournal
from actors.runtime.host import Host
from actors.runtime.standby import FOLLOWED
from exec.checkpoint import LedgerFollower, starting_point
from exec.foreign_fees import TokenMarks
from exec.oms import Oms
from exec.recovery import Recovered, recover
from exec.venue_sessions import VenueSessions
from risk.exposure import ExposureBook
from shm.instruments import InstrumentTable
from shm.journal import Journal
from shm.records import ReportRecord


def journal_directory(host: Host) -> Path | None:
    """Where the gateway of a worker keeps its journal; None = there is no state directory."""
    state_dir = host.spec.state_dir
    return Path(state_dir) / f"journal-{host.spec.slot}" if state_dir else None


def open_journal(host: Host, file_bytes: int) -> Journal | DigestJournal:
    """Open the journal of a worker's gateway; on a virtual clock, without a directory, a digest does.

    Raises:
        ActorError: a live gateway has no state directory.
        JournalError: see `Journal.open`.
    """
    directory = journal_directory(host)
    if directory is None:
        if not host.scheduler.is_virtual:
            raise ActorError("order_gateway: no state directory for the journal")
        return DigestJournal()
    directory.mkdir(parents=True, exist_ok=True)
    return Journal.open(directory, host.spec.instance, host.spec.epoch, file_bytes=file_bytes)


class GatewayLedger:
    """Orders and exposures of a gateway that starts.

    Args:
        host: of the worker; a promoted standby shares what it has followed.
        on_report: gets what the orders' changes have to say.

    Attributes:
        oms, exposures: empty, or a copy of what stood in the journal a moment ago.
    """

    def __init__(self, host: Host, on_report: Callable[[ReportRecord], None]) -> None:
        self._followed: LedgerFollower | None = host.share(FOLLOWED, lambda: None)
        self._epoch = host.spec.epoch
        self.oms: Oms
        self.exposures: ExposureBook
        if self._followed is None:
            self.exposures = ExposureBook(host.instruments.get)
            self.oms = Oms(self._epoch, self.exposures, on_report)
        else:
            self.oms = self._followed.replay.oms
            self.exposures = cast(ExposureBook, self.oms.ledger)
            self.oms.on_report = on_report

    def recover(
        self, directory: Path | None, now_ns: int, on_replayed: Callable[[Recovered], None]
    ) -> Recovered:
        """Read the journal, or what is left of it (`exec.recovery.recover`); its writer must have ended."""
        followed, self._followed = self._followed, None
        if followed is not None:
            rest = followed.rest()
            return recover(rest, self.oms, now_ns=now_ns, on_replayed=on_replayed, replay=followed.replay)
        if directory is None:
            return recover((), self.oms, now_ns=now_ns, on_replayed=on_replayed)
        start, entries = starting_point(directory, self._epoch)
        return recover(entries, self.oms, now_ns=now_ns, on_replayed=on_replayed, start=start)

    def value_fees(self, sessions: VenueSessions, table: InstrumentTable) -> None:
        """Let the sessions book fees in a token at its mark, where an instrument of the run has one."""
        marks = TokenMarks(table, lambda number: int(self.exposures.row(number).mark_price_units))
        for session in sessions.sessions:
            session.protocol.foreign_fees.value_e8 = marks.value_e8
