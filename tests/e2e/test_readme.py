"""The strategy that the README shows runs as it stands there."""

from __future__ import annotations

import re
import signal
from pathlib import Path

import pytest

from tests.kit.engine_run import ROOT, engine, synthetic, until

pytestmark = pytest.mark.timeout(400)


def test_the_strategy_of_the_readme_trades(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = re.search(r"```python\n# follow\.py\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert code is not None
    (tmp_path / "follow.py").write_text(code[1])
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    config, _ = synthetic(tmp_path)
    config = config.replace('kind = "market_maker"', 'kind = "follow:Follow"').replace(
        "priority = 1", 'priority = 1\ndepth_stream = "depth@0ms"'
    )
    with engine(tmp_path, config=config) as run:
        run.wait_running()
        until(lambda: run.counters()["orders.new"], "it orders")
        run.signal(signal.SIGTERM)
        assert run.wait_ended() == 0, run.text()
        report = run.report()
        assert report["orders"]["actor_errors"] == 0, report["faults"]
        assert report["orders"]["new"] > 0, report["orders"]
