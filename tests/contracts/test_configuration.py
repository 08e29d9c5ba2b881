"""`engine/CONFIGURATION.md` names every key that a configuration takes, with its default, and no other."""

from __future__ import annotations

import re
import tomllib
import typing
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from actors.feed_care import AuditSettings
from actors.strategies.market_maker import MarketMakerSettings
from engine.config import Config
from engine.venue_config import SecretRef
from feeds.quiet import QuietSettings
from feeds.validation import Severity, ValidationSettings

PAGE = Path(__file__).resolve().parents[2] / "engine" / "CONFIGURATION.md"
NOTHING = "–"
REQUIRED = "required"
ROW = re.compile(r"\| `(\w+)` \| ([^|]*) \|")
HEADING = re.compile(r"## (?:\[+([\w.]+)\]+( of a market_maker)?|At the top)$")

Table = dict[str, object]


def documented(text: str) -> dict[str, Table]:
    """By section the keys that the page names, each with its default (`NOTHING`, `REQUIRED`, or a value)."""
    found: dict[str, Table] = {}
    table: Table = {}
    for line in text.splitlines():
        if line.startswith("## "):
            match = HEADING.match(line)
            assert match is not None, f"no section: {line}"
            table = found.setdefault((match[1] or "") + (match[2] or ""), {})
        elif (match := ROW.match(line)) is not None:
            cell = match[2]
            assert match[1] not in table, f"twice: {line}"
            plain = cell in (NOTHING, REQUIRED)
            table[match[1]] = cell if plain else tomllib.loads(f"x = {cell.strip('`')}")["x"]
    return found


def models_in(annotation: object) -> Iterator[type[BaseModel]]:
    """The sections that a field holds."""
    if isinstance(annotation, type):
        if issubclass(annotation, BaseModel) and annotation is not SecretRef:
            yield annotation
        return
    for part in typing.get_args(annotation):
        yield from models_in(part)


def default_of(field: FieldInfo) -> object:
    """A field's default as the page writes it."""
    if field.is_required():
        return REQUIRED
    value = field.get_default(call_default_factory=True)
    return NOTHING if value is None or isinstance(value, BaseModel) else value


def accepted(model: type[BaseModel], section: str = "") -> dict[str, Table]:
    """By section the keys that the models take, each with its default."""
    found: dict[str, Table] = {section: {}}
    for name, field in model.model_fields.items():
        inner = list(models_in(field.annotation))
        by_name = typing.get_origin(field.annotation) is dict
        for part in inner:
            found |= accepted(part, ".".join(p for p in (section, name, "NAME" if by_name else "") if p))
        # The page has no table of what is at the top but for what is no section.
        if not inner or section:
            found[section][name] = default_of(field)
    return found


def by_default() -> dict[str, Table]:
    """The defaults of sections whose keys, left out, mean another layer's."""
    rules = asdict(ValidationSettings())
    watch = rules.pop("watch")
    words = {k: v.name.lower() if isinstance(v, Severity) else v for k, v in rules.items()}
    quiet = QuietSettings()
    second = 1_000_000_000
    maker = asdict(MarketMakerSettings())
    return {
        "venues.NAME.validation": words,
        "venues.NAME.validation.watch": watch,
        "venues.NAME.audit": asdict(AuditSettings()),
        "venues.NAME.quiet": {
            "least_s": quiet.least_ns / second, "most_s": quiet.most_ns / second, "scale": quiet.scale
        },
        "strategies.settings of a market_maker": {
            k: v for k, v in maker.items() if k not in ("venue", "instruments", "gateway")
        },
    }  # fmt: skip


def test_every_key_is_documented_with_its_default() -> None:
    wanted = accepted(Config)
    for section, table in by_default().items():
        known = wanted.get(section)
        wanted[section] = table if known is None else {k: table.get(k, v) for k, v in known.items()}
    assert documented(PAGE.read_text()) == wanted


def test_the_reader_of_the_page_reads() -> None:
    page = (
        "## [a.b]\n\n| key | default | meaning |\n| `x` | `1_000` | what |\n| `y` | – | |\n"
        '| `z` | required | |\n## At the top\n| `n` | `"t"` | |\n'
    )
    assert documented(page) == {"a.b": {"x": 1000, "y": NOTHING, "z": REQUIRED}, "": {"n": "t"}}
