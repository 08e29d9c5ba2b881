"""One account that a run trades: where it is reached, where its keys are, what limits it is counted by."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from actors.errors import SettingsError
from exec.keys import KINDS, KeyKind, Keys, forbid_core_dump, open_to_others, read_secret
from exec.rate_limits import AccountRates
from feeds.venues import VENUE_ID
from shm.rate_ledger import RateLedger


@dataclass(frozen=True, slots=True)
class VenueAccount:
    """One account the gateway trades; in the settings of the role `order_gateway`.

    Args:
        name: of the account.
        protocol: key of `exec.venues.PROTOCOLS`.
        venues: adapter names of the venues it trades on.
        symbols: what the run trades there.
        order_url: base address of the order socket, "" = the venue's own.
        private_url: the same of the private stream.
        ca_file: PEM file of a private authority.
        api_key: where it is: {"env": NAME} or {"file": PATH}.
        secret: the same.
        passphrase: the same, {} = none.
        kind: "hmac" or "ed25519".
        options: the protocol's own.
        rates: purpose → name of the rule in the rate ledger; empty = nothing is counted.
        rate_limits: purpose → limit and burst as configured: what the venue states is used up to there.
        rate_share: of what the venue grants that is this run's.
        rotate_s: after that each of the two sockets is replaced by a new one; 0 = half a day.
    """

    name: str
    protocol: str
    venues: list[str]
    symbols: list[str] = field(default_factory=list)
    order_url: str = ""
    private_url: str = ""
    ca_file: str | None = None
    api_key: dict[str, str] = field(default_factory=dict)
    secret: dict[str, str] = field(default_factory=dict)
    passphrase: dict[str, str] = field(default_factory=dict)
    kind: str = "hmac"
    options: dict[str, Any] = field(default_factory=dict)
    rates: dict[str, str] = field(default_factory=dict)
    rate_limits: dict[str, list[int]] = field(default_factory=dict)
    rate_share: float = 1.0
    rotate_s: float = 0.0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise SettingsError(f"order_gateway: account {self.name}: kind {self.kind!r} is not known")
        unknown = [name for name in self.venues if name not in VENUE_ID]
        if unknown or not self.venues:
            raise SettingsError(f"order_gateway: account {self.name}: no venues {unknown or ''}".rstrip())

    def read_keys(self) -> Keys:
        """The keys themselves, from where they are; raises KeysError, which names the place only.

        From then on this process leaves no core dump.
        """
        forbid_core_dump()
        kind: KeyKind = "ed25519" if self.kind == "ed25519" else "hmac"
        api_key, secret, passphrase = (
            read_secret(f"account {self.name}: {what}", place.get("env"), place.get("file"))
            for what, place in (
                ("api_key", self.api_key),
                ("secret", self.secret),
                ("passphrase", self.passphrase),
            )
        )
        return Keys(api_key, secret, passphrase, kind)

    def exposed_keys(self) -> list[str]:
        """What is wrong with the files of the keys: others than their owner can read them."""
        files = (place.get("file") for place in (self.api_key, self.secret, self.passphrase))
        return [text for file in files if file and (text := open_to_others(file))]

    def make_rates(self, ledger: RateLedger, utc_ns: Callable[[], int]) -> AccountRates | None:
        """This account's lanes in the run's ledger; None = nothing of it is counted."""
        if not self.rates:
            return None
        return AccountRates(
            ledger, self.protocol, self.rates, utc_ns, limits=self.rate_limits, share=self.rate_share
        )
