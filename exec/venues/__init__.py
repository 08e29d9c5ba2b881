"""Order entry at the venues: one folder each; a protocol speaks for one account, on one venue or several."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module

from exec.errors import OrderError
from exec.keys import Keys
from exec.order_protocol import Directory, OrderProtocol

# Name → (module, class). Loaded on demand: a process imports the protocols of its own accounts only.
PROTOCOLS: dict[str, tuple[str, str]] = {
    "binance_usdm": ("exec.venues.binance_usdm.protocol", "BinanceUsdm"),
    "okx": ("exec.venues.okx.protocol", "Okx"),
    "bybit": ("exec.venues.bybit.protocol", "Bybit"),
}

#: Which protocol speaks for a venue: one account may trade on several.
PROTOCOL_OF: dict[str, str] = {
    "binance_usdm": "binance_usdm",
    "okx": "okx",
    "bybit_linear": "bybit",
    "bybit_spot": "bybit",
}


def protocol_class(name: str) -> type[OrderProtocol]:
    """The class of a protocol.

    Raises:
        OrderError: no protocol bears this name; the text lists those that exist.
    """
    if name not in PROTOCOLS:
        raise OrderError(f"unknown order protocol {name!r}; known: {', '.join(sorted(PROTOCOLS))}")
    module, class_name = PROTOCOLS[name]
    found: type[OrderProtocol] = getattr(import_module(module), class_name)
    return found


def make_protocol(
    name: str,
    keys: Keys,
    tag: str,
    directory: Directory,
    *,
    order_url: str = "",
    private_url: str = "",
    symbols: Sequence[str] = (),
    **options: object,
) -> OrderProtocol:
    """Make the protocol of one account.

    Args:
        name: key of `PROTOCOLS`.
        keys: of the account.
        tag: of the instance (`exec.client_ids.tag_of`).
        directory: the instruments.
        order_url: base address of the order socket, "" = the real venue's.
        private_url: the same of the private stream.
        symbols: what the run trades, for questions the venue answers per symbol.
        options: the venue's own.

    Raises:
        OrderError: no protocol bears this name.
        KeysError: the keys do not fit the venue.
    """
    make: Callable[..., OrderProtocol] = protocol_class(name)
    return make(
        keys, tag, directory, order_url=order_url, private_url=private_url, symbols=symbols, **options
    )
