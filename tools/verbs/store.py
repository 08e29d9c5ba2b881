"""`ringlane store`: the rows that journals left in a database: ask, drain, archive, back up, restore."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Literal

import orjson
import typer

from actors.errors import ActorError, SettingsError
from actors.persistence.store import Store, StoreError
from actors.persistence.writer import PATIENT_S, StoreSettings, make_store
from engine.config import load_config
from engine.errors import EngineError
from engine.run_file import running
from engine.store_config import KEPT_TABLES, StoreConfig, store_settings
from shm.instance import default_state_root
from tools import store_work
from tools.journal_view import parse_time

Action = Literal["status", "migrate", "drain", "query", "archive", "restore", "backup", "drill"]
ACTIONS = ("status", "migrate", "drain", "query", "archive", "restore", "backup", "drill")
FILE = "store.sqlite"
LIMIT_MAX = 1_000_000_000
ORDER_BITS = 64


class Place:
    """Which database is meant, and what its configuration says.

    Args:
        config: file with a `[store]` section, None = the embedded default.
        name: instance, None = the configuration's, else the newest running, else the only one there is.
        state: state root.
        sqlite: a SQLite file instead.
        url_env: environment variable with the address of a PostgreSQL server instead.
        url_file: file with that address instead.
    """

    def __init__(
        self,
        config: Path | None,
        name: str | None,
        state: Path | None,
        sqlite: Path | None,
        url_env: str | None,
        url_file: Path | None,
    ) -> None:
        if sum(given is not None for given in (sqlite, url_env, url_file)) > 1:
            raise typer.BadParameter("--sqlite, --url-env and --url-file exclude each other")
        loaded = load_config(config) if config is not None else None
        self.config = loaded.store if loaded is not None else StoreConfig()
        self._root = state or default_state_root()
        self._name = name or (loaded.name if loaded is not None else None)
        if sqlite is not None:
            self._settings: dict[str, Any] = {"kind": "sqlite", "path": str(sqlite)}
        elif url_env is not None:
            self._settings = {"kind": "postgres", "url_env": url_env}
        elif url_file is not None:
            self._settings = {"kind": "postgres", "url_file": str(url_file)}
        elif self.config.kind == "off":
            raise typer.BadParameter(f'{config}: [store] kind is "off": there is no database')
        else:
            self._settings = store_settings(self.config, 1)

    def make(self, *, must_exist: bool = True) -> Store:
        """The database, not opened yet.

        Args:
            must_exist: a SQLite file that is not there is a mistake, and not made.

        Raises:
            typer.BadParameter: it is not said which, or its file is not there.
            EngineError: the driver or the address is missing.
        """
        settings = self._settings
        if settings["kind"] == "sqlite":
            path = Path(settings["path"]) if "path" in settings else self.state_dir() / FILE
            if must_exist and not path.is_file():
                raise typer.BadParameter(f"there is no database {path}")
            if must_exist and not path.stat().st_size:
                raise typer.BadParameter(f"{path} is an empty file and no database")
            settings = {"kind": "sqlite", "path": str(path)}
        try:
            return make_store(StoreSettings(**settings), Path(), PATIENT_S)
        except (ActorError, SettingsError) as error:
            raise EngineError(str(error)) from error

    def state_dir(self) -> Path:
        """The state directory of the instance that is meant.

        Raises:
            typer.BadParameter: none, or several could be.
        """
        if self._name is not None:
            return self._root / self._name
        notes = running(self._root)
        if notes:
            return Path(notes[0].state_dir)
        known = sorted(path.parent for path in self._root.glob(f"*/{FILE}"))
        if len(known) == 1:
            return known[0]
        if not known:
            raise typer.BadParameter(f"no instance under {self._root} has a {FILE}")
        names = ", ".join(path.name for path in known)
        raise typer.BadParameter(f"which of them? {names} (under {self._root}); say --name")


def store(
    action: Annotated[Action, typer.Argument(help=", ".join(ACTIONS), metavar="|".join(ACTIONS))],
    what: Annotated[
        str | None,
        typer.Argument(
            metavar="[DIR|NAME]", help="drain: journal folder or state directory; query: its name"
        ),
    ] = None,
    config: Annotated[Path | None, typer.Option(help=r"configuration whose \[store] is meant")] = None,
    name: Annotated[str | None, typer.Option(help="instance (default: the newest running)")] = None,
    state: Annotated[Path | None, typer.Option(help="state root that the instance is under")] = None,
    sqlite: Annotated[Path | None, typer.Option(help="this SQLite file instead")] = None,
    url_env: Annotated[
        str | None, typer.Option(help="the PostgreSQL server whose address this environment variable has")
    ] = None,
    url_file: Annotated[
        Path | None, typer.Option(help="the PostgreSQL server whose address this file has")
    ] = None,
    at: Annotated[
        str | None,
        typer.Option(
            help=r"archive, restore, backup, drill: directory or fsspec address (default: \[store] archive)"
        ),
    ] = None,
    keep: Annotated[
        list[str] | None,
        typer.Option(metavar="TABLE=DAYS", help=r"archive: what stays (default: \[store] keep_days)"),
    ] = None,
    table: Annotated[str | None, typer.Option(help="restore: this table only")] = None,
    backup: Annotated[
        str | None,
        typer.Option(help="restore, drill: a backup by name, or `newest`; restore fills an empty database"),
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option(
            help="backup: copy a SQLite database to this file, or over an older copy (nothing to install)"
        ),
    ] = None,
    since: Annotated[
        str | None, typer.Option(help="query, restore: from then on: ISO 8601 (UTC), or 2h, 1d ago")
    ] = None,
    until: Annotated[str | None, typer.Option(help="query, restore: before then")] = None,
    symbol: Annotated[list[str] | None, typer.Option(help="query recent-trades; may be repeated")] = None,
    venue: Annotated[list[str] | None, typer.Option(help="query recent-trades; may be repeated")] = None,
    order: Annotated[str | None, typer.Option(help="query order-…: client order id, decimal or 0x…")] = None,
    instance: Annotated[
        str | None, typer.Option(help="query: whose rows (default: the only instance there is)")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=LIMIT_MAX, help="query: at most so many rows")] = 1_000,
    json: Annotated[bool, typer.Option("--json", help="one JSON object per line")] = False,
) -> int:
    """Look after the database that a run's journal is stored in.

    status: rows, days and how far each journal is stored. migrate: make or update the schema.
    drain DIR: store a journal at rest, exactly once, whatever was stored of it before.
    query NAME: answer one of the shipped questions; without a name, list them. Kinds, sides and reasons are
    words, prices and quantities decimals, times UTC; --json says the units of prices and quantities too.
    archive: write days past the policy as Parquet, read them back, and only then delete them.
    restore: put archived rows back, or with --backup a whole backup into an empty database.
    backup: all tables as of one moment. drill: restore a backup into a database that is thrown away, and
    compare every row.

    Exit codes: 0; 1 it could not be done, and why; 2 a wrong argument.
    """
    place = Place(config, name, state, sqlite, url_env, url_file)
    span = (_time("--since", since), _time("--until", until))
    root = at or place.config.archive
    say = _say_json if json else _say

    def need_root() -> str:
        if root is None:
            raise typer.BadParameter(f"store {action} needs --at, or archive = … in [store]")
        return root

    jobs: dict[str, Callable[[], Awaitable[None]]] = {
        "status": lambda: store_work.status(place.make(), say),
        "migrate": lambda: store_work.migrate(place.make(must_exist=False), say),
        "drain": lambda: store_work.drain(place.make(must_exist=False), what, state, say),
        "query": lambda: store_work.query(
            place.make,
            what,
            {
                "symbols": symbol, "venues": venue, "order": _number(order), "instance": instance,
                "limit": limit, "since": span[0], "until": span[1],
            },
            say,
            with_units=json,
        ),
        "archive": lambda: store_work.archive(
            need_root(), _keep(keep) or place.config.keep_days, place.make(), say
        ),
        "restore": lambda: store_work.restore(
            need_root(), backup, table, span, place.make(must_exist=backup is None), say
        ),
        "backup": lambda: (
            store_work.backup(need_root(), place.make(), say)
            if file is None
            else store_work.copy(file, place.make(), say)
        ),
        "drill": lambda: store_work.drill(need_root(), backup, say),
    }  # fmt: skip
    if what is not None and action not in ("drain", "query"):
        raise typer.BadParameter(f"store {action} takes no {what!r}")
    asyncio.run(_guarded(jobs[action]))
    return 0


async def _guarded(job: Callable[[], Awaitable[None]]) -> None:
    from actors.persistence.archive import ArchiveError

    try:
        await job()
    except (StoreError, ArchiveError, ActorError) as error:
        raise EngineError(str(error)) from error


def _say(found: dict[str, Any]) -> None:
    typer.echo("  ".join(f"{name} {_shown(value)}" for name, value in found.items()))


def _shown(value: object) -> str:
    return str(value) if not isinstance(value, dict | list) else orjson.dumps(value).decode()


def _say_json(found: dict[str, Any]) -> None:
    typer.echo(orjson.dumps(found, default=str).decode())


def _time(option: str, text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        ns = parse_time(text, time.time_ns())
        return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=ns // 1000)
    except ValueError:
        raise typer.BadParameter(f"{option} {text!r}: expected ISO 8601, or 90s, 10m, 2h, 1d ago") from None
    except OverflowError:
        raise typer.BadParameter(f"{option} {text!r}: expected a year from 1 to 9999") from None


def _number(text: str | None) -> int | None:
    if text is None:
        return None
    try:
        number = int(text, 0)
    except ValueError:
        raise typer.BadParameter(f"--order {text!r}: expected a number, decimal or 0x…") from None
    if not 0 <= number < 1 << ORDER_BITS:
        raise typer.BadParameter(f"--order {text!r}: an order's id has {ORDER_BITS} bits")
    return number


def _keep(given: list[str] | None) -> dict[str, int]:
    found: dict[str, int] = {}
    for text in given or ():
        name, _, days = text.partition("=")
        if not days.isdigit():
            raise typer.BadParameter(f"--keep {text!r}: expected TABLE=DAYS")
        found[name] = int(days)
        if name not in KEPT_TABLES or int(days) < 1:
            raise typer.BadParameter(
                f"--keep {text!r}: expected one of {', '.join(KEPT_TABLES)}, and at least 1 day"
            )
    return found
