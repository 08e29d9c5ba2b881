"""sd_notify on real sockets, and PM QoS on a real file."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from engine.pm_qos import PmQos
from engine.sdnotify import Notifier


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[socket.socket, dict[str, str]]:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    request.addfinalizer(listener.close)
    if request.param == "path":
        address = str(tmp_path / "notify")
        listener.bind(address)
    else:
        address = f"@ringlane-test-{os.getpid()}"
        listener.bind("\0" + address[1:])
    return listener, {"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "3000000"}


def test_the_manager_hears_the_life_of_the_engine(manager: tuple[socket.socket, dict[str, str]]) -> None:
    listener, env = manager
    notifier = Notifier(env)
    assert notifier.enabled
    assert notifier.watchdog_ns == 3_000_000_000
    notifier.ready("running")
    notifier.watchdog()
    notifier.reloading()
    notifier.status("so so")
    notifier.stopping("SIGTERM")
    heard = [dict(line.split("=", 1) for line in listener.recv(4096).decode().splitlines()) for _ in range(5)]
    assert heard[0] == {"READY": "1", "STATUS": "running"}
    assert heard[1] == {"WATCHDOG": "1"}
    assert heard[2]["RELOADING"] == "1"
    assert int(heard[2]["MONOTONIC_USEC"]) > 0
    assert heard[3] == {"STATUS": "so so"}
    assert heard[4] == {"STOPPING": "1", "STATUS": "SIGTERM"}
    notifier.close()


def test_without_a_manager_nothing_is_sent() -> None:
    notifier = Notifier({})
    assert not notifier.enabled
    notifier.ready("x")
    assert notifier.failures == 0


def test_manager_that_went_away_is_counted_not_raised(tmp_path: Path) -> None:
    notifier = Notifier({"NOTIFY_SOCKET": str(tmp_path / "gone")})
    notifier.watchdog()
    assert notifier.failures == 1
    notifier.close()


def test_watchdog_of_another_process_is_not_ours() -> None:
    assert Notifier({"WATCHDOG_USEC": "1000", "WATCHDOG_PID": "1"}).watchdog_ns == 0


def test_pm_qos_writes_zero_and_holds_the_file(tmp_path: Path) -> None:
    device = tmp_path / "cpu_dma_latency"
    device.write_bytes(b"\xff" * 4)
    qos = PmQos(str(device))
    assert qos.describe() == "not held (not asked for)"
    assert qos.hold()
    assert qos.held
    assert qos.describe() == "held"
    assert device.read_bytes() == b"\0\0\0\0"
    qos.release()
    assert not qos.held


def test_pm_qos_says_why_it_is_not_held(tmp_path: Path) -> None:
    device = str(tmp_path / "none")
    qos = PmQos(device)
    assert not qos.hold()
    assert qos.describe() == f"not held ({device}: No such file or directory)"
