"""Mistakes in `simulated` tables of a configuration that only the simulated venues themselves can tell."""

from __future__ import annotations

from collections.abc import Iterator

from engine.config import Config
from engine.toml_lines import Key
from engine.venue_config import SimulatedConfig
from tools.venues.errors import SettingsError


def simulated_mistakes(config: Config) -> list[tuple[Key, str]]:
    """What the simulated venues of a configuration would refuse when they start: (key, text).

    Args:
        config: validated, its paths absolute.
    """
    return [
        (("venues", name, "simulated", key), text)
        for name, venue in config.venues.items()
        if venue.simulated is not None
        for key, text in _refused(venue.adapter, venue.simulated)
    ]


def _refused(venue: str, simulated: SimulatedConfig) -> Iterator[tuple[str, str]]:
    # The parsers bring a whole exchange along: imported where there is something for them to read.
    if simulated.balances is not None:
        from tools.venues.trading.settings import parse_balances

        try:
            parse_balances(simulated.balances)
        except SettingsError as error:
            yield "balances", str(error)
    if simulated.faults:
        from tools.venues.faults import read_faults, refuse_order_faults

        try:
            faults = read_faults(simulated.faults, venue)
            if not simulated.trade:
                refuse_order_faults(faults)
        except SettingsError as error:
            yield "faults", str(error)
