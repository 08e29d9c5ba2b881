"""`ringlane check`: validate a configuration and print it resolved, without secrets."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer

from engine.checking import check_config, key_warnings
from engine.config import dump_config
from tools.simulated_check import simulated_mistakes
from tools.verbs.run import load


def check(
    config: Annotated[
        Path | None, typer.Argument(help="configuration file (default: the embedded one)")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="print one JSON object")] = False,
) -> None:
    """Validate a configuration and print it resolved: every default filled in, secrets as references only.

    Warns of key files that are not there, or that others than their owner can read.
    """
    resolved = load(config)
    placement = check_config(resolved, str(config or "embedded default"), simulated_mistakes)
    for text in key_warnings(resolved):
        typer.echo(f"warning: {text}", err=True)
    if json:
        typer.echo(orjson.dumps({"config": dump_config(resolved), "placement": placement}).decode())
        return
    typer.echo(f"# {config or 'embedded default'}: valid; placement {placement}")
    typer.echo(to_toml(dump_config(resolved)))


def to_toml(data: dict[str, Any]) -> str:
    """Write plain data (tables, arrays, scalars) as TOML that reads back equal."""
    lines: list[str] = []
    _table(data, "", lines)
    text = "\n".join(lines).strip() + "\n"
    assert tomllib.loads(text) == data
    return text


def _table(data: dict[str, Any], prefix: str, lines: list[str]) -> None:
    nested = {k: v for k, v in data.items() if isinstance(v, dict) or _is_tables(v)}
    for key, value in data.items():
        if key not in nested:
            lines.append(f"{_key(key)} = {_value(value)}")
    for key, value in nested.items():
        path = f"{prefix}.{_key(key)}" if prefix else _key(key)
        if isinstance(value, dict):
            lines += ["", f"[{path}]"]
            _table(value, path, lines)
        else:
            for row in value:
                lines += ["", f"[[{path}]]"]
                _table(row, path, lines)


def _is_tables(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(v, dict) for v in value)


def _key(key: str) -> str:
    return key if key.replace("-", "").replace("_", "").isalnum() and key.isascii() else _value(key)


def _value(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return f"[{', '.join(_value(v) for v in value)}]"
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{_key(k)} = {_value(v)}" for k, v in value.items()) + " }"
    if isinstance(value, str):
        # A JSON string is a TOML basic string.
        return orjson.dumps(value).decode()
    return repr(value)
