"""From `[store]` in a configuration to rows that equal the journal of a real engine."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from io import StringIO
from operator import itemgetter
from pathlib import Path
from typing import Any, cast

import pytest
import uvloop
from rich.console import Console

from actors.measures import measure_folders
from actors.persistence.mirror import Mirror
from actors.persistence.postgres import PostgresStore
from actors.persistence.rows import RowMaker
from actors.persistence.sqlite import SqliteStore
from actors.persistence.store import Store
from actors.persistence.tables import BY_NAME, FILLS, ROW_TABLES, SLIPPAGE, Row
from engine.config import Config, parse_config
from engine.errors import ConfigError
from engine.topology import RunIdentity, VenueUrls, build_topology
from shm.journal_reader import JournalFollower
from tests.kit.engine_run import ROOT, EngineRun, engine, synthetic, until
from tests.kit.servers import PostgresServer
from tools.bench.valkey import ValkeyProcess
from tools.notes_view import store_parts

#: Watchdog of a wait, shorter than that of the test.
NEVER_S = 100.0
MARKET = """
[venues.sim]
adapter = "binance_usdm"
symbols = ["BTCUSDT"]
[venues.sim.simulated]
instruments = 1
"""


def parsed(store: str) -> Config:
    """A configuration with this [store]."""
    return parse_config(f"{MARKET}[store]\n{store}", "x.toml", Path("/etc/rl"))


def actors(config: Config) -> dict[str, dict[str, Any]]:
    """Settings by role of what keeps databases, and where the gateway is."""
    urls = {"sim": VenueUrls("ws://x", "http://x", None, ("BTCUSDT",))}
    topology = build_topology(config, urls, RunIdentity("x", 1, "/s", os.getpid()), [0, 1])
    return {a.role: a.settings for worker in topology.workers for a in worker.actors}


def test_without_a_word_rows_go_to_sqlite_on_the_housekeeping_worker() -> None:
    found = actors(parsed(""))
    assert found["store"]["kind"] == "sqlite" and found["store"]["gateways"] == [3]
    assert "mirror" not in found
    assert "store" not in actors(parsed('kind = "off"'))


def test_servers_are_reached_by_what_the_environment_or_a_file_says() -> None:
    found = actors(
        parsed('kind = "postgres"\nurl = { env = "PG" }\nmirror = { file = "m" }\ninterval_s = 0.5')
    )
    assert (found["store"]["url_env"], found["store"]["interval_s"]) == ("PG", 0.5)
    assert found["mirror"]["url_file"] == "/etc/rl/m"
    found = actors(parsed('archive = "s3://b"\nkeep_days = { slippage = 3 }\narchive_every_s = 60'))
    assert (found["store"]["archive"], found["store"]["keep_days"]) == ("s3://b", {"slippage": 3})
    assert "archive" not in actors(parsed('archive = "s3://b"\nkeep_days = { fills = 3 }'))["store"]
    assert parsed('path = "rows.sqlite"\narchive = "old"').store.path == "/etc/rl/rows.sqlite"
    assert parsed('archive = "s3://bucket/x"').store.archive == "s3://bucket/x"


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ('kind = "postgres"', "needs url"),
        ('url = { env = "X" }', 'url belongs to kind = "postgres"'),
        ('kind = "off"\npath = "x"', 'path belongs to kind = "sqlite"'),
        ("keep_days = { fils = 3 }", 'no table "fils"'),
        ("keep_days = { fills = 0 }", "at least 1 must stay"),
        ('kind = "mysql"', "mysql"),
        ("archive_every_s = 60", "needs a database, archive"),
        ('archive_every_s = 60\narchive = "x"', "needs a database, archive"),
        ('kind = "off"\narchive_every_s = 60\narchive = "x"\nkeep_days = { fills = 3 }', "needs a database"),
    ],
)
def test_a_store_that_can_not_be_is_refused_with_its_reason(text: str, named: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parsed(text)
    assert named in str(caught.value)


# ---- a real engine ---------------------------------------------------------------------------------


def journal_rows(run: EngineRun) -> dict[str, list[Row]]:
    """Rows that the run's journal should have become."""
    (folder,) = run.state.glob("*/journal-*")
    follower = JournalFollower(folder)
    before = follower.position
    entries = list(follower)
    slot = int(folder.name.rpartition("-")[2])
    return RowMaker(folder.parent.name, slot).make(entries, before, follower.position).rows


async def stored_rows(store: Store) -> dict[str, list[Row]]:
    """All rows of a store."""
    found: dict[str, list[Row]] = {}
    async for table, rows in store.scan(ROW_TABLES):
        found.setdefault(table.name, []).extend(rows)
    await store.close()
    return found


def assert_same(found: dict[str, list[Row]], wanted: dict[str, list[Row]]) -> None:
    """The same rows, each once."""
    assert set(found) == set(wanted)
    for name, rows in wanted.items():
        places = [BY_NAME[name].names.index(column) for column in BY_NAME[name].key]
        assert sorted(found[name], key=itemgetter(*places)) == rows, name


def told(found: dict[str, Any], what: str = "store") -> dict[str, Any]:
    """What its actor told last, for status and report; nothing yet = {}."""
    (note,) = found.get("notes", {}).get(what, {"": {}}).values()
    return cast(dict[str, Any], note)


def test_a_run_with_the_embedded_default_leaves_rows_equal_to_its_journal(tmp_path: Path) -> None:
    with engine(tmp_path, rate=3000.0) as run:
        run.wait_running()
        store_file = run.state / run.name / "store.sqlite"

        async def fills() -> int:
            store = SqliteStore(store_file)
            count = await store.count(FILLS)
            await store.close()
            return count

        until(
            lambda: store_file.exists() and uvloop.run(fills()) > 20,
            "fills are stored while it runs",
            NEVER_S,
        )
        until(lambda: told(run.status()).get("rows", 0) > 20, "the status tells of it", NEVER_S)
        run.signal(signal.SIGTERM)
        assert run.wait_ended() == 0
        rows = journal_rows(run)
        found = told(run.report())
        assert (found["database"], found["failures"], found["error"]) == ("sqlite", 0, "")
        assert found["rows"] >= sum(map(len, rows.values()))
        assert_same(uvloop.run(stored_rows(SqliteStore(store_file))), rows)


@pytest.mark.prove
def test_what_a_strategys_orders_cost_is_stored_by_its_run(tmp_path: Path) -> None:
    config, _ = synthetic(tmp_path, rate=3000.0)
    maker = 'kind = "market_maker"\nvenue = "sim"\ninstruments = "all"\n'
    assert maker in config
    worker = 'kind = "tools.bench.slippage_orders:ParentOrders"\nvenue = "sim"\ninstruments = "all"\n'
    worker += "settings = { interval_ns = 50000000, patience_ns = 20000000 }\n"
    with engine(tmp_path, config=config.replace(maker, worker)) as run:
        run.wait_running()
        store_file = run.state / run.name / "store.sqlite"

        async def count() -> int:
            store = SqliteStore(store_file)
            found = await store.count(SLIPPAGE)
            await store.close()
            return found

        until(
            lambda: store_file.exists() and uvloop.run(count()) > 20,
            "slippage is stored while it runs", NEVER_S,
        )  # fmt: skip
        run.signal(signal.SIGTERM)
        assert run.wait_ended() == 0
        ((folder, number),) = measure_folders(run.state / run.name)
        follower = JournalFollower(folder)
        rows = RowMaker(run.name, number).make(list(follower), follower.position, follower.position).rows
        stored = uvloop.run(stored_rows(SqliteStore(store_file)))
        assert stored["slippage"] == rows["slippage"]
        orders = {row[FILLS.names.index("client_order_id")] for row in stored["fills"]}
        measured = {row[SLIPPAGE.names.index("client_order_id")] for row in stored["slippage"]}
        assert orders & measured, "they are orders that the gateway knows"
        assert '"orders":' in run.verb("store", "query", "slippage", "--json").stdout


@pytest.mark.prove
def test_a_run_goes_on_while_its_servers_are_killed_and_every_row_arrives_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = PostgresServer()
    scratch = tmp_path / "valkey"
    scratch.mkdir()
    valkey = ValkeyProcess(str(scratch))
    try:
        monkeypatch.setenv("RL_TEST_PG", server.url)
        monkeypatch.setenv("RL_TEST_MIRROR", f"unix://{scratch}/valkey.sock")
        config, name = synthetic(tmp_path, rate=3000.0)
        config += (
            '[store]\nkind = "postgres"\nurl = { env = "RL_TEST_PG" }\nmirror = { env = "RL_TEST_MIRROR" }\n'
        )
        with engine(tmp_path, config=config) as run:
            run.wait_running()
            for _ in range(3):
                server.kill()
                valkey.process.kill()
                valkey.process.wait()
                for what in ("store", "mirror"):
                    until(
                        lambda w=what: told(run.status(), w).get("error"),  # type: ignore[misc]
                        f"{what}: the status says why", NEVER_S,
                    )  # fmt: skip
                server.start()
                valkey = ValkeyProcess(str(scratch))

                async def mirrored() -> bool:
                    mirror = Mirror(f"unix://{scratch}/valkey.sock", name)
                    status = await mirror.read("status")
                    await mirror.close()
                    return bool(status and status["books"]["LIVE"])

                until(lambda: uvloop.run(mirrored()), "the mirror is filled again", NEVER_S)
            for what in ("store", "mirror"):
                until(lambda w=what: told(run.status(), w).get("error") == "", f"{what} is good", NEVER_S)  # type: ignore[misc]
            run.signal(signal.SIGTERM)
            assert run.wait_ended() == 0
            console = Console(file=StringIO(), width=200, record=True)  # what a person sees
            for part in store_parts(run.report()["notes"]):
                console.print(part)
            text = console.export_text()
            assert "postgres" in text and "of 5" in text and "mirror" in text and text.count("good") == 2
            rows = journal_rows(run)
            run.verb("store", "drain", str(run.state / run.name), "--url-env", "RL_TEST_PG")  # if it was away
            assert len(rows["fills"]) > 20
            assert_same(uvloop.run(stored_rows(PostgresStore(server.url))), rows)
    finally:
        valkey.stop()
        server.close()


@pytest.mark.parametrize(
    ("missing", "extra"), [("asyncpg", "store"), ("redis", "store"), ("pyarrow", "archive")]
)
def test_what_is_not_installed_is_named_with_what_to_install(missing: str, extra: str) -> None:
    script = f"""
import sys
from pathlib import Path
sys.modules[{missing!r}] = None
import tools.verbs.store
from actors.errors import ActorError
from actors.persistence.archive import ArchiveError, ParquetFolder
from actors.persistence.mirror import Mirror
from actors.persistence.writer import StoreSettings, make_store
make_store(StoreSettings(), Path("."))  # the default needs nothing
try:
    if {missing!r} == "asyncpg":
        make_store(StoreSettings(kind="postgres", url_env="HOME"), Path("."))
    elif {missing!r} == "redis":
        Mirror("redis://x", "x")
    else:
        ParquetFolder("x")
except (ActorError, ArchiveError) as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert f"{missing}" in done.stdout and f"pip install 'ringlane[{extra}]'" in done.stdout
