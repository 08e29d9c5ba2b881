"""How far a venue's clock stands from ours, as an interval that surely holds it.

A question for the venue's time gives two bounds: its answer was written between our sending and our receiving
(the round trip, as in NTP, RFC 5905, but kept as an interval, as Marzullo's algorithm does). Each message
adds one: it was stamped before we received it. What the bounds have in common holds the offset; the narrowest
ones win, which is the minimum filter over round trips. Clocks drift, so bounds grow older by moving apart.
"""

from __future__ import annotations

from typing import NamedTuple


class ClockEstimate(NamedTuple):
    """Venue time minus our time: within `error_ns` of `offset_ns`, as long as the drift bound holds."""

    offset_ns: int
    error_ns: int


class ClockOffset:
    """Estimates one venue's clock offset against our wall clock. Constant memory, a few operations a sample.

    Args:
        drift_ppb: how fast the two clocks may drift apart, in parts per billion.

    Raises:
        ValueError: a negative drift.
    """

    def __init__(self, drift_ppb: int = 20_000) -> None:
        if drift_ppb < 0:
            raise ValueError(f"drift_ppb {drift_ppb} is negative")
        self.drift_ppb = drift_ppb
        self.exchanges = 0
        self.messages = 0
        self.against = 0  # messages stamped later than they can have been
        self.steps = 0  # how often an exchange excluded what was known: a clock was set
        self._low = self._high = 0.0
        self._at_ns = 0

    def on_exchange(
        self, sent_utc_ns: int, received_utc_ns: int, venue_utc_ns: int, resolution_ns: int = 1_000_000
    ) -> None:
        """Take the answer to a question for the venue's time.

        Args:
            sent_utc_ns: our clock when the request was sent.
            received_utc_ns: our clock when the answer was received.
            venue_utc_ns: the venue's time, cut to its resolution.
            resolution_ns: what it is cut to.

        Raises:
            ValueError: it was received before it was sent.
        """
        if received_utc_ns < sent_utc_ns:
            raise ValueError(
                f"an answer received {sent_utc_ns - received_utc_ns} ns before its request was sent"
            )
        low = float(venue_utc_ns - received_utc_ns)
        high = float(venue_utc_ns + resolution_ns - sent_utc_ns)
        self._age(received_utc_ns)
        self.exchanges += 1
        if self.exchanges > 1 and max(low, self._low) <= min(high, self._high):
            self._low, self._high = max(low, self._low), min(high, self._high)
        else:
            self.steps += self.exchanges > 1
            self._low, self._high = low, high

    def on_message(self, received_utc_ns: int, venue_utc_ns: int) -> None:
        """Take a message's stamp: it was made before it was received; ignored before the first exchange."""
        if not self.exchanges:
            return
        self._age(received_utc_ns)
        self.messages += 1
        low = venue_utc_ns - received_utc_ns - max(self._at_ns - received_utc_ns, 0) * self.drift_ppb * 1e-9
        if low > self._high:
            self.against += 1  # a stamp from ahead of the venue's own clock; the next exchange decides
        elif low > self._low:
            self._low = low

    def _age(self, now_ns: int) -> None:
        if self.exchanges and now_ns > self._at_ns:
            wider = (now_ns - self._at_ns) * self.drift_ppb * 1e-9
            self._low -= wider
            self._high += wider
        self._at_ns = max(now_ns, self._at_ns) if self.exchanges else now_ns

    def estimate(self, now_utc_ns: int) -> ClockEstimate | None:
        """The offset as known now, None before the first exchange."""
        if not self.exchanges:
            return None
        wider = max(now_utc_ns - self._at_ns, 0) * self.drift_ppb * 1e-9
        half = (self._high - self._low) / 2 + wider
        return ClockEstimate(round((self._low + self._high) / 2), round(half))
