"""Which rate limits a run counts, and how each venue's actors call them.

What a venue grants is said by its adapter (market data) and by its order-entry limits; here limits that
count the same thing are put together: two symbol namespaces at one host share that host's limits.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from engine.venue_config import VenueConfig
from exec.rate_limits import limits_of, order_rules
from exec.venues import PROTOCOL_OF
from feeds.adapter import VenueAdapter
from feeds.venues import ADAPTERS, get_adapter
from shm.enums import RateScope, RateUnit
from shm.rate_rules import SECOND_NS, RateRule, scaled

#: At once: every book's snapshot at the start, which cost 45 % of a minute (`VenueAdapter.choose_depth`), fit
#: into the share that resyncs have of this burst.
WEIGHT_BURST = 0.65
LONG_WINDOW_S = 300
SESSION_SOCKETS = 2


@dataclass(frozen=True, slots=True)
class RatePlan:
    """The rules of a run, and what they are called.

    Attributes:
        rules: for the ledger.
        names: by venue and purpose, of market data.
        accounts: by order protocol and purpose, of order entry.
        shares: by order protocol, of what the venue grants that is the run's.
    """

    rules: tuple[RateRule, ...] = ()
    names: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    accounts: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    shares: Mapping[str, float] = field(default_factory=dict)

    def account_settings(self, protocol: str) -> dict[str, Any]:
        """What a gateway is told of the limits of its account (`actors.venue_account.VenueAccount`)."""
        names = self.accounts[protocol]
        rules = {rule.name: rule for rule in self.rules}
        return {
            "rates": dict(names),
            "rate_limits": {
                purpose: [rules[name].limit, rules[name].burst_of(rules[name].limit)]
                for purpose, name in names.items()
            },
            "rate_share": self.shares[protocol],
        }


def weight_rule(name: str, adapter: VenueAdapter) -> RateRule:
    """The limit of public REST requests from one address."""
    limit, seconds = adapter.rest_limit
    return RateRule(
        name,
        adapter.venue_id,
        RateScope.ADDRESS,
        RateUnit.WEIGHT,
        limit,
        round(seconds * SECOND_NS),
        burst=max(1, int(limit * WEIGHT_BURST)),
    )


def connects_rule(name: str, adapter: VenueAdapter, per_second: float = 0.0) -> RateRule:
    """The limit of connection attempts from one address.

    A venue that lets more connect at once than in a second counts over five minutes, others each second.
    There two may connect at once, as many as an account's session needs: what lasts is one less a second.

    Args:
        name: of the rule.
        adapter: of the venue.
        per_second: attempts, 0 = what the venue allows.
    """
    per_second = per_second or adapter.connects_per_second
    is_long = adapter.connect_burst > per_second or per_second < 1
    seconds = LONG_WINDOW_S if is_long else 1
    limit = max(1, int(per_second * seconds))
    return RateRule(
        name,
        adapter.venue_id,
        RateScope.ADDRESS,
        RateUnit.CONNECTS,
        limit,
        seconds * SECOND_NS,
        burst=min(adapter.connect_burst, max(1, limit // 2)) if is_long else min(limit, SESSION_SOCKETS),
    )


def plan_rates(
    venues: Mapping[str, VenueConfig], urls: Mapping[str, tuple[str, str]], order_instruments: int = 0
) -> RatePlan:
    """Make the rules of a run's venues.

    Args:
        venues: of the configuration, by name.
        urls: where each is reached, REST and websocket: what counts an address counts it by host.
        order_instruments: capacity of the instrument table if orders go to the venues; 0 = none do.
    """
    rules: dict[str, RateRule] = {}
    names: dict[str, dict[str, str]] = {}
    accounts: dict[str, dict[str, str]] = {}
    shares: dict[str, float] = {}
    for venue, config in venues.items():
        names[venue] = {}
        if config.adapter not in ADAPTERS:
            continue  # whether that is a mistake is for the check of the configuration to say
        adapter = get_adapter(config.adapter)
        made = {
            "weight": weight_rule(_name(venue, config, urls[venue][0], "weight"), adapter),
            "connects": connects_rule(
                _name(venue, config, urls[venue][1], "connects"), adapter, config.connects_per_s
            ),
        }
        names[venue] = {purpose: rule.name for purpose, rule in made.items()}
        protocol = PROTOCOL_OF.get(config.adapter)
        orders: tuple[RateRule, ...] = ()
        if order_instruments and protocol is not None and protocol not in accounts:
            accounts[protocol], orders = _account(protocol, names[venue], order_instruments)
            shares[protocol] = config.rate_share
        for rule in scaled((*made.values(), *orders), _factor(config)):
            rules.setdefault(rule.name, rule)
    return RatePlan(tuple(rules.values()), names, accounts, shares)


def _account(
    protocol: str, market_data: Mapping[str, str], instruments: int
) -> tuple[dict[str, str], tuple[RateRule, ...]]:
    """Names by purpose of an account's limits, and the rules among them that market data has not."""
    shared: Mapping[str, str] = limits_of(protocol).SHARED
    own = {rule.name.partition(":")[2]: rule for rule in order_rules(protocol, protocol, instruments)}
    names = {
        purpose: market_data[shared[purpose]] if purpose in shared else rule.name
        for purpose, rule in own.items()
    }
    return names, tuple(rule for purpose, rule in own.items() if purpose not in shared)


def _factor(config: VenueConfig) -> float:
    return config.rate_share * (config.simulated.rate_factor if config.simulated is not None else 1.0)


def _name(venue: str, config: VenueConfig, url: str, purpose: str) -> str:
    # A simulated venue is told by its name: its port changes with every run.
    place = urlsplit(url) if config.simulated is None else None
    host = (place.hostname if place is not None else None) or venue
    if place is not None and place.port is not None and _is_loopback(host):
        host = (
            f"{host}:{place.port}"  # venues (or ways to them) on this machine have its address in common only
        )
    return f"{host[: 46 - len(purpose)]}.{purpose}"


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
