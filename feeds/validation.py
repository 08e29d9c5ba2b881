"""Plausibility of market data: rules that judge what is decodable and in sequence but may still be wrong.

Each rule is a pure function of what it was fed; its verdict is a reason code. What a verdict does is its
`Severity`.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import deque
from dataclasses import dataclass, field, replace
from enum import IntEnum

from shm.enums import BookReason

BPS = 10_000


class Severity(IntEnum):
    """What a finding does."""

    OFF = 0
    COUNT = 1  # counted by reason and instrument
    STATUS = 2  # and a STATUS record says so; the book's state stays
    STALE = 3  # and a LIVE book becomes STALE until its next good update
    QUARANTINE = 4  # and after a few of them the book is kept STALE until it has been calm for a while


@dataclass(frozen=True, slots=True)
class WatchSettings:
    """Limits of the price, volume and anomaly rules (`feeds.anomaly`); 0 switches a rule off."""

    jump_bps: float = 100.0  # no price jump below this distance from the reference price ...
    jump_scale: float = 20.0  # ... nor below this many of its usual distances
    jump_tau_ns: int = 1_000_000_000  # time constant of the reference price
    jump_warm_up: int = 100  # tops of book before the rule judges
    volume_ratio: float = 50.0  # traded quantity of a bucket against the mean of those with trades
    volume_bucket_ns: int = 1_000_000_000
    volume_warm_up: int = 30  # buckets with trades before the rule judges
    anomaly_probability: float = 1e-5  # wanted of a channel to call an ordinary update an anomaly
    anomaly_warm_up: int = 5_000  # updates and trades before the score judges
    floor_bps: float = 5.0  # smaller moves, spreads and distances are no anomaly
    floor_gap_ns: int = 500_000_000  # nor are shorter silences
    floor_rate: float = 64.0  # nor fewer updates within 10 ms

    def __post_init__(self) -> None:
        if min(getattr(self, name) for name in self.__slots__) < 0:
            raise ValueError(f"a limit is negative: {self}")
        if min(self.jump_tau_ns, self.volume_bucket_ns) < 1 or self.anomaly_probability > 0.01:
            raise ValueError(f"a time is 0, or a probability above 0.01: {self}")


@dataclass(frozen=True, slots=True)
class ValidationSettings:
    """Limits and severities of the rules."""

    deviation_ns: int = 500_000_000
    timestamp_severity: Severity = Severity.STATUS
    spread_bps: float = 500.0
    spread_severity: Severity = Severity.STATUS
    window: int = 255  # samples the offset is measured over
    warm_up: int = 50  # samples before the timestamp rule judges
    jump_severity: Severity = Severity.STATUS
    volume_severity: Severity = Severity.COUNT
    anomaly_severity: Severity = Severity.STATUS
    quarantine_findings: int = 3  # so many findings of severity QUARANTINE ...
    quarantine_window_ns: int = 1_000_000_000  # ... within this put an instrument into quarantine
    quarantine_calm_ns: int = 5_000_000_000  # so long without a finding end it; 0 = only by command
    watch: WatchSettings = field(default_factory=WatchSettings)

    def watched(self) -> WatchSettings | None:
        """Limits of the watch rules without those whose severity is OFF; None when all are."""
        rules = {
            "jump_bps": self.jump_severity,
            "volume_ratio": self.volume_severity,
            "anomaly_probability": self.anomaly_severity,
        }
        off = {name: 0.0 for name, severity in rules.items() if severity is Severity.OFF}
        limits = replace(self.watch, **off)  # type: ignore[arg-type]
        return limits if any(getattr(limits, name) for name in rules) else None


class TimestampRule:
    """Judges how far a message's time deviates from its stream's own measured offset.

    The offset (receive time − event time) is the median of the last `window` samples. It may be of any size
    and sign: clocks differ, and a recorder's may be seconds behind the venue's. Only a deviation from it is
    suspicious, late or early alike. A lasting change of the offset becomes the new normal once it fills half
    the window.
    """

    def __init__(self, deviation_ns: int, window: int, warm_up: int) -> None:
        if deviation_ns < 0 or window < 1 or not 0 < warm_up <= window:
            raise ValueError(f"deviation {deviation_ns}, window {window}, warm_up {warm_up} are not usable")
        self.deviation_ns = deviation_ns
        self.warm_up = warm_up
        self._recent: deque[int] = deque(maxlen=window)
        self._sorted: list[int] = []

    @property
    def is_ready(self) -> bool:
        """Whether enough samples were seen to judge."""
        return len(self._recent) >= self.warm_up

    @property
    def offset_ns(self) -> int:
        """Measured offset: the median of the window, 0 before the first sample."""
        return self._sorted[len(self._sorted) // 2] if self._sorted else 0

    def sample(self, receive_ns: int, venue_utc_ns: int) -> None:
        """Add one message to the window."""
        value = receive_ns - venue_utc_ns
        if len(self._recent) == self._recent.maxlen:
            oldest = self._recent[0]
            del self._sorted[bisect_left(self._sorted, oldest)]
        self._recent.append(value)
        insort(self._sorted, value)

    def judge(self, receive_ns: int, venue_utc_ns: int) -> BookReason:
        """Return TIMESTAMP when the message deviates by more than allowed, else NONE."""
        if not self.is_ready:
            return BookReason.NONE
        deviation = receive_ns - venue_utc_ns - self.offset_ns
        return BookReason.TIMESTAMP if abs(deviation) > self.deviation_ns else BookReason.NONE

    def reset(self) -> None:
        """Forget the samples: after a clock jump or a reconnect the offset is measured anew."""
        self._recent.clear()
        self._sorted.clear()


def judge_spread(bid_price_units: int, ask_price_units: int, spread_bps: float) -> BookReason:
    """Return CROSSED when bid >= ask, SPREAD when the spread is above `spread_bps` of the mid, else NONE.

    Args:
        bid_price_units: best bid; 0 or less = no bid, no verdict.
        ask_price_units: best ask in the same units; 0 or less = no ask, no verdict.
        spread_bps: limit, in 1/10000 of the mid.
    """
    if bid_price_units <= 0 or ask_price_units <= 0:
        return BookReason.NONE
    if bid_price_units >= ask_price_units:
        return BookReason.CROSSED
    wide = (ask_price_units - bid_price_units) * 2 * BPS > spread_bps * (ask_price_units + bid_price_units)
    return BookReason.SPREAD if wide else BookReason.NONE


@dataclass(slots=True)
class Validator:
    """The rules of one session: a timestamp rule per connection, findings by reason and instrument."""

    settings: ValidationSettings
    rules: dict[int, TimestampRule] = field(default_factory=dict)
    counts: dict[tuple[int, BookReason], int] = field(default_factory=dict)
    totals: dict[BookReason, int] = field(default_factory=dict)

    def rule(self, connection: int) -> TimestampRule:
        """Return the timestamp rule of a connection, made when first asked for."""
        found = self.rules.get(connection)
        if found is None:
            s = self.settings
            found = self.rules[connection] = TimestampRule(s.deviation_ns, s.window, s.warm_up)
        return found

    def timestamp(self, connection: int, receive_ns: int, venue_utc_ns: int) -> BookReason:
        """Judge one message's time, then sample it. Messages without a venue time are not judged."""
        if not venue_utc_ns or self.settings.timestamp_severity is Severity.OFF:
            return BookReason.NONE
        rule = self.rule(connection)
        reason = rule.judge(receive_ns, venue_utc_ns)
        rule.sample(receive_ns, venue_utc_ns)
        return reason

    def spread(self, bid_price_units: int, ask_price_units: int) -> BookReason:
        """Judge a top of book."""
        if self.settings.spread_severity is Severity.OFF:
            return BookReason.NONE
        return judge_spread(bid_price_units, ask_price_units, self.settings.spread_bps)

    def severity(self, reason: BookReason) -> Severity:
        """Severity of a finding."""
        s = self.settings
        severities = {
            BookReason.TIMESTAMP: s.timestamp_severity,
            BookReason.PRICE_JUMP: s.jump_severity,
            BookReason.VOLUME_SPIKE: s.volume_severity,
            BookReason.ANOMALY: s.anomaly_severity,
        }
        return severities.get(reason, s.spread_severity)

    def count(self, instrument_id: int, reason: BookReason) -> None:
        """Count a finding."""
        self.totals[reason] = self.totals.get(reason, 0) + 1
        key = (instrument_id, reason)
        self.counts[key] = self.counts.get(key, 0) + 1
