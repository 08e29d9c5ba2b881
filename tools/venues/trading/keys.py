"""API keys a simulated venue accepts: given by environment, or made at start (they are worth nothing)."""

from __future__ import annotations

import base64
import hmac
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from tools.venues.errors import SettingsError

KEYS_VARIABLE = "RINGLANE_VENUE_KEYS"
KINDS = ("hmac", "ed25519")


@dataclass(frozen=True, slots=True)
class ApiKey:
    """One key of an account; the secrets do not show.

    Args:
        account: the name of the account it trades for.
        api_key: what the client names.
        kind: `hmac` or `ed25519`.
        secret: of the HMAC.
        passphrase: where the venue has one.
        public_key: of Ed25519, an object of the package `cryptography`.
        private_pem: of a key made here, to be printed.
    """

    account: str
    api_key: str
    kind: str = "hmac"
    secret: str = field(default="", repr=False)
    passphrase: str = field(default="", repr=False)
    public_key: Any = field(default=None, repr=False)
    private_pem: str = field(default="", repr=False)

    def digest(self, payload: bytes) -> bytes:
        """HMAC-SHA256 of a payload."""
        return hmac.digest(self.secret.encode(), payload, "sha256")

    def is_hex_signed(self, payload: bytes, signature: str) -> bool:
        """Whether a hex HMAC, or the base64 of an Ed25519 signature, is right; by the kind of the key."""
        if self.kind == "ed25519":
            return self._is_ed25519_signed(payload, signature)
        return hmac.compare_digest(self.digest(payload).hex().encode(), signature.lower().encode())

    def is_base64_signed(self, payload: bytes, signature: str) -> bool:
        """Whether a base64 HMAC is right."""
        return hmac.compare_digest(base64.b64encode(self.digest(payload)), signature.encode())

    def _is_ed25519_signed(self, payload: bytes, signature: str) -> bool:
        from cryptography.exceptions import InvalidSignature

        try:
            self.public_key.verify(base64.b64decode(signature, validate=True), payload)
        except (InvalidSignature, ValueError):
            return False
        return True

    def printed(self) -> dict[str, str]:
        """All of it, for the ready line of a venue somebody started by hand."""
        words = {"account": self.account, "api_key": self.api_key, "kind": self.kind}
        if self.kind == "ed25519":
            return {**words, "private_key": self.private_pem}
        return {**words, "secret": self.secret, "passphrase": self.passphrase}


def make_keys(accounts: tuple[str, ...], *, with_ed25519: bool) -> list[ApiKey]:
    """Make random keys: an HMAC one per account, and for the first an Ed25519 one where that is possible."""
    found = [
        ApiKey(name, secrets.token_hex(32), "hmac", secrets.token_hex(32), secrets.token_hex(8))
        for name in accounts
    ]
    if with_ed25519:
        try:
            from cryptography.hazmat.primitives import serialization
            from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
        except ImportError:
            return found
        private = Ed25519PrivateKey.generate()
        pem = private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        found.append(
            ApiKey(
                accounts[0], secrets.token_hex(32), "ed25519",
                public_key=private.public_key(), private_pem=pem.decode(),
            )
        )  # fmt: skip
    return found


def read_keys(environment: Mapping[str, str] = os.environ) -> list[ApiKey]:
    """Return the keys of the environment variable RINGLANE_VENUE_KEYS; empty when it is not set.

    Its value is a JSON list of {"account", "api_key", "secret", "passphrase"} or {"account", "api_key",
    "kind": "ed25519", "public_key": PEM}.

    Raises:
        SettingsError: it can not be understood; the text holds no secret.
    """
    text = environment.get(KEYS_VARIABLE, "")
    if not text:
        return []
    try:
        rows = orjson.loads(text)
        found = [_read_key(row) for row in rows]
    except (orjson.JSONDecodeError, TypeError, KeyError, AttributeError, ValueError):
        raise SettingsError(f"{KEYS_VARIABLE} is no JSON list of keys (account, api_key, secret …)") from None
    names = [one.api_key for one in found]
    if len(set(names)) != len(names) or not all(names):
        raise SettingsError(f"{KEYS_VARIABLE} names an API key twice, or an empty one")
    return found


def _read_key(row: dict[str, str]) -> ApiKey:
    kind = row.get("kind", "hmac")
    if kind == "hmac":
        return ApiKey(
            row.get("account", "main"), row["api_key"], kind, row["secret"], row.get("passphrase", "")
        )
    if kind != "ed25519":
        raise ValueError(kind)
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    public = load_pem_public_key(row["public_key"].encode())
    return ApiKey(row.get("account", "main"), row["api_key"], kind, public_key=public)
