"""All checks, and how to run them."""

from __future__ import annotations

from profiles.host import checks_clock, checks_core, checks_limits, checks_memory, checks_traffic
from profiles.host.findings import Check, Finding, State, Subject

CHECKS: tuple[Check, ...] = (
    *checks_core.CHECKS,
    *checks_clock.CHECKS,
    *checks_memory.CHECKS,
    *checks_limits.CHECKS,
    *checks_traffic.CHECKS,
)
_ORDER = (State.UNFIT, State.ADVICE, State.UNKNOWN, State.OK)


def run_checks(subject: Subject) -> tuple[Finding, ...]:
    """Every finding, the worst and weightiest first."""
    found = [check(subject) for check in CHECKS]
    return tuple(sorted(found, key=lambda f: (_ORDER.index(f.state), f.weight)))


def verdict_of(findings: tuple[Finding, ...]) -> State:
    """The worst of all: unfit, advice or ok. What is unknown does not count."""
    states = {f.state for f in findings}
    return next((s for s in (State.UNFIT, State.ADVICE) if s in states), State.OK)
