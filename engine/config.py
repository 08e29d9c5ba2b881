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

from engine.config_paths import resolve_paths
from engine.config_words import REFERENCE, problem_texts
from engine.errors import ConfigError, Problem
from engine.fill_config import FillConfig
from engine.sentinel_config import HaltConfig, SentinelConfig, sentinel_problems
from engine.shadow_config import ShadowConfig
from engine.store_config import StoreConfig
from engine.toml_lines import Key, dotted, find_line, key_lines
from engine.venue_config import (
    Section,
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
    if not data:
        raise ConfigError(file, [Problem("", "is empty; expected at least one [venues.NAME] table")])
    lines = key_lines(text)
    resolve_paths(data, base or Path.cwd())
    told: dict[Key, str] = {}
    config: Config | None = None
    try:
        config = Config.model_validate(data)
    except ValidationError as error:
        told = problem_texts(error, data, Config)
    told |= _secrets(data, ())
    problems = [Problem(dotted(k), text_, find_line(lines, k)) for k, text_ in told.items()]
    if config is not None:
        problems += [Problem(dotted(k), text_, find_line(lines, k)) for k, text_ in _references(config)]
    if problems or config is None:
        raise ConfigError(file, sorted(problems, key=lambda p: p.line))
    return config


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


def _secrets(value: object, key: Key) -> dict[Key, str]:
    """Places where a secret was written out instead of referred to."""
    found: dict[Key, str] = {}
    if isinstance(value, dict):
        for name, item in value.items():
            if SECRET_WORD.search(str(name)) and isinstance(item, str):
                found[(*key, name)] = f"a secret must not be in the file: give {REFERENCE}"
            else:
                found |= _secrets(item, (*key, name))
    elif isinstance(value, list):
        for i, item in enumerate(value):
            found |= _secrets(item, (*key, i))
    return found


def dump_config(config: Config) -> dict[str, Any]:
    """The resolved configuration, defaults filled in, as JSON-ready data; secrets as references only."""
    return config.model_dump(mode="json", exclude_none=True)
