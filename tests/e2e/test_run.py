"""`ringlane run` from start to its end, in each way it can end."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from pathlib import Path

import orjson
import pytest

from tests.kit.engine_run import COMMAND, ROOT, EngineRun, engine, synthetic, until

pytestmark = pytest.mark.timeout(150)


def test_a_run_trades_reports_and_leaves_nothing_behind(tmp_path: Path) -> None:
    with engine(tmp_path, "--duration", "5") as run:
        run.wait_running()
        assert run.wait_ended() == 0, run.text()
        report = run.report()
        assert report["market"]["updates"] > 1000
        assert report["market"]["lapped"] == 0
        assert report["market"]["gaps"] == 0
        assert report["market"]["books_by_state"] == {"LIVE": 4}
        assert report["orders"]["new"] > 0
        assert report["orders"]["fills"] > 0
        assert report["faults"] == []
        assert sum(w["restarts"] for w in report["workers"]) == 0
        for hop in ("hop.decode_ns", "hop.ring_ns", "hop.gate_ns", "tick_to_trade_ns"):
            row = report["latency"][hop]
            assert 0 < row["latency_ns_p50"] <= row["latency_ns_p99"] <= row["latency_ns_max"]
        for row in report["positions"]:
            assert row["fills"] > 0
        text = run.text()
        assert "Run report" in text
        assert "tick to trade" in text
        assert "Traceback" not in text
        run.assert_nothing_left()


def test_ctrl_c_cancels_stops_and_still_reports(tmp_path: Path) -> None:
    with engine(tmp_path) as run:
        run.wait_running()
        until(lambda: run.verb("status", "--json").stdout, "status answers")
        run.signal(signal.SIGINT)
        assert run.wait_ended() == 0, run.text()
        assert run.report()["run"]["ended"] == "SIGINT"
        assert "Traceback" not in run.text()
        run.assert_nothing_left()


def test_the_spread_placement_trades_too(tmp_path: Path) -> None:
    with engine(tmp_path, "--duration", "4", placement="spread") as run:
        run.wait_running()
        assert run.wait_ended() == 0, run.text()
        report = run.report()
        assert report["orders"]["new"] > 0
        roles = {w["role"] for w in report["workers"]}
        assert {"strategy", "gateway", "feed"} <= {
            r.split("_")[-1] if r.startswith("order") else r for r in roles
        }
        run.assert_nothing_left()


def test_two_engines_run_side_by_side_on_one_state_root(tmp_path: Path) -> None:
    state = tmp_path / "state"
    runs = []
    for i in (1, 2):
        folder = tmp_path / str(i)
        folder.mkdir()
        argv = [*COMMAND, "run", "--duration", "4", "--state", str(state), "--report", str(folder)]
        runs.append(
            subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        )
    texts = [run.communicate(timeout=90)[0] for run in runs]
    assert [run.returncode for run in runs] == [0, 0], texts
    reports = [orjson.loads((tmp_path / str(i) / "report.json").read_bytes()) for i in (1, 2)]
    names = {r["run"]["instance"] for r in reports}
    assert len(names) == 2
    for report in reports:
        assert report["orders"]["new"] > 0
    for name in names:
        assert list(Path("/dev/shm").glob(f"ringlane.{name}.*")) == []


def test_killing_the_supervisor_ends_everything_and_the_next_start_clears_up(tmp_path: Path) -> None:
    with engine(tmp_path) as run:
        run.wait_running()
        until(lambda: run.verb("status", "--json").stdout, "status answers")
        run.signal(signal.SIGKILL)
        run.process.wait(timeout=10)
        until(lambda: not run.living(), "children gone after the supervisor was killed", 5.0)
        assert run.segments(), "SIGKILL leaves the segments; the next start must clear them"
        again = EngineRun(tmp_path, run.config.read_text(), "--duration", "2", name=run.name)
        try:
            status = again.wait_running()
            assert status["epoch"] == 2
            assert again.wait_ended() == 0, again.text()
            report = again.report()
            assert any("cleared segment" in line for line in report["events"])
            again.assert_nothing_left()
        finally:
            again.close()


def test_a_second_engine_of_the_same_name_is_refused(tmp_path: Path) -> None:
    with engine(tmp_path) as run:
        run.wait_running()
        done = subprocess.run(
            [*COMMAND, "run", str(run.config), "--state", str(run.state)],
            cwd=ROOT, capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        assert done.returncode in (1, 2)
        assert f"instance '{run.name}' is already running (pid {run.process.pid})" in done.stderr
        assert "Traceback" not in done.stderr
        assert run.status()["phase"] == "running"


def test_reload_swaps_a_generation_and_a_bad_file_changes_nothing(tmp_path: Path) -> None:
    with engine(tmp_path) as run:
        run.wait_running()
        good = run.config.read_text()
        run.config.write_text(good.replace("burst = 500", "burst = 400"))
        assert "2" in run.verb("reload").stdout
        assert {w["generation"] for w in run.status()["workers"]} == {2}
        run.config.write_text(good.replace("burst = 500", "brust = 500"))
        refused = run.verb("reload", ok=False)
        assert refused.returncode != 0
        assert "brust" in refused.stderr
        assert "burst" in refused.stderr
        assert run.status()["generation"] == 2
        run.config.write_text(good)
        run.signal(signal.SIGHUP)
        until(lambda: run.status().get("generation") == 3, "SIGHUP made generation 3")
        (tmp_path / "report" / "report.json").unlink(missing_ok=True)
        run.signal(signal.SIGUSR1)
        until(lambda: (tmp_path / "report" / "report.json").exists(), "SIGUSR1 wrote a report")
        assert run.report()["run"]["generation"] == 3


def test_halt_stops_trading_even_when_the_supervisor_hangs(tmp_path: Path) -> None:
    with engine(tmp_path) as run:
        run.wait_running()
        os.kill(run.process.pid, signal.SIGSTOP)
        try:
            run.verb("halt")
            done = run.verb("status", "--json")
            status = orjson.loads(done.stdout)
            assert status["trading_state"] == "HALTED"
            assert status["answers"] is False
        finally:
            os.kill(run.process.pid, signal.SIGCONT)
        until(lambda: run.status().get("phase") == "running", "the supervisor answers again")
        run.signal(signal.SIGTERM)
        assert run.wait_ended() == 0
        report = run.report()
        assert report["run"]["trading_state"] == "HALTED"
        run.assert_nothing_left()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("placement", "placment"), ["placment", "placement"]),
        (("seed = 7\n[venues.sim]", 'seed = "x"\n[venues.sim]'), ["run.seed", "integer"]),
        (('adapter = "binance_usdm"', 'adapter = "nowhere"'), ["nowhere", "binance_usdm"]),
        (('venue = "sim"', 'venue = "other"'), ["other"]),
        (('kind = "market_maker"', 'kind = "money_printer"'), ["money_printer", "market_maker"]),
    ],
)
def test_a_wrong_config_is_one_precise_error(
    tmp_path: Path, change: tuple[str, str], words: list[str]
) -> None:
    text, _ = synthetic(tmp_path)
    assert change[0] in text
    path = tmp_path / "bad.toml"
    path.write_text(text.replace(change[0], change[1], 1))
    for verb in ("check", "run"):
        extra = ["--state", str(tmp_path / "state")] if verb == "run" else []
        done = subprocess.run(
            [*COMMAND, verb, str(path), *extra], cwd=ROOT, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 2, done.stdout + done.stderr
        for word in words:
            assert word in done.stderr
        assert "Traceback" not in done.stderr


def test_a_port_in_use_is_one_precise_error_and_leaves_nothing(tmp_path: Path) -> None:
    text, name = synthetic(tmp_path)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen(1)
        port = taken.getsockname()[1]
        path = tmp_path / "engine.toml"
        path.write_text(text.replace("instruments = 4", f"instruments = 4\nport = {port}"))
        done = subprocess.run(
            [*COMMAND, "run", str(path), "--state", str(tmp_path / "state")],
            cwd=ROOT, capture_output=True, text=True, timeout=60,
        )  # fmt: skip
    assert done.returncode == 1, done.stdout + done.stderr
    assert f"{port}" in done.stderr
    assert "in use" in done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert list(Path("/dev/shm").glob(f"ringlane.{name}.*")) == []
