"""The accounts of a run: which protocol trades which venues, and keys of simulated ones, random for each run.

Keys travel by environment alone, and only to the processes that need them: the venue that checks them and the
worker that signs. Of a real account this process never reads them: the settings name the places.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from actors.runtime.spec import WorkerSpec
from engine.config import Config
from engine.errors import TopologyError
from engine.venue_config import AccountConfig, SecretRef, VenueConfig
from exec.venues import PROTOCOL_OF

#: What the simulated venues read (`tools.venues.trading.keys`).
VENUE_KEYS = "RINGLANE_VENUE_KEYS"
KEY_BYTES = 32


@dataclass(frozen=True, slots=True)
class OrderUrls:
    """Where an account is reached, as a simulated venue says when it is up."""

    order: str
    private: str
    rest: str


class AccountKeys:
    """Random keys of the simulated accounts of one run, and who may see those of real ones.

    A child inherits the environment of the supervisor; variables that hold keys of real accounts are empty in
    that of a child that signs nothing. The text of this object shows no key.
    """

    def __init__(self, config: Config) -> None:
        self._keys: dict[str, dict[str, str]] = {}
        self._hidden = {
            place.env: ""
            for venue in config.venues.values()
            if venue.account is not None
            for place in (venue.account.api_key, venue.account.secret, venue.account.passphrase)
            if place is not None and place.env is not None and place.env in os.environ
        }
        if config.orders.mode != "venue":
            return
        for name, venue in config.venues.items():
            if venue.simulated is not None:
                self._keys[name] = {
                    "api_key": secrets.token_hex(KEY_BYTES),
                    "secret": secrets.token_hex(KEY_BYTES),
                    "passphrase": secrets.token_hex(8),
                }

    def __repr__(self) -> str:
        return f"AccountKeys({', '.join(self._keys)})"

    def of_venue(self, venue: str) -> dict[str, str]:
        """Environment of a simulated venue's process."""
        if venue not in self._keys:
            return dict(self._hidden)
        keys = orjson.dumps([{"account": "main", **self._keys[venue]}]).decode()
        return {**self._hidden, VENUE_KEYS: keys}

    def of_worker(self, spec: WorkerSpec) -> dict[str, str]:
        """Environment of a worker: the keys for those that sign (gateway, sentinel), none for others."""
        if spec.slot not in (*spec.gateways, spec.sentinel_slot):
            return dict(self._hidden)
        return {
            variable(venue, part): value
            for venue, parts in self._keys.items()
            for part, value in parts.items()
        }


def variable(venue: str, part: str) -> str:
    """Name of the environment variable that holds a part of a simulated account's key."""
    return f"RINGLANE_ACCOUNT_{venue}_{part}".upper().replace("-", "_")


def account_rows(
    config: Config,
    urls: Mapping[str, OrderUrls | None],
    symbols: Mapping[str, list[str]],
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Settings of the gateway and of the account actor, account by account; none in paper mode.

    Venues that one real account trades on (same protocol, same keys) are one row; simulated ones have each
    their own.

    Args:
        config: of the run.
        urls: where the simulated venues take orders.
        symbols: by venue.

    Raises:
        TopologyError: a venue's adapter has no order protocol, or a simulated venue does not trade.
    """
    signing: list[dict[str, Any]] = []
    sending: list[dict[str, Any]] = []
    if config.orders.mode != "venue":
        return signing, sending
    by_key: dict[tuple[str, str], dict[str, Any]] = {}
    for name, venue in config.venues.items():
        protocol = PROTOCOL_OF.get(venue.adapter)
        if protocol is None:
            raise TopologyError(f"venues.{name}: adapter {venue.adapter} has no order entry")
        account = _account(name, venue)
        shared = (protocol, name if venue.simulated is not None else account.api_key.model_dump_json())
        row = by_key.get(shared)
        if row is not None:
            row["venues"].append(venue.adapter)
            row["symbols"] += symbols[name]
            continue
        row, rest_url = _row(name, venue, account, urls.get(name))
        row |= {"protocol": protocol, "symbols": list(symbols[name])}
        by_key[shared] = row
        signing.append(row)
        sending.append({"name": name, "rest_url": rest_url, "ca_file": row["ca_file"]})
    return signing, sending


def _account(name: str, venue: VenueConfig) -> AccountConfig:
    if venue.account is not None:
        return venue.account
    api_key, secret, passphrase = (
        SecretRef(env=variable(name, part)) for part in ("api_key", "secret", "passphrase")
    )
    return AccountConfig(api_key=api_key, secret=secret, passphrase=passphrase)


def _row(
    name: str, venue: VenueConfig, account: AccountConfig, urls: OrderUrls | None
) -> tuple[dict[str, Any], str]:
    if venue.simulated is not None and urls is None:
        raise TopologyError(f"venues.{name}: the simulated venue says nothing of order entry")
    order, private = account.order_url or "", account.private_url or ""
    rest = account.rest_url or venue.rest_url or ""
    if urls is not None:
        order, private, rest = urls.order, urls.private, urls.rest
    passphrase = account.passphrase.model_dump(exclude_none=True) if account.passphrase is not None else {}
    row = {
        "name": name,
        "venues": [venue.adapter],
        "order_url": order,
        "private_url": private,
        "ca_file": venue.ca_file,
        "api_key": account.api_key.model_dump(exclude_none=True),
        "secret": account.secret.model_dump(exclude_none=True),
        "passphrase": passphrase,
        "kind": account.kind,
        "options": dict(account.options),
        "rotate_s": account.rotate_s,
    }
    return row, rest
