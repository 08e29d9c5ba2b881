"""SIGKILL of each kind of worker in mid-run: restarted, books proven again, no order lost or doubled."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.kit.account import assert_report_true, assert_whole, read_account
from tests.kit.engine_run import EngineRun, engine, until

pytestmark = pytest.mark.timeout(400)

VICTIMS = ("feed", "strategy", "gateway", "housekeeping", "venue-sim")


def kill(run: EngineRun, name: str) -> dict[str, Any]:
    """Kill one worker and wait until its next incarnation runs."""
    before = run.worker(name)
    os.kill(before["pid"], signal.SIGKILL)

    def back() -> dict[str, Any] | None:
        now = run.worker(name)
        return now if now.get("state") == "RUNNING" and now["incarnation"] > before["incarnation"] else None

    after: dict[str, Any] = until(back, f"{name} is back after SIGKILL")
    run.remember()
    return after


def test_each_killed_worker_comes_back_and_no_order_is_lost_or_doubled(tmp_path: Path) -> None:
    """One after the other in one run: what a kill breaks may also show at the next one."""
    with engine(tmp_path, placement="spread") as run:
        status = run.wait_running()
        names = {row["name"] for row in (*status["workers"], *status["commands"])}
        assert names == set(VICTIMS), "each kind of process is killed"
        until(lambda: run.fills() > 3, "some fills")
        for victim in VICTIMS:
            kill(run, victim)
            before = run.fills()
            until(lambda: run.live() == 4, f"all books are LIVE again behind the end of {victim}")
            until(lambda n=before: run.fills() > n + 3, f"it trades again without {victim}")  # type: ignore[misc]
        run.signal(signal.SIGTERM)
        assert run.wait_ended() == 0, run.text()
        report = run.report()
        assert {w["name"]: w["restarts"] for w in report["workers"]} == {
            "supervisor": 0, **dict.fromkeys(VICTIMS, 1)
        }  # fmt: skip
        for victim in VICTIMS:
            assert any(victim in line and "SIGKILL" in line for line in report["events"]), report["events"]
        account = read_account(run)
        assert_whole(account)
        assert_report_true(report, account)
        run.assert_nothing_left()


@pytest.mark.prove
def test_thirty_kills_in_one_run_lose_nothing(tmp_path: Path) -> None:
    with engine(tmp_path, placement="spread") as run:
        status = run.wait_running()
        names = [row["name"] for row in status["workers"]]
        for i in range(30):
            kill(run, names[i % len(names)])
        until(lambda: run.live() == 4, "all books are LIVE again")
        before = run.fills()
        until(lambda: run.fills() > before, "it trades again")
        run.signal(signal.SIGTERM)
        assert run.wait_ended() == 0, run.text()
        assert sum(w["restarts"] for w in run.report()["workers"]) == 30
        account = read_account(run)
        assert_whole(account)
        assert_report_true(run.report(), account)
        run.assert_nothing_left()
