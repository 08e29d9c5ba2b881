"""Paths in a configuration: relative ones start from the folder of its file, from wherever it is run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

LATENCIES = ("entry_latency", "response_latency", "feed_latency")
TABLE = "table:"

Table = dict[str, Any]


def resolve_paths(data: Table, base: Path) -> None:
    """Make the paths of a file absolute, so that every process of the run reads the same files.

    Args:
        data: the parsed file, changed in place; what is of the wrong type is left for the validation.
        base: folder that relative paths start from.
    """
    for table, key in _places(data):
        value = table.get(key)
        if isinstance(value, str):
            table[key] = _absolute(value, base)
        elif isinstance(value, list):
            table[key] = [_absolute(v, base) if isinstance(v, str) else v for v in value]
    for table in _delayed(data):
        for key in LATENCIES:
            value = table.get(key)
            if isinstance(value, str) and value.startswith(TABLE) and value != TABLE:
                table[key] = TABLE + _absolute(value.removeprefix(TABLE), base)
    for simulated in _simulated(data):
        script = simulated.get("faults")
        if isinstance(script, str) and script and _is_file_name(script, base):
            simulated["faults"] = _absolute(script, base)


def _absolute(value: str, base: Path) -> str:
    try:
        return str(base / Path(value).expanduser())
    except RuntimeError:  # ~NAME of nobody: a path like any other
        return str(base / value)


def _is_file_name(script: str, base: Path) -> bool:
    """Whether a fault script is given by the name of its file: a fault has a colon, few names have."""
    if ":" not in script:
        return True
    try:
        return Path(_absolute(script, base)).is_file()
    except OSError:  # too long for a name
        return False


def _places(data: Table) -> Iterator[tuple[Table, str]]:
    """Where paths stand, if there are any."""
    store = _table(data, "store")
    yield store, "path"
    if "://" not in str(store.get("archive", "")):
        yield store, "archive"  # or an address
    for key in ("url", "mirror"):
        yield _table(store, key), "file"
    for venue in _venues(data):
        yield venue, "ca_file"
        yield _table(venue, "simulated"), "capture"
        account = _table(venue, "account")
        for key in account:
            yield _table(account, key), "file"


def _delayed(data: Table) -> Iterator[Table]:
    """The tables that latencies stand in."""
    yield _table(data, "orders")
    yield _table(data, "shadow")
    yield from _simulated(data)


def _simulated(data: Table) -> Iterator[Table]:
    for venue in _venues(data):
        yield _table(venue, "simulated")


def _venues(data: Table) -> Iterator[Table]:
    venues = _table(data, "venues")
    for name in venues:
        yield _table(venues, name)


def _table(holder: Table, key: str) -> Table:
    """A table of a table, an empty one if there is none."""
    value = holder.get(key)
    return value if isinstance(value, dict) else {}
