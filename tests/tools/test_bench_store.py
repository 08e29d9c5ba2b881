"""The benches of what is stored, on a small scale: nothing is lost, and their figures are all there."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools.bench import ablation, history, services, store, store_phases


def test_the_noise_of_equal_phases_is_no_growth_and_what_grows_more_is_seen() -> None:
    off = store_phases.Phase(None)
    turns = store.Turns(off, {"a": store_phases.Phase(None), "b": store_phases.Phase(None)})
    for phase in (off, *turns.phases.values()):
        phase.run = lambda *_: None  # type: ignore[method-assign]
    turns.run(2, {0}, {1})
    off.hops = [10.0, 20.0, 10.0, 20.0, 10.0]
    turns.phases["a"].hops, turns.phases["b"].hops = [28.3, 14.1], [14.1, 70.7]
    assert [round(ratio, 1) for ratio in turns.ratios()["a"]] == [2.0, 1.0]
    assert [round(ratio, 1) for ratio in turns.ratios()["b"]] == [1.0, 5.0]
    assert turns.noise() == [2.0, 0.5, 2.0]
    assert store.noise_limit([1.0, 1.0], 3) == 1.0
    assert store.noise_limit([0.5, 0.6], 3) == 1.0, "a machine that became faster allows no growth"
    assert 1.0 < store.noise_limit([0.8, 0.9, 1.1, 1.3], 5) <= 1.3


def test_a_half_second_without_the_core_decides_nothing() -> None:
    import numpy as np

    took = np.full(store_phases.FILLS_PER_S * 3, 10)
    took[: store_phases.FILLS_PER_S // 2] = 10_000
    assert store_phases.hop_p99(took) == 10.0
    took[::20] = 90
    assert store_phases.hop_p99(took) == 90.0


def test_the_hot_core_is_the_one_that_devices_interrupt_least(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "      CPU0   CPU1   CPU2\n 36:  5  900  0  disk\n 37:  80  1  0  net\nLOC:  1  999999  3  timer\n"
    monkeypatch.setattr(Path, "read_text", lambda *_, **__: text)
    assert store.quietest_core({0, 1}) == 0
    assert store.quietest_core({0, 1, 2}) == 2


@pytest.mark.prove
def test_the_bench_of_the_store_measures_all_it_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_phases, "PHASE_S", 0.6)
    monkeypatch.setattr(store_phases, "KILL_EVERY_S", 0.3)
    monkeypatch.setattr(store, "STORED_FILLS", 300)
    monkeypatch.setattr(store, "TURNS", 1)
    result = store.bench_store(1, hold_pm_qos=False)
    found = {(m.name, m.metric): m.median for m in result.results}
    for phase in (store.OFF, store.BUSY, "SQLite", "PostgreSQL", store.KILLED):
        assert found[phase, "hop_ns_p99"] > 0 and found[phase, "hop_ratio_percent"] > 0
    for name in ("ringlane", store.FLOOR):
        assert found[name, "rows_per_s"] > 0
    assert result.goals[0].value == 0  # no fill is missing or there twice


@pytest.mark.prove
def test_the_bench_of_the_services_measures_both_modes() -> None:
    result = services.bench_services(1, hold_pm_qos=False)
    found = {(m.name, m.metric): m.median for m in result.results}
    for metric in ("database_us_p50", "redis_us_p50"):
        assert found[services.PEER, metric] > 0 and found["ringlane", metric] > 0
    assert found[services.PEER, "connections"] == 200 and found["ringlane", "connections"] <= 40
    assert "moving average, coefficient" in result.absent


@pytest.mark.prove
def test_the_bench_of_history_finds_every_fill_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "MARKS", (2_000, 3_000, 4_000, 6_000))
    monkeypatch.setattr(history, "AHEAD_MAX", 1_000)
    monkeypatch.setattr(history, "KEEP_EVERY", 1_000)
    result = history.bench_history(1, hold_pm_qos=False)
    assert result.goals[0].value == 0
    names = {m.name for m in result.results}
    assert names == {history.GATEWAY, history.STORE, history.LIST, "journal on the disk"}


@pytest.mark.prove
def test_the_ablation_has_a_multiplier_for_each_win(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ablation, "CALLS", 8)
    monkeypatch.setattr(ablation, "ROWS_ONE_BY_ONE", 5)
    monkeypatch.setattr(ablation, "ROWS_BATCHED", 1_000)
    monkeypatch.setattr(ablation, "DECODED", 100)
    result = ablation.bench_ablation(1)
    text = " ".join(goal.text for goal in result.goals)
    for win in ("pooling, database", "pooling, redis", "cache", "rows", "questions", "core", "orders"):
        assert win in text
    assert all(goal.value is not None and goal.value > 0 for goal in result.goals)


@pytest.mark.soak
def test_a_history_of_a_million_and_a_half_fills_grows_no_process() -> None:
    result = history.bench_history(1)
    assert result.goals[0].value == 0
    assert all(goal.reached for goal in result.goals), [goal.as_dict() for goal in result.goals]
