"""The venues: one folder each, one name per symbol namespace."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING

from feeds.errors import VenueError

if TYPE_CHECKING:
    from feeds.adapter import VenueAdapter

# Name → (module, class). Loaded on demand: a worker imports the decoder of its own venue only.
ADAPTERS: dict[str, tuple[str, str]] = {
    "binance_usdm": ("feeds.venues.binance_usdm.adapter", "BinanceUsdm"),
    "okx": ("feeds.venues.okx.adapter", "Okx"),
    "bybit_linear": ("feeds.venues.bybit.adapter", "BybitLinear"),
    "bybit_spot": ("feeds.venues.bybit.adapter", "BybitSpot"),
}

VENUE_ID: dict[str, int] = {"binance_usdm": 1, "okx": 2, "bybit_linear": 3, "bybit_spot": 4}

# A name that means several venues of one operator: one capture may hold frames of all of them.
FAMILIES: dict[str, tuple[str, ...]] = {"bybit": ("bybit_linear", "bybit_spot")}


def get_adapter(name: str) -> VenueAdapter:
    """Return the adapter of a venue.

    Raises:
        VenueError: no venue bears this name; the text lists those that exist.
    """
    if name not in ADAPTERS:
        raise VenueError(f"unknown venue {name!r}; known venues: {', '.join(sorted(ADAPTERS))}")
    module, class_name = ADAPTERS[name]
    adapter: VenueAdapter = getattr(import_module(module), class_name)()
    return adapter


def get_adapters(name: str) -> list[VenueAdapter]:
    """Return the adapters of a venue, or of all venues of a family.

    Raises:
        VenueError: no venue and no family bears this name; the text lists those that exist.
    """
    if name not in FAMILIES and name not in ADAPTERS:
        known = ", ".join(sorted([*ADAPTERS, *FAMILIES]))
        raise VenueError(f"unknown venue {name!r}; known venues: {known}")
    return [get_adapter(one) for one in FAMILIES.get(name, (name,))]


def adapter_names(names: Sequence[str]) -> list[str]:
    """Return the names of the adapters of these venues or families; of all venues when none is named.

    Raises:
        VenueError: as `get_adapters`.
    """
    return [adapter.name for name in names for adapter in get_adapters(name)] or list(ADAPTERS)


def venue_name(venue_id: int) -> str:
    """Return the name of a venue number.

    Raises:
        VenueError: no venue has this number.
    """
    for name, number in VENUE_ID.items():
        if number == venue_id:
            return name
    raise VenueError(f"unknown venue number {venue_id}")
