"""Operator commands over a real socket, also where the path is too long for an address."""

from __future__ import annotations

import asyncio
import os
import socket
import stat
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import uvloop

from engine.control_socket import SOCKET_NAME, ControlServer, request
from engine.errors import ControlError, EngineError
from engine.run_file import RunNote, read_note, remove_note, running, start_ticks, write_note


def serve(folder: Path, ask: Callable[[], Awaitable[None]]) -> list[dict[str, Any]]:
    seen: list[dict[str, Any]] = []

    async def handler(message: dict[str, Any]) -> dict[str, Any]:
        seen.append(message)
        if message["op"] == "bad":
            raise EngineError("not like this")
        return {"echo": message}

    async def main() -> None:
        server = ControlServer(folder, handler)
        await server.open()
        try:
            await ask()
        finally:
            await server.close()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())
    return seen


@pytest.fixture(params=["short", "long"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path if request.param == "short" else tmp_path / ("x" * 100) / ("y" * 100)
    path.mkdir(parents=True, exist_ok=True)
    return path


def test_request_and_reply(folder: Path) -> None:
    async def ask() -> None:
        reply = await asyncio.to_thread(request, folder, {"op": "status", "n": 1})
        assert reply["echo"] == {"op": "status", "n": 1}
        mode = (folder / SOCKET_NAME).stat().st_mode
        assert stat.S_IMODE(mode) == 0o600

    assert serve(folder, ask) == [{"op": "status", "n": 1}]
    assert not (folder / SOCKET_NAME).exists()


def test_refusal_carries_its_reason(tmp_path: Path) -> None:
    async def ask() -> None:
        with pytest.raises(ControlError, match=r"^not like this$"):
            await asyncio.to_thread(request, tmp_path, {"op": "bad"})

    serve(tmp_path, ask)


def test_garbage_is_answered_and_harms_nobody(tmp_path: Path) -> None:
    async def ask() -> None:
        reader, writer = await asyncio.open_unix_connection(str(tmp_path / SOCKET_NAME))
        writer.write(b"nonsense\n[]\n" + b"x" * (2 << 20) + b"\n")
        assert b"not JSON" in await reader.readline()
        assert b"not an object" in await reader.readline()
        writer.close()
        assert (await asyncio.to_thread(request, tmp_path, {"op": "status"}))["ok"]

    serve(tmp_path, ask)


def test_socket_of_a_dead_run_is_replaced(tmp_path: Path) -> None:
    stale = socket.socket(socket.AF_UNIX)
    stale.bind(str(tmp_path / SOCKET_NAME))
    stale.close()
    with pytest.raises(ControlError, match="Connection refused"):
        request(tmp_path, {"op": "status"})

    async def ask() -> None:
        assert (await asyncio.to_thread(request, tmp_path, {"op": "status"}))["ok"]

    serve(tmp_path, ask)


def test_nobody_listens(tmp_path: Path) -> None:
    with pytest.raises(ControlError, match="no engine listens"):
        request(tmp_path, {"op": "status"})


def test_engine_that_hangs_is_told(tmp_path: Path) -> None:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / SOCKET_NAME))
    listener.listen(1)
    with pytest.raises(ControlError, match=r"does not answer in 0\.05 s"):
        request(tmp_path, {"op": "status"}, 0.05)
    listener.close()


def note(folder: Path, pid: int, started: int = 1) -> RunNote:
    return RunNote(folder.name, 3, pid, start_ticks(pid), started, str(folder), 100)


def test_note_says_who_runs(tmp_path: Path) -> None:
    for i, name in enumerate(("a", "b")):
        (tmp_path / name).mkdir()
        write_note(note(tmp_path / name, os.getpid(), i))
    assert [n.instance for n in running(tmp_path)] == ["b", "a"]
    remove_note(tmp_path / "b")
    remove_note(tmp_path / "b")
    assert [n.instance for n in running(tmp_path)] == ["a"]
    assert read_note(tmp_path / "b") is None
    assert running(tmp_path / "none") == []


def test_note_of_a_dead_run_is_not_a_running_one(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])
    one = note(tmp_path, process.pid)
    alive = [one.is_running]
    process.kill()
    process.wait()
    alive.append(one.is_running)
    assert alive == [True, False]
    # A reused pid has another start time.
    assert not RunNote("a", 1, os.getpid(), start_ticks(os.getpid()) - 1, 1, "", 1).is_running
