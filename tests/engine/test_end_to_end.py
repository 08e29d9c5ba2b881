"""The command on the embedded default, everything real: venue, workers, orders, report; nothing is left."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import orjson
import pytest

from engine.errors import ControlError
from engine.processes import child_environment
from tests.engine.test_supervisor import until
from tests.kit.engine_run import PATIENT
from tools.attach import ask, find_run

pytestmark = pytest.mark.timeout(300)


def test_embedded_default_trades_and_leaves_nothing(tmp_path: Path) -> None:
    name = f"e2e{os.getpid()}"
    config = tmp_path / "engine.toml"
    default = Path(__file__).parents[2] / "tools" / "default.toml"
    text = default.read_text()
    assert "stall_ms = 2_000" in text
    # A machine that lets its processes wait for seconds is no reason for a halt or a kill here.
    text = text.replace("stall_ms = 2_000", "stall_ms = 20_000").replace(
        "[engine]\n", f"[engine]{PATIENT}", 1
    )
    config.write_text(f'name = "{name}"\n' + text)
    arguments = ["run", str(config), "--json", "--state", str(tmp_path), "--report", str(tmp_path / "report")]
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "tools.cli", *arguments],
        env=child_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )

    def trades() -> bool:
        with suppress(ControlError):  # it only begins
            status: Any = ask(find_run(name, tmp_path), "status", 60.0)
            return bool(status["progress"]["fills"] > 0)
        assert process.poll() is None, process.communicate()
        return False

    try:
        until(trades)
    finally:
        process.terminate()
    output, errors = process.communicate()
    assert process.returncode == 0, errors
    report = orjson.loads(output)
    assert report == orjson.loads((tmp_path / "report" / "report.json").read_bytes())
    assert f"instance {name}" in errors
    assert report["run"]["ended"] == "SIGTERM"
    assert report["market"]["instruments"] == 5
    assert report["market"]["books"] > 0
    assert report["market"]["rejected_frames"] == 0
    assert (report["market"]["gaps"], report["market"]["resyncs"]) == (0, 0)
    assert report["orders"]["new"] > 0
    assert report["orders"]["fills"] > 0
    assert report["latency"]["hop.ack_ns"]["count"] > 0
    assert report["faults"] == []
    assert {w["restarts"] for w in report["workers"]} == {0}
    assert {w["state"] for w in report["workers"]} == {"STOPPED"}
    assert list(Path("/dev/shm").glob(f"ringlane.{name}.*")) == []
    assert not (tmp_path / name / "control.sock").exists()
    assert not (tmp_path / name / "run.json").exists()
