"""Signatures of requests: HMAC-SHA256 and Ed25519, and the texts that venues have signed.

The texts are plain functions of what is sent; which one a venue wants is its adapter's business. Ed25519
needs the package `cryptography`, imported when such a key is first used.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from urllib.parse import quote

from exec.errors import KeysError
from exec.hmac_sha256 import HmacSha256
from exec.keys import Keys

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

Params = Iterable[tuple[str, str]]


class Signer:
    """Signs texts with one account's keys.

    Args:
        keys: of the account.

    Raises:
        KeysError: an Ed25519 secret that is no PEM (PKCS8) private key, or `cryptography` is missing.
    """

    __slots__ = ("_hmac", "_private", "api_key", "is_ed25519", "passphrase")

    def __init__(self, keys: Keys) -> None:
        self.api_key = keys.api_key
        self.passphrase = keys.passphrase
        self.is_ed25519 = keys.kind == "ed25519"
        self._hmac = HmacSha256(b"" if self.is_ed25519 else keys.secret.encode())
        self._private = _load_ed25519(keys.secret) if self.is_ed25519 else None

    def __repr__(self) -> str:
        return f"Signer({'ed25519' if self.is_ed25519 else 'hmac'})"

    def digest(self, text: bytes) -> bytes:
        """The raw signature: 32 bytes of HMAC-SHA256, or 64 of Ed25519."""
        if self._private is not None:
            return self._private.sign(text)
        return self._hmac.digest(text)

    def hex(self, text: bytes) -> str:
        """HMAC as lower-case hex; an Ed25519 signature as base64, as venues that take both want it."""
        if self._private is not None:
            return self.base64(text)
        return self._hmac.hex(text).decode()

    @property
    def sign(self) -> Callable[[bytes], bytes]:
        """What makes the signature of a text as `hex` does, as bytes, without a detour."""
        return self._hmac.hex if self._private is None else lambda text: self.base64(text).encode()

    def base64(self, text: bytes) -> str:
        """The signature as base64."""
        return base64.b64encode(self.digest(text)).decode("ascii")


def _load_ed25519(pem: str) -> Ed25519PrivateKey:
    try:
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import ed25519
    except ImportError as error:
        raise KeysError("Ed25519 keys need the package cryptography (extra tls)") from error
    try:
        key = serialization.load_pem_private_key(pem.encode(), password=None)
    except (ValueError, TypeError):
        # Its own text may quote what it was given.
        raise KeysError("the Ed25519 secret is not a PEM private key without a password") from None
    if not isinstance(key, ed25519.Ed25519PrivateKey):
        raise KeysError("the Ed25519 secret is a private key of another kind")
    return key


# ---- texts ----------------------------------------------------------------------------------------------


def query_text(params: Params) -> str:
    """Parameters as a query in the order given, percent-encoded: sent and signed alike."""
    return "&".join(f"{quote(name, safe='')}={quote(value, safe='')}" for name, value in params)


def sorted_text(params: Params) -> str:
    """Parameters sorted by name and joined raw (not percent-encoded), as websocket requests sign them."""
    return "&".join(f"{name}={value}" for name, value in sorted(params))


def method_text(timestamp: str, method: str, path: str, body: str = "") -> str:
    """Timestamp, method, path with query, body: nothing between them.

    The timestamp is `iso_ms_text` for REST; websocket logins sign whole seconds, `GET` and a path.
    """
    return f"{timestamp}{method}{path}{body}"


def window_text(timestamp_ms: int, api_key: str, receive_window_ms: int, payload: str) -> str:
    """Timestamp, API key, window, then the query string or the body byte for byte: nothing between them."""
    return f"{timestamp_ms}{api_key}{receive_window_ms}{payload}"


def realtime_text(expires_ms: int) -> str:
    """The text a websocket login signs that is good until `expires_ms`."""
    return f"GET/realtime{expires_ms}"


def iso_ms_text(utc_ns: int) -> str:
    """A time as ISO 8601 in UTC with milliseconds and Z, cut (not rounded): `2020-12-08T09:08:57.715Z`."""
    seconds, rest = divmod(utc_ns, 1_000_000_000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest // 1_000_000:03d}Z"
