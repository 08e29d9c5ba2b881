"""TLS settings of a client."""

from __future__ import annotations

import ssl
from pathlib import Path

from feeds.errors import TransportError


def client_context(ca_file: str | Path | None = None) -> ssl.SSLContext:
    """Make a verifying client context; with `ca_file` that authority alone is trusted, else the system's.

    Raises:
        TransportError: the file can not be read or holds no certificate.
    """
    try:
        return ssl.create_default_context(cafile=str(ca_file) if ca_file is not None else None)
    except (OSError, ssl.SSLError) as error:
        raise TransportError(f"CA file {ca_file} can not be used: {error}") from error
