from exec.order import Order
from exec.venue_report import VenueReport
from shm.records import IntentRecord, ReportRecord

DENIED_COUNTER: str
COUNTER_NAMES: frozenset[str]

def counters_of(report: ReportRecord) -> tuple[str, ...]: ...

class OmsStatistics:
    reports: int
    fills: int
    duplicate_fills: int
    late_fills: int
    overfills: int
    stranger_fills: int
    unknown_reports: int
    ignored: int
    breaches: int
    denied: int
    cancels_refused: int
    unjournaled: int
    def reset(self) -> None: ...

def report_for(record: ReportRecord, order: Order, kind: int, reason: int, now_ns: int) -> None: ...
def fill_report(record: ReportRecord, order: Order, report: VenueReport, now_ns: int) -> None: ...
def blank_report(
    record: ReportRecord, intent: IntentRecord, epoch: int, kind: int, reason: int, now_ns: int
) -> None: ...
