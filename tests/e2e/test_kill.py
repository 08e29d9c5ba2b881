"""SIGKILL of each kind of worker in mid-run: restarted, books proven again, no order lost or doubled."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.kit.account import assert_report_true, assert_whole, read_account
from tests.kit.engine_run import EngineRun, engine, until

pytestmark = pytest.mark.timeout(150)


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


@pytest.mark.parametrize("victim", ["feed", "strategy", "gateway", "housekeeping", "venue"])
def test_a_killed_worker_comes_back_and_no_order_is_lost_or_doubled(tmp_path: Path, victim: str) -> None:
    with engine(tmp_path, placement="spread") as run:
        status = run.wait_running()
        rows = [*status["workers"], *status["commands"]]
        names = [r["name"] for r in rows if victim in r["name"] or victim in r.get("role", "")]
        assert names, f"no worker like {victim} among {[r['name'] for r in rows]}"
        until(lambda: fills(run) > 3, "some fills")
        kill(run, names[0])
        before = fills(run)
        until(lambda: live(run) == 4, "all books are LIVE again")
        until(lambda: fills(run) > before + 3, "it trades again")
        run.signal(signal.SIGTERM)
        assert run.wait_ended() == 0, run.text()
        report = run.report()
        assert sum(w["restarts"] for w in report["workers"]) == 1
        assert any(names[0] in line and "SIGKILL" in line for line in report["events"]), report["events"]
        assert report["market"]["books_by_state"] == {"LIVE": 4}
        account = read_account(run)
        assert_whole(account)
        assert_report_true(report, account)
        run.assert_nothing_left()


def fills(run: EngineRun) -> int:
    return int(run.status().get("progress", {}).get("fills", 0))


def live(run: EngineRun) -> int:
    return int(run.status().get("progress", {}).get("books", {}).get("LIVE", 0))


@pytest.mark.prove
@pytest.mark.timeout(400)
def test_thirty_kills_in_one_run_lose_nothing(tmp_path: Path) -> None:
    with engine(tmp_path, placement="spread") as run:
        text = run.config.read_text().replace("[engine]", "[engine]\nrestart_intensity = 1000", 1)
        run.config.write_text(text)
        run.signal(signal.SIGTERM)
        run.wait_ended()
        again = EngineRun(tmp_path, text, name=run.name)
        try:
            status = again.wait_running()
            names = [r["name"] for r in status["workers"]]
            for i in range(30):
                kill(again, names[i % len(names)])
            until(lambda: live(again) == 4, "all books are LIVE again")
            before = fills(again)
            until(lambda: fills(again) > before, "it trades again")
            again.signal(signal.SIGTERM)
            assert again.wait_ended() == 0, again.text()
            assert sum(w["restarts"] for w in again.report()["workers"]) == 30
            account = read_account(again)
            assert_whole(account)
            assert_report_true(again.report(), account)
            again.assert_nothing_left()
        finally:
            again.close()
