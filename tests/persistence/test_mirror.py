"""The mirror in a real Valkey: newest values that expire, a bounded pool, absent, present, restarted."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvloop

from actors.errors import ActorError
from actors.persistence.mirror import Mirror, Snapshot
from actors.persistence.store import StoreError
from tools.bench.valkey import ValkeyProcess

S = 1_000_000_000
#: Of a server that answers, however little of a core it gets.
PATIENT_S = 60.0


@pytest.fixture
def valkey(tmp_path: Path) -> Iterator[ValkeyProcess]:
    """A server of this test's own."""
    server = ValkeyProcess(str(tmp_path))
    yield server
    server.stop()


def address(folder: Path) -> str:
    """Where the server of a folder is, or will be."""
    return f"unix://{folder}/valkey.sock"


def books(version: int, count: int = 3) -> list[Snapshot]:
    """Snapshots of that many books."""
    return [Snapshot(f"book:v:S{i}", {"bid": str(version), "n": i}, version) for i in range(count)]


async def written(mirror: Mirror, snapshots: list[Snapshot], now_ns: int) -> None:
    """Write, again and again where the server got no core in time."""
    while True:
        with contextlib.suppress(StoreError):
            await mirror.write(snapshots, now_ns)
            return


def test_newest_values_stand_under_keys_that_expire(valkey: ValkeyProcess, tmp_path: Path) -> None:
    async def run() -> None:
        mirror = Mirror(address(tmp_path), "shop", expiry_s=1000, timeout_s=PATIENT_S)
        assert await mirror.write(books(1), 0) == 3
        assert await mirror.write(books(1), 100 * S) == 0  # unchanged and fresh
        assert await mirror.write([*books(1)[:2], books(2)[2]], 200 * S) == 1
        assert await mirror.write(books(1), 600 * S) == 3  # changed back, and the others half expired
        assert await mirror.read("book:v:S2") == {"bid": "1", "n": 2}
        assert await mirror.read("book:v:none") is None
        assert 0 < await mirror.client.ttl("ringlane:shop:book:v:S0") <= 1000
        await mirror.close()

    uvloop.run(run())


def test_at_a_hundred_pairs_all_share_no_more_connections_than_the_pool_has(
    valkey: ValkeyProcess, tmp_path: Path
) -> None:
    async def run() -> None:
        mirror = Mirror(address(tmp_path), "shop", pairs=100, timeout_s=PATIENT_S)
        await mirror.write(books(1, 100), 0)
        answers = await asyncio.gather(*(mirror.read(f"book:v:S{i % 100}") for i in range(500)))
        assert [answer["n"] for answer in answers] == [i % 100 for i in range(500)]
        clients = await mirror.client.client_list()
        assert 1 <= len(clients) <= mirror.connections == 20
        await mirror.close()

    uvloop.run(run())


def test_who_asks_in_one_turn_of_the_loop_shares_one_command(valkey: ValkeyProcess, tmp_path: Path) -> None:
    async def run() -> None:
        mirror = Mirror(address(tmp_path), "shop", expiry_s=1000, timeout_s=PATIENT_S)
        await mirror.write(books(1, 100), 0)
        leaving = asyncio.ensure_future(mirror.read("book:v:S0"))
        asking = [asyncio.ensure_future(mirror.read(f"book:v:S{i}")) for i in (*range(100), 0, 200)]
        await asyncio.sleep(0)
        leaving.cancel()
        answers = await asyncio.gather(*asking)
        assert [answer["n"] for answer in answers[:101]] == [*range(100), 0] and answers[101] is None
        assert (await mirror.client.info("commandstats"))["cmdstat_mget"]["calls"] == 1
        valkey.stop()
        failed = await asyncio.gather(*(mirror.read("status") for _ in range(3)), return_exceptions=True)
        assert [type(error) for error in failed] == [StoreError] * 3
        await mirror.close()

    uvloop.run(run())


def test_a_server_that_is_absent_or_restarted_gets_everything_newest_once_it_is_there(tmp_path: Path) -> None:
    async def run() -> None:
        mirror = Mirror(address(tmp_path), "shop", timeout_s=PATIENT_S)
        with pytest.raises(StoreError, match="mirror: "):
            await mirror.write(books(1), 0)
        server = ValkeyProcess(str(tmp_path))
        assert await mirror.write(books(2), S) == 3
        server.process.kill()
        server.process.wait()
        with pytest.raises(StoreError):
            await mirror.write(books(3), 2 * S)
        with pytest.raises(StoreError):
            await mirror.read("book:v:S0")
        server = ValkeyProcess(str(tmp_path))
        assert await mirror.write(books(3), 3 * S) == 3
        assert await mirror.read("book:v:S0") == {"bid": "3", "n": 0}
        await mirror.close()
        server.stop()

    uvloop.run(run())


def test_a_server_that_does_not_answer_is_given_up_after_the_timeout(
    valkey: ValkeyProcess, tmp_path: Path
) -> None:
    async def run() -> None:
        mirror = Mirror(address(tmp_path), "shop", timeout_s=0.1)
        await written(mirror, books(1), 0)
        valkey.process.send_signal(19)  # SIGSTOP
        try:
            with pytest.raises(StoreError):
                await mirror.write(books(2), 1)
        finally:
            valkey.process.send_signal(18)
        await written(mirror, books(2), 2)
        await mirror.close()
        patient = Mirror(address(tmp_path), "shop", timeout_s=PATIENT_S)
        assert await patient.read("book:v:S0") == {"bid": "2", "n": 0}
        await patient.close()

    uvloop.run(run())


def test_a_wrong_address_is_refused_and_not_shown() -> None:
    with pytest.raises(ActorError) as caught:
        Mirror("me:topsecret@nowhere", "shop")
    assert "topsecret" not in str(caught.value)
