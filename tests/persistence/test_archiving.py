"""The archive on a schedule: a process of its own, which may fail or be killed; the next pass goes on."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
import pytest
import uvloop

from actors.errors import SettingsError
from actors.persistence.archive import Archive
from actors.persistence.archiving import NICE, Archiver
from actors.persistence.sqlite import SqliteStore
from actors.persistence.store import Store
from actors.persistence.tables import FILLS, REPORTS
from actors.persistence.writer import StoreSettings
from tests.kit.engine_run import engine, synthetic, until
from tests.persistence.test_archive import aged, digests
from tests.persistence.test_archive import folder as folder  # a fixture


class Told:
    """What an archiver told.

    Its process is as urgent as the test: the least urgent one waits for ever where others want every core.
    """

    def __init__(self, state: Path, archive: str, every_s: float = 3600.0, nice: int = 0) -> None:
        self.parts: list[Mapping[str, Any]] = []
        self.failures: list[str] = []
        settings = StoreSettings(
            archive=archive, keep_days={"fills": 2, "reports": 3}, archive_every_s=every_s
        )
        self.archiver = Archiver(
            asdict(settings), str(state), every_s, self.parts.append, self.failures.append, nice
        )


async def old_store(folder: Path) -> Store:
    """A store whose rows are much older than any policy."""
    store = SqliteStore(folder.parent / "store.sqlite")
    await aged(store, folder)
    return store


def test_a_pass_moves_what_is_past_the_policy_and_the_next_finds_nothing(
    folder: Path, tmp_path: Path
) -> None:
    async def run() -> None:
        store = await old_store(folder)
        before = await digests(store)
        told = Told(tmp_path, str(tmp_path / "archive"))
        await told.archiver.once()
        assert told.failures == []
        assert {part["table"] for part in told.parts} == {"fills", "reports"}
        assert sum(part["rows"] for part in told.parts) == before["fills"][0] + before["reports"][0]
        assert await store.count(FILLS) == await store.count(REPORTS) == 0
        parts = list(told.parts)
        told.parts.clear()
        await told.archiver.once()
        assert not told.parts and not told.failures
        archive = Archive(str(tmp_path / "archive"))
        assert await archive.restore(store, archive.parts()) == sum(part["rows"] for part in parts)
        assert await digests(store) == before
        await store.close()

    uvloop.run(run())


@pytest.mark.prove
def test_a_pass_that_fails_or_is_killed_deletes_nothing_that_is_not_archived(
    folder: Path, tmp_path: Path
) -> None:
    async def run() -> None:
        store = await old_store(folder)
        before = await digests(store)
        (tmp_path / "file").touch()
        told = Told(tmp_path, str(tmp_path / "file" / "under"))
        await told.archiver.once()
        assert len(told.failures) == 1 and "file" in told.failures[0]
        assert await digests(store) == before
        told = Told(tmp_path, str(tmp_path / "archive"))
        told.archiver.kill()  # nothing is under way
        under_way = asyncio.ensure_future(told.archiver.once())
        while told.archiver._process is None:
            await asyncio.sleep(0)
        told.archiver.kill()
        await under_way
        assert told.failures == [f"archive: its process ended with exit code -{int(signal.SIGKILL)}"]
        await told.archiver.once()
        archive = Archive(str(tmp_path / "archive"))
        await archive.restore(store, archive.parts())
        assert await digests(store) == before
        await store.close()

    uvloop.run(run())


@pytest.mark.prove
def test_passes_follow_one_another_until_the_actor_stops(folder: Path, tmp_path: Path) -> None:
    rests: list[float] = []

    async def rest(seconds: float) -> bool:
        rests.append(seconds)
        return len(rests) > 2

    async def run() -> None:
        store = await old_store(folder)
        told = Told(tmp_path, str(tmp_path / "archive"))
        await told.archiver.run(rest)
        assert rests == [60.0, 3600.0, 3600.0] and len(told.parts) == 10
        await store.close()

    uvloop.run(run())


@pytest.mark.prove
def test_its_process_is_the_least_urgent_one(folder: Path, tmp_path: Path) -> None:
    async def run() -> None:
        store = await old_store(folder)
        told = Told(tmp_path, str(tmp_path / "archive"), nice=NICE)
        under_way = asyncio.ensure_future(told.archiver.once())
        while told.archiver._process is None:
            await asyncio.sleep(0)
        process = psutil.Process(told.archiver._process.pid)
        while process.nice() != NICE:
            assert not under_way.done(), told.failures
            await asyncio.sleep(0.005)
        told.archiver.kill()  # the rest of it would wait for an idle core
        await under_way
        await store.close()

    uvloop.run(run())


def test_a_schedule_without_a_place_or_a_policy_is_refused() -> None:
    for given in ({"archive": "x"}, {"keep_days": {"fills": 1}}, {}):
        with pytest.raises(SettingsError, match="archive_every_s needs"):
            StoreSettings(archive_every_s=1.0, **given)


@pytest.mark.prove
@pytest.mark.timeout(600)  # the least urgent process of a machine on which others run
def test_an_engine_archives_by_itself_beside_its_trading(folder: Path, tmp_path: Path) -> None:
    config, name = synthetic(tmp_path, rate=500.0)
    config += f'[store]\narchive = "{tmp_path}/archive"\nkeep_days = {{ fills = 2 }}\narchive_every_s = 0.5\n'
    state = tmp_path / "state" / name
    state.mkdir(parents=True)

    async def prepare() -> int:
        store = SqliteStore(state / "store.sqlite")
        await aged(store, folder)
        count = await store.count(FILLS)
        await store.close()
        return count

    old = uvloop.run(prepare())
    archive = Archive(str(tmp_path / "archive"))
    with engine(tmp_path, config=config) as run:
        run.wait_running()
        until(lambda: sum(p.rows for p in archive.parts(FILLS)) == old, "the old fills are archived", 500.0)
        run.signal(signal.SIGTERM)
        assert run.wait_ended() == 0
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)

    async def days() -> list[datetime]:
        store = SqliteStore(state / "store.sqlite")
        found = await store.days(FILLS)
        await store.close()
        return found

    assert all((today - day).days <= 2 for day in uvloop.run(days()))
