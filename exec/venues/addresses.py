"""Addresses of sockets, as OKX and Bybit have them: a host, and a fixed path behind it."""

from __future__ import annotations


def with_path(url: str, path: str) -> str:
    """Return an address with the venue's path, unless it has a path of its own."""
    base = url.rstrip("/")
    return base if "/" in base.partition("://")[2] else base + path
