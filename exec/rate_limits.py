"""The rate limits of an account's order entry: rules for the shared ledger, and what the venue says."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from importlib import import_module
from types import ModuleType

from exec.errors import OrderError
from exec.venues import PROTOCOLS
from shm.enums import RateScope, RateStop
from shm.rate_ledger import NEVER, RateLedger, RateTake
from shm.rate_rules import RateRule


def limits_of(protocol: str) -> ModuleType:
    """Return the module with RULES, STOPS and IS_ALIGNED of an order protocol.

    Raises:
        OrderError: no protocol bears this name.
    """
    if protocol not in PROTOCOLS:
        raise OrderError(f"unknown order protocol {protocol!r}; known: {', '.join(sorted(PROTOCOLS))}")
    return import_module(f"exec.venues.{protocol}.limits")


def order_rules(protocol: str, prefix: str, instruments: int) -> tuple[RateRule, ...]:
    """Return the rules of one account's order entry, named `<prefix>:<purpose>`.

    Args:
        protocol: of the venue.
        prefix: of the names.
        instruments: capacity of the instrument table: where the venue counts instruments apart, each has a
            bucket.
    """
    rules: Sequence[RateRule] = limits_of(protocol).RULES
    return tuple(
        replace(
            rule,
            name=f"{prefix}:{rule.name}",
            count=instruments if rule.scope is RateScope.INSTRUMENT else 1,
        )
        for rule in rules
    )


class AccountRates:
    """One account's lanes in the shared ledger.

    Args:
        ledger: of the run.
        protocol: whose limits these are.
        names: purpose → name of its rule in the ledger.
        utc_ns: wall clock.
        limits: purpose → (limit, burst) as configured; limits that the venue states for other purposes are
            not taken over.
        share: of what the venue grants that is ours (`rate_share`).
    """

    def __init__(
        self,
        ledger: RateLedger,
        protocol: str,
        names: Mapping[str, str],
        utc_ns: Callable[[], int],
        *,
        limits: Mapping[str, Sequence[int]] | None = None,
        share: float = 1.0,
    ) -> None:
        said = limits_of(protocol)
        self.ledger = ledger
        self._names = dict(names)
        self._utc_ns = utc_ns
        self._stops: Mapping[str, tuple[str, RateStop]] = said.STOPS
        self._is_aligned: bool = said.IS_ALIGNED
        self._windows_ns = {rule.name: rule.window_ns for rule in ledger.rule_views()}
        self._configured = dict(limits or {})
        self._share = min(share, 1.0)
        self._stated: dict[str, int] = {}
        self._takes: dict[tuple[tuple[tuple[str, int], ...], int], RateTake] = {}

    def bucket(self, purpose: str, instrument_id: int = 0) -> int:
        """Return the bucket of a purpose; KeyError if the run has no such rule."""
        return self.ledger.bucket(self._names[purpose], max(instrument_id, 0))

    def take(self, rates: tuple[tuple[str, int], ...], lane: int, instrument_id: int, now_ns: int) -> int:
        """Take what a request costs, all or nothing.

        Args:
            rates: (purpose, weight) of each rule that counts it, the scarcest first; empty = nothing does.
            lane: whose share, a `RateLane`.
            instrument_id: of its orders.
            now_ns: monotonic time.

        Returns:
            0 = send it now; above 0 = ask again after so many ns; -1 = it is more than the lane ever has.

        Raises:
            KeyError: the run has no rule for one of these.
        """
        if not rates:
            return 0
        key = (rates, instrument_id)
        take = self._takes.get(key)
        if take is None:
            costs = [(self.bucket(purpose, instrument_id), weight) for purpose, weight in rates]
            take = self._takes[key] = RateTake(self.ledger, costs)
        return take.take(lane, now_ns)

    def can_ever(self, rates: tuple[tuple[str, int], ...], lane: int, instrument_id: int) -> bool:
        """Say whether a request fits into the lane's shares at all."""
        return all(
            self.ledger.wait_ns(self.bucket(purpose, instrument_id), lane, weight, 0) != NEVER
            for purpose, weight in rates
        )

    def is_stopped(
        self, rates: tuple[tuple[str, int], ...], lane: int, instrument_id: int, now_ns: int
    ) -> bool:
        """Whether the venue said that it wants no such request yet."""
        return any(
            self.ledger.stop_ns(self.bucket(purpose, instrument_id), lane) > now_ns for purpose, _ in rates
        )

    def lasting_ns(self, rates: Iterable[tuple[str, int]], now_ns: int) -> int:
        """How long what these cost takes to flow off again: asked for no more often, it can be paid for ever.

        Args:
            rates: (purpose, weight) of each request, any number of a purpose.
            now_ns: now.
        """
        units: Counter[str] = Counter()
        for purpose, weight in rates:
            units[purpose] += weight
        return max(
            (
                weight * self.ledger.view(self.bucket(purpose), now_ns).interval_ns
                for purpose, weight in units.items()
            ),
            default=0,
        )

    def on_refused(
        self, code: str, rates: tuple[tuple[str, int], ...], instrument_id: int, until_ns: int
    ) -> bool:
        """Obey a refusal for too much: everybody it concerns waits, in every process.

        Args:
            code: the venue's code, or the HTTP status as text.
            rates: of the refused request.
            instrument_id: of its orders.
            until_ns: monotonic time until which the venue wants to be left alone.

        Returns:
            False = the code is not one that stops anybody.
        """
        found = self._stops.get(code)
        if found is None:
            return False
        purpose, stop = found
        for name in (purpose,) if purpose else tuple(name for name, _ in rates):
            self.ledger.penalize(self.bucket(name, instrument_id), until_ns, stop)
        return True

    def on_used(self, purpose: str, used: int, sent_ns: int, now_ns: int, instrument_id: int = 0) -> None:
        """Learn from an answer how much the venue has counted by one rule.

        Args:
            purpose: of the rule.
            used: units, whoever sent them.
            sent_ns: when the request was sent: its window is the one the venue speaks of, or an older one.
            now_ns: now.
            instrument_id: where the venue counts instruments apart.
        """
        since_ns = None
        if self._is_aligned:
            utc_ns = self._utc_ns() - (now_ns - sent_ns)
            since_ns = sent_ns - utc_ns % self._windows_ns[self._names[purpose]]
        self.ledger.correct(self.bucket(purpose, instrument_id), used, now_ns, since_ns)

    def on_limit(self, purpose: str, stated: int, now_ns: int) -> int:
        """Take over a limit that the venue states for this account, as far as it is lower than ours.

        Our share of it is what counts, and never more than the configured limit. What a lower one took away
        comes back with a higher one.

        Args:
            purpose: of the rule.
            stated: units a window, as the venue says; 0 and below mean nothing.
            now_ns: now.

        Returns:
            The limit that is in force from now on if it is another one than before, else 0.
        """
        if stated < 1 or self._stated.get(purpose) == stated:
            return 0
        self._stated[purpose] = stated
        configured = self._configured.get(purpose)
        if configured is None:
            return 0
        most, burst = configured
        limit = min(most, max(1, int(stated * self._share)))
        bucket = self.bucket(purpose)
        if self.ledger.view(bucket, now_ns).limit == limit:
            return 0
        self.ledger.set_limit(bucket, limit, now_ns, max(1, burst * limit // most))
        return limit
