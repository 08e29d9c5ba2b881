"""Names of the counters of a feed, by the key under which core, session, care and lines count."""

from __future__ import annotations

#: Rules of the validation, as `FeedSession.statistics` counts their findings.
RULES = ("timestamp", "spread", "price_jump", "volume_spike", "anomaly")
#: Counters kept in step with the core's and the session's own counts at each heartbeat.
CORE_COUNTERS = {
    "frames": "feed.frames",
    "books": "feed.books",
    "trades": "feed.trades",
    "bbos": "feed.bbos",
    "marks": "feed.marks",
    "rejected": "feed.rejected",
    "duplicates": "feed.duplicates",
    "unknown_symbols": "feed.unknown_symbols",
    "crossed": "feed.crossed",
    "late": "feed.late",
    "liquidations": "feed.liquidations",
    "checksum_errors": "feed.checksum_errors",
}
SESSION_COUNTERS = {
    "gaps": "feed.gaps",
    "resyncs": "feed.resyncs",
    "rewinds": "feed.rewinds",
    "bad_levels": "feed.bad_levels",
    "silences": "feed.silences",
    "disconnects": "feed.disconnects",
    "snapshot_requests": "feed.snapshot_requests",
    "snapshot_failures": "feed.snapshot_failures",
    "control_errors": "feed.control_errors",
    "resubscribes": "feed.resubscribes",
    "line_renewals": "feed.line_renewals",
    "parked": "feed.parked",
    "filled": "feed.filled",
    "notices": "feed.notices",
    "quarantines": "feed.quarantines",
    "quarantined": "feed.quarantined",
    "range_left": "feed.range_left",
    "mutes": "feed.mutes",
    "vouched": "feed.vouched",
    "closures": "feed.closures",
    **{f"suspect_{rule}": f"feed.suspect_{rule}" for rule in RULES},
}
CARE_COUNTERS = {
    "audit_audits": "feed.audits",
    "audit_equal": "feed.audits_equal",
    "audit_different": "feed.audits_different",
    "audit_not_comparable": "feed.audits_not_comparable",
    "audit_failed": "feed.audits_failed",
    "audit_hurried": "feed.audits_hurried",
    "retired": "feed.retired",
    "listed": "feed.listed",
}
LINE_COUNTERS = {
    "rotations": "feed.rotations",
    "rotations_failed": "feed.rotations_failed",
}
