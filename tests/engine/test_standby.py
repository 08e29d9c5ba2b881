"""Standbys beside fake workers: who is promoted, when, and who is not."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.engine.test_supervisor import CONFIG, Engine, engine, processes_of, until

pytestmark = [pytest.mark.prove, pytest.mark.timeout(300)]
TEXT = CONFIG.replace("[machine]", "[orders]\nstandby = true\n[machine]")


def standbys(one: Engine) -> dict[str, dict[str, Any]]:
    return {row["worker"]: row for row in one.ask("status")["standbys"]}


def wait_following(one: Engine, besides: tuple[int, ...] = ()) -> dict[str, dict[str, Any]]:
    """Wait until each trading worker has a standby that is ready, none of these processes among them."""

    def ready() -> dict[str, dict[str, Any]] | None:
        rows = standbys(one)
        good = all(r["state"] == "following" and r["pid"] not in besides for r in rows.values())
        return rows if good else None

    found: dict[str, dict[str, Any]] = until(ready)
    return found


def test_a_dead_worker_is_replaced_by_its_standby_and_that_by_another(tmp_path: Path) -> None:
    with engine(tmp_path, TEXT) as one:
        one.wait_up()
        before = wait_following(one)
        assert set(before) == {"gateway", "strategy"}, "housekeeping and feeds have none"
        old = one.workers()["gateway"]["pid"]
        os.kill(old, signal.SIGKILL)
        after = until(
            lambda: (
                (row := one.workers()["gateway"])["incarnation"] == 2 and row["state"] == "RUNNING" and row
            )
        )
        assert after["pid"] == before["gateway"]["pid"], "its standby has become it"
        assert "restart of 2" in one.events() and "by its standby" in one.events()
        again = wait_following(one, (after["pid"],))
        assert again["gateway"]["promotions"] == 1
        # What is told to a worker reaches a promoted one, and it stops as asked.
        assert one.stop() == 0
        assert "gateway: event: phase orders" in "\n".join(one.ended["events"])
        assert processes_of(one) == [] and one.left_over() == []


def test_a_standby_that_dies_is_replaced_and_costs_no_restart(tmp_path: Path) -> None:
    with engine(tmp_path, TEXT) as one:
        one.wait_up()
        pid = wait_following(one)["strategy"]["pid"]
        os.kill(pid, signal.SIGKILL)
        wait_following(one, (pid,))
        assert f"the standby of strategy (pid {pid}) ended: killed by SIGKILL" in one.events()
        assert one.workers()["strategy"]["restarts"] == 0
        assert one.stop() == 0


def test_without_a_ready_standby_a_worker_is_started_as_ever(tmp_path: Path) -> None:
    with engine(tmp_path, TEXT) as one:
        one.wait_up()
        pid = wait_following(one)["gateway"]["pid"]
        os.kill(pid, signal.SIGKILL)
        os.kill(one.workers()["gateway"]["pid"], signal.SIGKILL)
        until(lambda: (row := one.workers()["gateway"])["state"] == "RUNNING" and row["incarnation"] >= 2)
        assert one.workers()["gateway"]["pid"] != pid
        assert one.stop() == 0


def test_standbys_go_with_a_killed_supervisor(tmp_path: Path) -> None:
    with engine(tmp_path, TEXT) as one:
        one.wait_up()
        wait_following(one)
        one.process.kill()
        one.process.wait()
        until(lambda: not processes_of(one))
