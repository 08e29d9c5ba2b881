"""Config generations: what a running engine may take over from a changed file, and what it may not."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from engine.config import Config, dump_config
from engine.errors import ReloadError

# Everything else shapes processes, segments or identity, and needs a new run.
RELOADABLE = ("risk", "strategies.*.settings")


def changed_keys(old: Config, new: Config) -> list[str]:
    """Dotted keys whose values differ; strategies are matched by name, so their order does not matter."""
    return sorted(set(_differences(_comparable(old), _comparable(new), ())))


def _comparable(config: Config) -> dict[str, Any]:
    data = dump_config(config)
    # How long to run is decided at the start, also by the command line.
    data["run"].pop("duration_s", None)
    data["strategies"] = {s.pop("name"): s for s in data.get("strategies", [])}
    return data


def _differences(old: object, new: object, key: tuple[str, ...]) -> Iterator[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        for name in old.keys() | new.keys():
            yield from _differences(old.get(name), new.get(name), (*key, name))
    elif old != new:
        yield ".".join(key)


def _reloadable(key: str) -> bool:
    parts = key.split(".")
    for pattern in RELOADABLE:
        wanted = pattern.split(".")
        if len(parts) >= len(wanted) and all(w in ("*", p) for w, p in zip(wanted, parts, strict=False)):
            return True
    return False


def check_reload(old: Config, new: Config) -> list[str]:
    """Decide whether a running engine may take over a configuration.

    Returns:
        The dotted keys that change, all of them reloadable; empty when nothing changed.

    Raises:
        ReloadError: a key that needs a new run differs; each is named.
    """
    changed = changed_keys(old, new)
    refused = [key for key in changed if not _reloadable(key)]
    if refused:
        allowed = ", ".join(RELOADABLE)
        raise ReloadError(f"needs a new run: {', '.join(refused)} (a reload may change {allowed})")
    return changed
