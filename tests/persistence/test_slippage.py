"""What an order cost becomes a row, exactly once; databases and backups of before get the table."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import pytest
import uvloop

from actors.execution import Execution
from actors.measures import measure_folders
from actors.persistence import postgres as postgres_module
from actors.persistence import sqlite as sqlite_module
from actors.persistence.backup import BackupFolder, drill
from actors.persistence.migrations import POSTGRES, SQLITE
from actors.persistence.queries import ORDER_SLIPPAGE, SLIPPAGE, STEPS
from actors.persistence.rows import signed64
from actors.persistence.sqlite import SqliteStore
from actors.persistence.tables import BY_NAME, ROW_TABLES
from actors.persistence.writer import JournalWriter
from exec.slippage import OrderSlippage, Style
from exec.slippage_entry import pack_slippage, read_slippage
from shm.enums import JournalKind
from shm.journal_reader import JournalFollower
from shm.journal_verify import verify
from tests.actors.test_execution import BUY, PATIENCE_NS, SELL, Tape
from tests.persistence.conftest import MakeStore
from tests.persistence.test_archive import NOW, digests
from tests.persistence.test_queries import LONG_AGO, NEVER
from tests.persistence.test_stores import store_all, writer
from tests.persistence.trading import INSTANCE, Shop
from tools.journal_view import Filter, View, documents, line


def worked(state_dir: Path) -> list[OrderSlippage]:
    """Orders worked by a real strategy worker whose run has a state directory."""
    tape = Tape()
    host = tape.world.context.host
    object.__setattr__(host.spec, "state_dir", str(state_dir))  # the virtual world itself journals nothing
    host._shared.clear()  # nor did the execution that was made with it
    tape.world.actor.execution = Execution(tape.world.context, patience_ns=PATIENCE_NS)
    for side, style in ((BUY, Style.AGGRESSIVE), (SELL, Style.PASSIVE), (SELL, Style.AGGRESSIVE)):
        work = tape.work(side, style=style)
        tape.world.advance(2 * PATIENCE_NS)
        assert work.slippage is not None
    tape.execution.tell()
    return list(tape.execution.ledger.orders)


def test_a_payload_reads_back_as_what_was_written() -> None:
    order = OrderSlippage((1 << 64) - 1, 7, 2, Style.PASSIVE, 1, 2, 30, 20, 4001, -5, -(1 << 40), 6, 7, 8)
    payload = pack_slippage(order, 77)
    assert len(payload) == 128 and read_slippage(payload) == (order, 77)


def test_every_order_that_was_worked_to_its_end_is_one_row(make_store: MakeStore, tmp_path: Path) -> None:
    orders = worked(tmp_path)
    assert len(orders) == 3
    ((folder, number),) = measure_folders(tmp_path)
    assert number >= 1_000 and verify(folder).is_good

    async def run() -> None:
        store = make_store()
        for limit in (2, 100):  # a writer that ends in between, and one that goes on where the database is
            made = JournalWriter(store, folder, "x", number)
            await made.step(time.monotonic_ns(), limit)
        assert await made.step(time.monotonic_ns()) == 0
        assert await store.count(BY_NAME["slippage"]) == 3
        for order in orders:
            (row,) = await ORDER_SLIPPAGE.run(store, order=signed64(order.order_id))
            found = dict(zip(ORDER_SLIPPAGE.columns, row, strict=True))
            assert found["symbol"] == "BTCUSDT" and found["side"] == order.side
            for name in ("style", "order_units", "filled_units", "twice_mid_units", "total_e8", "fill_ns"):
                assert found[name] == getattr(order, name)
        rows = await SLIPPAGE.run(store, instance="x", since=LONG_AGO, until=NEVER)
        assert {row[3]: row[4] for row in rows} == {0: 2, 1: 1}
        (passive,) = [row for row in rows if row[3] == 1]
        assert passive[5] == next(o.total_e8 for o in orders if o.style is Style.PASSIVE)
        await store.close()

    uvloop.run(run())


def test_without_a_state_directory_nothing_is_written(tmp_path: Path) -> None:
    tape = Tape()
    tape.work(BUY, style=Style.AGGRESSIVE)
    tape.execution.tell()
    assert tape.execution.ledger.orders and not list(measure_folders(tmp_path))


def test_a_journal_of_measurements_that_can_not_be_costs_no_order(tmp_path: Path) -> None:
    for slot in range(64):
        (tmp_path / f"measures-{slot}").touch()
    assert len(worked(tmp_path)) == 3


def test_a_database_of_the_version_before_gets_the_table_and_keeps_its_rows(
    make_store: MakeStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "journal-3"
    shop = Shop(folder)
    shop.trade(20)
    shop.close()

    async def run() -> None:
        with monkeypatch.context() as earlier:
            earlier.setattr(sqlite_module, "SQLITE", SQLITE[:1])
            earlier.setattr(postgres_module, "POSTGRES", POSTGRES[:1])
            store = make_store()
            await store_all(writer(store, folder))
            assert len(await STEPS.run(store)) == 1
            await store.close()
        store = make_store()
        await store.open()
        assert [row[0] for row in await STEPS.run(store)] == [1, 2]
        assert await store.count(BY_NAME["slippage"]) == 0
        assert await store.count(BY_NAME["fills"]) > 0
        assert await writer(store, folder).step(time.monotonic_ns()) == 0
        await store.close()

    uvloop.run(run())


def test_a_backup_of_the_version_before_is_restored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "journal-3"
    shop = Shop(folder)
    shop.trade(20)
    shop.close()

    async def run() -> None:
        store, other = SqliteStore(tmp_path / "a.sqlite"), SqliteStore(tmp_path / "b.sqlite")
        await store_all(writer(store, folder))
        backups = BackupFolder(str(tmp_path / "backups"))
        made = await backups.make(store, NOW)
        del made.tables["slippage"]
        (manifest,) = (tmp_path / "backups").glob("*/manifest.json")
        manifest.write_text(manifest.read_text().replace('"slippage"', '"of another name"'))
        (manifest.parent / "slippage.parquet").unlink()
        found = backups.find()
        found.tables.pop("of another name")
        assert await drill(backups, found) == made.tables
        await backups.restore(other, found)
        assert await digests(other) == await digests(store)
        await store.close()
        await other.close()

    uvloop.run(run())
    shutil.rmtree(tmp_path / "backups")


def test_entries_of_measurements_are_only_rows_of_theirs(tmp_path: Path) -> None:
    worked(tmp_path)
    ((folder, number),) = measure_folders(tmp_path)
    measured = Filter(frozenset(("INSTRUMENT", "SLIPPAGE")))  # the decisions between them are notes
    shown = [line(found) for found in documents(View(folder), JournalFollower(folder), measured)]
    assert len(shown) == 4 and "SLIPPAGE AGGRESSIVE BTC-USDT-PERP BUY" in shown[1] and "total_e8=" in shown[1]
    kinds = {entry.kind for entry in JournalFollower(folder)}
    assert kinds == {JournalKind.INSTRUMENT, JournalKind.SLIPPAGE, JournalKind.NOTE}

    async def run() -> None:
        store = SqliteStore(tmp_path / "store.sqlite")
        await store_all(JournalWriter(store, folder, INSTANCE, number))
        counts = {table.name: await store.count(table) for table in ROW_TABLES}
        assert {name for name, count in counts.items() if count} == {"instruments", "slippage"}
        await store.close()

    uvloop.run(run())
