"""`ringlane bench store` on a small scale: its phases lose nothing, and its figures are all there."""

from __future__ import annotations

import pytest

from tools.bench import store


@pytest.mark.prove
def test_the_bench_of_the_store_measures_all_it_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "PHASE_S", 0.6)
    monkeypatch.setattr(store, "KILL_EVERY_S", 0.3)
    monkeypatch.setattr(store, "STORED_FILLS", 300)
    result = store.bench_store(1, hold_pm_qos=False)
    found = {(m.name, m.metric): m.median for m in result.results}
    for phase in ("store off", "SQLite", "PostgreSQL", "PostgreSQL killed"):
        assert found[phase, "hop_ns_p99"] > 0
    for name in ("ringlane", store.FLOOR):
        assert found[name, "rows_per_s"] > 0
    assert found["ringlane", "database_connections"] <= 20
    assert found["ringlane", "redis_connections"] <= 40
    assert result.goals[0].value == 0  # no fill is missing or there twice
