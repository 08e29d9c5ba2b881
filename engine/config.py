"""The configuration of a run: TOML in, typed and validated whole before anything changes.

Every section is a model that refuses unknown keys and wrong types. Money limits are decimals of the quote
currency (an integer or a decimal string, never a binary fraction) and become exact integers. Secrets are
never in the file: a place that needs one takes `{ env = "NAME" }` or `{ file = "PATH" }`.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError, field_validator, model_validator

from engine.errors import ConfigError, Problem
from engine.fill_config import FillConfig
from engine.sentinel_config import HaltConfig, SentinelConfig, sentinel_problems
from engine.shadow_config import ShadowConfig
from engine.store_config import StoreConfig
from engine.toml_lines import Key, dotted, find_line, key_lines
from engine.venue_config import (
    AccountConfig,
    Section,
    SimulatedConfig,
    VenueConfig,
    missing_accounts,
)
from feeds.names import names_beside, names_meant
from shm.errors import UnitsError
from shm.units import parse_units

NAME = r"^[a-z0-9][a-z0-9-]{0,31}$"
SECRET_WORD = re.compile(r"secret|password|passphrase|token|api_?key|private_?key", re.IGNORECASE)
E8_DIGITS = 8
E8 = 100_000_000


class DrainConfig(Section):
    """How much a worker takes from a ring at once: little while records are young, much once they are old.

    The age is that of the oldest record waiting, from its publication; between `young_us` and `old_us` the
    batch grows from `batch_min` to `batch_max`. A cycle ends after `cycle_records`: sockets are served.
    """

    batch_min: int = Field(default=16, ge=1, le=4_096)
    batch_max: int = Field(default=1_024, ge=1, le=4_096)
    young_us: int = Field(default=50, ge=0, le=1_000_000)
    old_us: int = Field(default=1_000, ge=1, le=10_000_000)
    cycle_records: int = Field(default=256, ge=1, le=65_536)

    @model_validator(mode="after")
    def _ascending(self) -> DrainConfig:
        if self.batch_min > self.batch_max:
            raise ValueError(f"batch_min {self.batch_min} is above batch_max {self.batch_max}")
        if self.young_us >= self.old_us:
            raise ValueError(f"young_us {self.young_us} is not below old_us {self.old_us}")
        return self


class MachineConfig(Section):
    """What the engine asks of the machine; what it does not get is said in status and report.

    `realtime` is the priority of SCHED_FIFO for pinned workers, 0 = not asked for; refused, it ends the start
    unless `realtime_required` is false. Each worker touches `heap_mib` in advance when memory is locked.
    """

    pm_qos: bool = True
    lock_memory: bool = False
    heap_mib: int = Field(default=8, ge=0, le=4_096)
    huge_pages: Literal["auto", "off", "require"] = "auto"
    realtime: int = Field(default=0, ge=0, le=99)
    realtime_required: bool = True
    numa: Literal["auto", "off"] = "auto"


class EngineConfig(Section):
    """How processes are placed, watched and stopped."""

    placement: Literal["default", "spread"] = "default"
    bell_age_us: int = Field(default=20, ge=0, le=10_000)
    drain: DrainConfig = DrainConfig()
    heartbeat_ms: int = Field(default=150, ge=10, le=10_000)
    orphan_ms: int = Field(default=500, ge=50, le=60_000)
    stall_restart_s: float = Field(default=10.0, ge=0.0)
    start_timeout_s: float = Field(default=30.0, gt=0.0)
    shutdown_s: float = Field(default=5.0, gt=0.0)
    restart_intensity: int = Field(default=5, ge=0)
    restart_period_s: float = Field(default=30.0, gt=0.0)
    spare_slots: int = Field(default=4, ge=0, le=16)


class RunConfig(Section):
    """How long and with which seed."""

    duration_s: float | None = Field(default=None, gt=0.0)
    seed: int = Field(default=1, ge=0)


class StrategyConfig(Section):
    """One strategy actor; `instruments` are names or patterns, which also mean what is listed later."""

    name: str = Field(pattern=NAME)
    kind: str
    venue: str
    instruments: Literal["all"] | list[str] = "all"
    settings: dict[str, Any] = Field(default_factory=dict)


Money = int | str


class RiskConfig(Section):
    """Limits of the gate; money in quote currency, an integer or a decimal string; 0 = no limit.

    `max_correlated_notional` is for all instruments together that move as one: whose returns, sampled every
    `correlation_step_ms` (0 = not at all) and weighted by a half-life in samples, correlate with at least
    `correlation_threshold`, either way. `max_silence_ms` and `max_intent_age_ms` have no off: the proof that
    a book is alive is not optional.
    """

    max_order_units: int = Field(default=0, ge=0)
    max_order_notional: Money = 0
    max_position_notional: Money = 0
    max_exposure: Money = 0
    orders_per_s: int = Field(default=0, ge=0)
    burst: int = Field(default=1, ge=1)
    max_open_orders: int = Field(default=0, ge=0)
    max_silence_ms: int = Field(default=2_000, ge=1)
    max_data_age_ms: int = Field(default=0, ge=0)
    max_intent_age_ms: int = Field(default=100, ge=1)
    price_band_bps: int = Field(default=0, ge=0, lt=10_000)
    max_correlated_notional: Money = 0
    correlation_threshold: float = Field(default=0.8, gt=0.0, le=1.0)
    correlation_step_ms: int = Field(default=1_000, ge=0, le=3_600_000)
    correlation_half_life: float = Field(default=300.0, gt=0.0)

    @field_validator("max_order_notional", "max_position_notional", "max_exposure", "max_correlated_notional")
    @classmethod
    def _is_money(cls, value: Money) -> Money:
        if money_e8(value) < 0:
            raise ValueError("expected 0 or more")
        return value


class OrdersConfig(FillConfig):
    """How orders leave: `paper` fills them from live data in the gateway worker, `venue` sends them out.

    Fees that are not given are those of the instruments. Of paper orders: `queue_model` says how they advance
    in the queue (no_queue, risk_averse, probability:power:2, …), and each latency is constant ("250us"),
    drawn ("lognormal:250us:0.5", median and sigma) or recorded ("table:FILE"). Orders of a dead strategy
    worker are canceled, or with `keep_orphans` left for its successor. With `standby` a second process
    follows each worker that trades and takes its place when it dies. The gateway's worker looks `spin_us` for
    the next intent before it parks, which is for a core of its own, and rehearses an order every
    `rehearse_us` while orders are sent, which keeps its caches warm; 0 = neither.
    """

    mode: Literal["paper", "venue"] = "paper"
    maker_fee_bps: float | None = None
    taker_fee_bps: float | None = None
    keep_orphans: bool = False
    standby: bool = False
    spin_us: int = Field(default=0, ge=0, le=60_000_000)
    rehearse_us: int = Field(default=1_000, ge=0, le=1_000_000)


class JournalConfig(Section):
    """Journal files of the gateway; closed ones are kept `keep_days` and up to `keep_mib`, 0 = no limit.

    None is removed before everybody who reads on (the store) has passed it, nor what a restart needs.
    """

    file_mib: int = Field(default=64, ge=1, le=4_096)
    keep_days: float = Field(default=90.0, ge=0)
    keep_mib: int = Field(default=0, ge=0)


class Config(Section):
    """A whole configuration."""

    name: str | None = Field(default=None, pattern=NAME)
    engine: EngineConfig = EngineConfig()
    machine: MachineConfig = MachineConfig()
    run: RunConfig = RunConfig()
    venues: dict[str, VenueConfig]
    strategies: list[StrategyConfig] = Field(default_factory=list)
    risk: RiskConfig = RiskConfig()
    orders: OrdersConfig = OrdersConfig()
    sentinel: SentinelConfig = SentinelConfig()
    halt: HaltConfig = HaltConfig()
    journal: JournalConfig = JournalConfig()
    store: StoreConfig = StoreConfig()
    shadow: ShadowConfig | None = None


def money_e8(value: Money) -> int:
    """An amount of money as an exact count of 10^-8.

    Raises:
        ValueError: not a decimal number, or finer than 10^-8.
    """
    if isinstance(value, int):
        return value * E8
    try:
        return int(parse_units(value, E8_DIGITS))
    except UnitsError as error:
        raise ValueError(f'expected an amount with at most 8 decimals, got "{value}"') from error


def load_config(path: Path) -> Config:
    """Read and validate a configuration file.

    Raises:
        ConfigError: the file can not be read, is not TOML, or anything in it is wrong; all problems at once.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "is not UTF-8 text"
        raise ConfigError(str(path), [Problem("", f"can not be read: {reason}")]) from error
    return parse_config(text, str(path), base=path.absolute().parent)


def parse_config(text: str, file: str, base: Path | None = None) -> Config:
    """Validate a configuration given as text.

    Args:
        text: TOML source.
        file: name used in errors.
        base: folder that relative paths in it start from, None = the current one.

    Raises:
        ConfigError: as `load_config`.
    """
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        found = re.search(r"\(at line (\d+)", str(error))
        line = int(found[1]) if found else 0
        raise ConfigError(file, [Problem("", f"is not TOML: {error}", line)]) from error
    lines = key_lines(text)
    problems: list[Problem] = []
    config: Config | None = None
    try:
        _resolve_paths(data, base or Path.cwd())
        config = Config.model_validate(data)
    except ValidationError as error:
        problems = _problems(error, data, lines)
    problems += [Problem(dotted(k), text_, find_line(lines, k)) for k, text_ in _secrets(data, ())]
    if config is not None:
        problems += [Problem(dotted(k), text_, find_line(lines, k)) for k, text_ in _references(config)]
    if problems or config is None:
        raise ConfigError(file, sorted(problems, key=lambda p: p.line))
    return config


def _resolve_paths(data: dict[str, Any], base: Path) -> None:
    """Make the paths of a file absolute, so that every process of the run reads the same files."""
    venues = data.get("venues")
    store = data.get("store")
    for holder, key in _store_paths(store if isinstance(store, dict) else {}):
        if isinstance(holder.get(key), str):
            holder[key] = str(base / Path(holder[key]).expanduser())
    for venue in venues.values() if isinstance(venues, dict) else ():
        simulated = venue.get("simulated") if isinstance(venue, dict) else None
        account = venue.get("account") if isinstance(venue, dict) else None
        places = list(account.values()) if isinstance(account, dict) else []
        for table, key in (
            (venue, "ca_file"),
            (simulated, "capture"),
            *((place, "file") for place in places),
        ):
            if not isinstance(table, dict):
                continue
            value = table.get(key)
            if isinstance(value, str):
                table[key] = str(base / Path(value).expanduser())
            elif isinstance(value, list):
                table[key] = [str(base / Path(v).expanduser()) if isinstance(v, str) else v for v in value]


def _store_paths(store: dict[str, Any]) -> list[tuple[dict[str, Any], str]]:
    """Where paths stand in `[store]`; an archive may be an address instead."""
    found = [(place, "file") for place in (store.get("url"), store.get("mirror")) if isinstance(place, dict)]
    if isinstance(store.get("archive"), str) and "://" not in store["archive"]:
        found.append((store, "archive"))
    return [(store, "path"), *found]


def _references(config: Config) -> list[tuple[Key, str]]:
    """Names that must point at something in the same file."""
    found: list[tuple[Key, str]] = []
    if not config.venues:
        found.append((("venues",), "expected at least one [venues.NAME] table, got none"))
    names: set[str] = set()
    for i, strategy in enumerate(config.strategies):
        if strategy.name in names:
            found.append((("strategies", i, "name"), f'"{strategy.name}" is used twice'))
        names.add(strategy.name)
        venue = config.venues.get(strategy.venue)
        if venue is None:
            found.append((("strategies", i, "venue"), _no_such("venue", strategy.venue, config.venues)))
        elif isinstance(strategy.instruments, list) and venue.symbols and not venue.follows_listings:
            known = dict.fromkeys(names_meant(venue.adapter, venue.symbols))
            found += [
                (("strategies", i, "instruments"), _no_such("symbol of that venue", symbol, known))
                for symbol in names_beside(venue.adapter, strategy.instruments, venue.symbols)
            ]
    found += missing_accounts(config.orders.mode, config.venues)
    found += sentinel_problems(config.sentinel, config.engine.heartbeat_ms, config.orders.mode)
    found += [
        (("venues", name), f"a venue name is lower-case letters, digits, - and _, got {name!r}")
        for name in config.venues
        if not re.match(r"^[a-z0-9][a-z0-9_-]{0,31}$", name)
    ]
    return found


def _no_such(what: str, name: str, known: Mapping[str, object]) -> str:
    close = difflib.get_close_matches(name, known, n=3)
    hint = f"; did you mean {' or '.join(close)}?" if close else f"; there are: {', '.join(known) or 'none'}"
    return f'no {what} "{name}"{hint}'


def _secrets(value: object, key: Key) -> list[tuple[Key, str]]:
    """Places where a secret was written out instead of referred to."""
    if isinstance(value, dict):
        found = []
        for name, item in value.items():
            if SECRET_WORD.search(str(name)) and isinstance(item, str):
                found.append(
                    (
                        (*key, name),
                        'a secret must not be in the file: give { env = "NAME" } or { file = "PATH" }',
                    )
                )
            else:
                found += _secrets(item, (*key, name))
        return found
    if isinstance(value, list):
        return [f for i, item in enumerate(value) for f in _secrets(item, (*key, i))]
    return []


def _problems(error: ValidationError, data: object, lines: dict[Key, int]) -> list[Problem]:
    found: dict[Key, list[str]] = {}
    for detail in error.errors(include_url=False):
        key, hint = _real_key(detail["loc"], data)
        found.setdefault(key, []).append(_describe(detail["type"], detail, key, hint))
    return [
        Problem(dotted(key), "; ".join(dict.fromkeys(texts)), find_line(lines, key))
        for key, texts in found.items()
    ]


def _real_key(loc: tuple[int | str, ...], data: object) -> tuple[Key, str]:
    """The part of a pydantic location that exists in the file; members of a union add names of their own.

    Returns:
        The key and the union member pydantic tried there, or an empty string.
    """
    key: Key = ()
    value = data
    for i, part in enumerate(loc):
        if isinstance(value, dict):
            if part in value:
                value = value[part]
            elif i < len(loc) - 1:
                return key, str(part)
            key += (part,)
        elif isinstance(value, list) and isinstance(part, int) and part < len(value):
            value = value[part]
            key += (part,)
        else:
            return key, str(part)
    return key, ""


def _describe(kind: str, detail: Any, key: Key, hint: str) -> str:
    message = str(detail["msg"])
    if kind == "extra_forbidden":
        return _unknown_key(key)
    if kind == "missing":
        return "is missing"
    if kind == "value_error":
        return message.removeprefix("Value error, ")
    expected = re.sub(r"^Input should be (a valid |an? )?", "", message)
    expected = re.sub(r"^(String) should ", r"a string that should ", expected).replace("dictionary", "table")
    return f"expected {expected}, got {_shown(detail['input'])}" + (
        f" (as {hint})" if hint and "expected" not in expected else ""
    )


def _shown(value: object) -> str:
    names = {bool: "boolean", int: "integer", float: "float", str: "string", list: "array", dict: "table"}
    name = names.get(type(value), type(value).__name__)
    if isinstance(value, dict | list):
        return f"{'an' if name == 'array' else 'a'} {name}"
    text = (
        f'"{value}"'
        if isinstance(value, str)
        else str(value).lower()
        if isinstance(value, bool)
        else str(value)
    )
    return f"{text} ({name})"


def _unknown_key(key: Key) -> str:
    known = _fields_at(key[:-1])
    if key[:-1] == ("engine",) and key[-1] in MachineConfig.model_fields:
        return f"unknown key; it stands in [machine]: machine.{key[-1]}"
    close = difflib.get_close_matches(str(key[-1]), known, n=3, cutoff=0.5)
    if close:
        return f"unknown key; did you mean {' or '.join(close)}?"
    return f"unknown key; known here: {', '.join(known)}"


def _fields_at(key: Key) -> list[str]:
    """Field names of the section at a key."""
    sections: dict[str, type[Section]] = {
        "engine": EngineConfig,
        "drain": DrainConfig,
        "machine": MachineConfig,
        "run": RunConfig,
        "venues": VenueConfig,
        "strategies": StrategyConfig,
        "risk": RiskConfig,
        "orders": OrdersConfig,
        "sentinel": SentinelConfig,
        "halt": HaltConfig,
        "journal": JournalConfig,
        "store": StoreConfig,
        "shadow": ShadowConfig,
        "account": AccountConfig,
        "simulated": SimulatedConfig,
    }
    section: type[Section] = Config
    for part in key:
        if isinstance(part, str):
            section = sections.get(part, section)
    return list(section.model_fields)


def dump_config(config: Config) -> dict[str, Any]:
    """The resolved configuration, defaults filled in, as JSON-ready data; secrets as references only."""
    return config.model_dump(mode="json", exclude_none=True)
