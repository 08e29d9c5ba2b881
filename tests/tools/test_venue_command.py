"""`ringlane venue` as a process: ready line, signals, exit codes, statistics."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import orjson
import pytest

ROOT = Path(__file__).resolve().parents[2]


def start(*arguments: str, pass_fds: tuple[int, ...] = ()) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "tools.venues", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        pass_fds=pass_fds,
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_cleanly_with_statistics(number: signal.Signals) -> None:
    with start("binance_usdm", "--instruments", "2", "--stats", "json", "--start", "immediately") as process:
        assert process.stdout is not None
        ready = orjson.loads(process.stdout.readline())
        assert ready["ready"] is True
        assert ready["venue"] == "binance_usdm"
        assert ready["ws"].startswith("ws://127.0.0.1:")
        assert ready["rest"].startswith("http://127.0.0.1:")
        assert ready["symbols"] == ["BTCUSDT", "ETHUSDT"]
        process.send_signal(number)
        out, err = process.communicate()
    assert (process.returncode, err) == (0, b"")
    assert orjson.loads(out)["clients"] == 0


def test_the_ready_line_goes_to_a_descriptor_and_the_parents_end_ends_it() -> None:
    reader, writer = os.pipe()
    parent = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    with start("--ready-fd", str(writer), "--parent-pid", str(parent.pid), pass_fds=(writer,)) as process:
        os.close(writer)
        with os.fdopen(reader, "rb") as ready:
            assert orjson.loads(ready.read())["ready"] is True
        parent.kill()
        parent.wait()
        out, err = process.communicate()
    if parent.stdin is not None:
        parent.stdin.close()
    assert (process.returncode, out, err) == (0, b"", b"")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nowhere"], b"no simulated venue 'nowhere'; known: binance_usdm"),
        (["--speed", "fast", "--capture", "x"], b"--speed takes a number or max"),
        (["--capture", "/nonexistent/file.gz"], b"/nonexistent/file.gz"),
        (["--rate", "-1"], b"rate must be"),
        (["--ready-fd", "99"], b"descriptor 99"),
        (["--misuse", "maybe"], b"--misuse takes refuse or silent"),
        (["--port", "65536"], b"websocket port must be 0 to 65535, not 65536"),
        (["--rest-port=-1"], b"REST port must be 0 to 65535, not -1"),
        (["--connection-s", "nan"], b"lifetime of a connection must be"),
        (["--ping-interval-s=-1"], b"time between pings must be"),
        (["--start-time-ms=-1"], b"start time can not be negative"),
        (["--capture", "/tmp"], b"/tmp: is not a regular file"),
        (["--host", "300.1.1.1"], b"can not listen for websockets on 300.1.1.1:0: "),
    ],
)
def test_a_users_mistake_is_one_line_and_status_two(arguments: list[str], words: bytes) -> None:
    with start(*arguments) as process:
        _, err = process.communicate()
    assert process.returncode == 2
    assert err.startswith(b"ringlane: error: venue: ")
    assert words in err
    assert err.count(b"\n") == 1


@pytest.mark.parametrize(("option", "what"), [("--port", b"websockets"), ("--rest-port", b"REST")])
def test_a_port_in_use_is_named(option: str, what: bytes) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with start(option, str(port)) as process:
            _, err = process.communicate()
    assert process.returncode == 2
    said = b"ringlane: error: venue: can not listen for %s on 127.0.0.1:%d: Address already in use\n"
    assert err == said % (what, port)
