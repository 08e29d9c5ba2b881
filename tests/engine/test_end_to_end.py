"""The command on the embedded default, everything real: venue, workers, orders, report; nothing is left."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import orjson

from engine.processes import child_environment


def test_embedded_default_trades_and_leaves_nothing(tmp_path: Path) -> None:
    name = f"e2e{os.getpid()}"
    config = tmp_path / "engine.toml"
    default = Path(__file__).parents[2] / "tools" / "default.toml"
    config.write_text(f'name = "{name}"\n' + default.read_text())
    arguments = ["run", str(config), "--duration", "4", "--json", "--state", str(tmp_path)]
    arguments += ["--report", str(tmp_path / "report")]
    done = subprocess.run(
        [sys.executable, "-P", "-m", "tools.cli", *arguments],
        env=child_environment(),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    report = orjson.loads(done.stdout)
    assert report == orjson.loads((tmp_path / "report" / "report.json").read_bytes())
    assert f"instance {name}" in done.stderr
    assert report["run"]["ended"] == "duration of 4 s"
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
