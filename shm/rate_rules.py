"""What a venue grants, as plain data: the rules that a rate ledger is made of."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

from shm.enums import RateScope, RateUnit

SECOND_NS: Final = 1_000_000_000
NAME_BYTES: Final = 47
#: By lane (cancel, reconcile, resync, new): 256ths of the burst that are kept for the lanes before it.
KEPT: Final = (0, 32, 64, 128)
NOTHING_KEPT: Final = (0, 0, 0, 0)
BURST_MIN: Final = 4


@dataclass(frozen=True, slots=True)
class RateRule:
    """One rate limit of a venue.

    A burst and a lasting rate share the limit: no window may see more than both together, so
    `limit - burst + 1` units a window are what lasts. A small burst gives more in the long run, a large one
    more at once.

    Args:
        name: unique in a run, for example "weight_1m" behind the venue's name and a dot; 47 bytes at most.
        venue_id: of the venue.
        scope, unit: whom the venue counts together, and what.
        limit: units that the venue allows in one window.
        window_ns: length of the venue's window.
        burst: units at once; 0 = a quarter of the limit, of a small one up to four.
        slack_ns: how much later than another a request may reach the venue after its take; -1 = a twentieth
            of the window, half a second at most.
        kept: by lane, 256ths of the burst kept for the lanes before it.
        count: buckets: 1, or one per instrument id.
        address: name of our address at the venue; what the venue stops there it stops for all its buckets.
    """

    name: str
    venue_id: int
    scope: RateScope
    unit: RateUnit
    limit: int
    window_ns: int
    burst: int = 0
    slack_ns: int = -1
    kept: tuple[int, int, int, int] = KEPT
    count: int = 1
    address: str = ""

    def __post_init__(self) -> None:
        if not 0 < len(self.name.encode()) <= NAME_BYTES or len(self.address.encode()) > NAME_BYTES:
            raise ValueError(f"rate rule {self.name!r}: name and address have at most {NAME_BYTES} bytes")
        if self.limit < 1 or self.window_ns < 1 or self.count < 1:
            raise ValueError(f"rate rule {self.name}: limit, window_ns and count must be 1 or more")
        if not 0 <= self.burst <= self.limit:
            raise ValueError(f"rate rule {self.name}: burst {self.burst} is outside 0..{self.limit}")
        if self.slack_ns < -1:
            raise ValueError(f"rate rule {self.name}: slack_ns is negative")
        if (
            len(self.kept) != 4
            or not all(0 <= k <= 255 for k in self.kept)
            or list(self.kept) != sorted(self.kept)
        ):
            raise ValueError(
                f"rate rule {self.name}: kept must be 4 numbers 0..255, rising from lane to lane"
            )

    def burst_of(self, limit: int) -> int:
        """Return the burst that belongs to a limit: of this rule's own, or in proportion to it."""
        if self.burst:
            return max(1, self.burst * limit // self.limit)
        return max(limit // 4, min(limit // 2, BURST_MIN), 1)

    @property
    def slack(self) -> int:
        """The slack in ns that is in force."""
        return min(self.window_ns // 20, SECOND_NS // 2) if self.slack_ns < 0 else self.slack_ns

    @property
    def lasting_per_s(self) -> float:
        """Units a second that can be taken for ever."""
        return (self.limit - self.burst_of(self.limit) + 1) / (self.window_ns + self.slack) * SECOND_NS


def scaled(rules: Iterable[RateRule], factor: float) -> tuple[RateRule, ...]:
    """Return rules with `factor` times their limits and bursts, never below 1.

    Less than 1 leaves a share of the address to other programs; more is for a venue that does not count.
    """
    return tuple(
        replace(
            rule,
            limit=max(1, int(rule.limit * factor)),
            burst=max(1, int(rule.burst * factor)) if rule.burst else 0,
        )
        for rule in rules
    )
