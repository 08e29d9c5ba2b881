"""A standby takes the place of a killed or hanging trading worker; the ledger it followed is whole."""

from __future__ import annotations

import os
import signal
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.kit.account import assert_report_true, assert_whole, read_account
from tests.kit.engine_run import EngineRun, engine, synthetic, until
from tools.failover_drill import RATE, WRONGS, FailoverDrill
from tools.sentinel_drill import DrillVenue

pytestmark = pytest.mark.timeout(400)


def standby_of(run: EngineRun, worker: str) -> dict[str, Any] | None:
    rows = run.status().get("standbys", [])
    return next((r for r in rows if r["worker"] == worker and r["state"] == "following"), None)


@pytest.mark.parametrize(
    ("placement", "number"),
    [("default", signal.SIGKILL), pytest.param("spread", signal.SIGSTOP, marks=pytest.mark.prove)],
)
def test_a_standby_trades_on_with_the_ledger_it_followed(
    tmp_path: Path, placement: str, number: signal.Signals
) -> None:
    """Hung by SIGSTOP, the old process is killed before anybody takes its place."""
    text, _ = synthetic(tmp_path, placement=placement)
    text = text.replace("[orders]", "[orders]\nstandby = true")
    if number == signal.SIGSTOP:
        # Only who hangs is replaced for that: nobody else waits so long for a processor.
        text = text.replace("stall_restart_s = 0.0", "stall_restart_s = 4.0")
    worker = "trade" if placement == "default" else "gateway"
    with engine(tmp_path, config=text) as run:
        run.wait_running()
        standby = until(lambda: standby_of(run, worker), "a standby follows")
        until(lambda: run.fills() > 3, "some fills")
        old = run.worker(worker)["pid"]
        os.kill(old, number)
        after = until(
            lambda: (row := run.worker(worker)).get("incarnation") == 2 and row["state"] == "RUNNING" and row,
            "the next incarnation runs",
        )
        assert after["pid"] == standby["pid"]
        run.remember()
        before = run.fills()
        until(lambda: run.fills() > before + 3, "it trades again")
        run.remember()
        run.signal(signal.SIGTERM)
        assert run.wait_ended() == 0, run.text()
        report = run.report()
        assert any("by its standby" in line for line in report["events"]), report["events"]
        account = read_account(run)
        assert_whole(account)
        assert_report_true(report, account)
        run.assert_nothing_left()


@pytest.mark.prove
def test_killed_at_2000_updates_a_second_the_standby_quotes_and_no_id_or_order_is_lost_or_doubled(
    tmp_path: Path,
) -> None:
    with ExitStack() as stack:
        venue = DrillVenue("binance_usdm", stack, RATE, ("--limits", "100"))
        row = FailoverDrill(venue, tmp_path, standby=True, seed=7).play(4)
    print(f"\nSIGKILL to the standby's first order at the venue: {row['quoting_ms']} ms")
    assert row["promotions"] == 4 and row["orders"] > 4
    assert {what: row[what] for what in WRONGS} == dict.fromkeys(WRONGS, 0)
