"""Everything that can be told wrong about a configuration without starting anything."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from actors.errors import RoleError, SettingsError
from actors.roles import role_class
from actors.runtime.settings import check_role_settings
from engine.accounts import OrderUrls
from engine.config import Config
from engine.errors import ConfigError, Problem
from engine.placement import allowed_cores
from engine.toml_lines import Key, dotted, find_line, key_lines
from engine.topology import RunIdentity, VenueUrls, build_topology, gateway_settings, strategy_settings
from engine.venue_config import SecretRef, VenueConfig
from exec.keys import open_to_others
from feeds.adapter import StreamSettings
from feeds.errors import VenueError
from feeds.venues import get_adapter
from risk.errors import LimitsError

Mistake = tuple[Key, str]


def expected_urls(venue: VenueConfig) -> VenueUrls:
    """Addresses that stand for those a simulated venue will have; its symbols are its own affair."""
    if venue.simulated is None:
        return VenueUrls(venue.websocket_url or "", venue.rest_url or "", venue.ca_file)
    count = venue.simulated.instruments or 1
    symbols = tuple(venue.symbols) or tuple(f"(simulated {i})" for i in range(count))
    orders = OrderUrls("ws://127.0.0.1", "ws://127.0.0.1", "http://127.0.0.1")
    return VenueUrls("ws://127.0.0.1", "http://127.0.0.1", None, symbols, orders)


def check_config(
    config: Config, file: str = "", beside: Callable[[Config], list[Mistake]] | None = None
) -> str:
    """Build the topology of a configuration without starting it.

    Args:
        config: validated.
        file: name used in errors.
        beside: finds what can be told only by programs that the engine starts and may not import.

    Returns:
        The placement it would have on this machine.

    Raises:
        ConfigError: a file or adapter it names is not there, or a role is not known or refuses its settings.
        TopologyError: the graph can not run.
    """
    missing: list[Mistake] = [
        (("venues", name, *key.split(".")), f"there is no file {path}")
        for name, venue in config.venues.items()
        for key, path in _files(venue)
        if not Path(path).is_file()
    ]
    missing += _unknown_names(config)
    if beside is not None:
        missing += beside(config)
    if missing:
        raise _config_error(file, missing)
    urls = {name: expected_urls(venue) for name, venue in config.venues.items()}
    identity = RunIdentity(config.name or "check", 1, "", os.getpid())
    loose = config.model_copy(
        update={
            "strategies": [
                s if config.venues[s.venue].symbols else s.model_copy(update={"instruments": "all"})
                for s in config.strategies
            ]
        }
    )
    topology = build_topology(loose, urls, identity, allowed_cores())
    check_settings(config, file)
    return topology.placement


def check_settings(config: Config, file: str = "") -> None:
    """Let each strategy's role, and the gateway, read its settings as they will in their worker.

    Raises:
        ConfigError: naming each role that is not known or refuses.
    """
    asked: list[tuple[Key, str, dict[str, Any]]] = [
        (("strategies", i), s.kind, strategy_settings(config, s)) for i, s in enumerate(config.strategies)
    ]
    asked.append((("orders",), "order_gateway", gateway_settings(config)))
    problems: list[Mistake] = []
    for key, role, settings in asked:
        try:
            check_role_settings(role_class(role), settings)
        except RoleError as error:
            problems.append(((*key, "kind"), str(error)))
        except (SettingsError, LimitsError) as error:
            problems.append((("orders or risk",) if key == ("orders",) else (*key, "settings"), str(error)))
    if problems:
        raise _config_error(file, problems)


def _config_error(file: str, problems: list[Mistake]) -> ConfigError:
    """Name the lines too, where the configuration comes from a file."""
    lines: dict[Key, int] = {}
    with suppress(OSError, UnicodeDecodeError):
        lines = key_lines(Path(file).read_text()) if file else {}
    found = [Problem(dotted(key), text, find_line(lines, key)) for key, text in problems]
    return ConfigError(file or "configuration", found)


def _unknown_names(config: Config) -> list[Mistake]:
    """Adapters and streams that there are not."""
    problems: list[Mistake] = []
    for name, venue in config.venues.items():
        try:
            adapter = get_adapter(venue.adapter)
        except VenueError as error:
            problems.append((("venues", name, "adapter"), str(error)))
            continue
        streams = StreamSettings(venue.depth_stream or "", venue.trade_stream or "")
        for key, choose in (
            ("depth_stream", adapter.depth_stream_of),
            ("trade_stream", adapter.trade_stream_of),
        ):
            try:
                choose(streams)
            except VenueError as error:
                problems.append((("venues", name, key), str(error)))
    return problems


def _files(venue: VenueConfig) -> list[tuple[str, str]]:
    files = [("ca_file", venue.ca_file)]
    if venue.simulated is not None:
        files += [("simulated.capture", path) for path in venue.simulated.capture]
    return [(key, path) for key, path in files if path is not None]


def key_warnings(config: Config) -> list[str]:
    """What is wrong with the files that the keys of accounts are in, without reading them."""
    found: list[str] = []
    for name, venue in config.venues.items():
        account = venue.account
        for part in ("api_key", "secret", "passphrase"):
            place: SecretRef | None = getattr(account, part, None)
            if place is None or place.file is None:
                continue
            path = place.file
            text = open_to_others(path) if Path(path).is_file() else f"there is no file {path}"
            if text:
                found.append(f"venues.{name}.account.{part}: {text}")
    return found
