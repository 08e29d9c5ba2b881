"""The ring bench works with every contender that is installed, loses nothing and leaves nothing behind."""

from __future__ import annotations

import importlib.util
import os
import tempfile
from pathlib import Path
from typing import Any

import orjson
import psutil
import pytest

from tools.bench.common import Goal, Measurement
from tools.bench.ring.contender import Contender
from tools.bench.ring.contenders import BASE, PEERS, SHARING
from tools.bench.ring.goals import ring_goals
from tools.bench.ring.runner import TrialFailed, bench_ring, choose, run_trial
from tools.bench.ring.trial import Load, percentiles
from tools.bench.sharing import bench_sharing
from tools.cli import main

#: Watchdog of a trial, shorter than that of a test; a trial takes a second.
LIMIT_S = 100
TINY = Load(messages=100, warm_up=10, rate_per_s=5_000, bulk=0.005, limit_s=LIMIT_S)
LATENCY_ONLY = Load(messages=100, warm_up=10, rate_per_s=5_000, bulk=0, limit_s=LIMIT_S)


def traces() -> set[str]:
    """What a trial of this process could leave behind."""
    segments = {p.name for p in Path("/dev/shm").iterdir() if f"bench-{os.getpid()}-" in p.name}
    folders = {p.name for p in Path(tempfile.gettempdir()).glob(f"ringlane-bench-{os.getpid()}-*")}
    processes = {
        str(p.pid)
        for p in psutil.process_iter(["cmdline"])
        if f"bench-{os.getpid()}-" in " ".join(p.info["cmdline"] or ())
    }
    return segments | folders | processes


@pytest.fixture(autouse=True)
def nothing_is_left_behind() -> Any:
    before = {p.pid for p in psutil.Process().children(recursive=True)}
    yield
    assert traces() == set()
    assert {p.pid for p in psutil.Process().children(recursive=True)} <= before


@pytest.mark.parametrize("kind", [*BASE, *PEERS], ids=lambda kind: kind.name)
def test_every_message_of_a_contender_is_handled(kind: type[Contender]) -> None:
    if kind.missing():
        pytest.skip(f"not installed: {', '.join(kind.missing())}")
    measured = run_trial(kind, TINY, 1)
    assert 0 < measured["latency_ns_p50"] <= measured["latency_ns_p99"] <= measured["latency_ns_p999"]
    assert ("throughput_per_s" in measured) == (kind.bulk_count > 0)


@pytest.mark.parametrize("kind", SHARING, ids=lambda kind: kind.name)
def test_every_strategy_sees_every_update_of_a_shared_book(kind: type[Contender]) -> None:
    if kind.missing():
        pytest.skip(f"not installed: {', '.join(kind.missing())}")
    measured = run_trial(kind, Load(messages=40, warm_up=5, rate_per_s=500, bulk=0, limit_s=LIMIT_S), 1)
    assert measured["read_ns_p50"] <= measured["read_ns_p99"]
    assert measured["connections"] == (0 if kind.name == "shared-book" else 2 * kind.fan_out + 1)


def test_the_json_names_metrics_ratios_and_goals() -> None:
    names = ["ringlane", "floor-uvloop-eventfd"]
    result = bench_ring(2, only=names, hold_pm_qos=False, load=LATENCY_ONLY)
    document = orjson.loads(result.to_json())
    assert document["bench"] == "ring"
    assert document["machine"]["pm_qos"].startswith("not held")
    rows = {(r["name"], r["metric"]): r for r in document["results"]}
    for name in names:
        for metric in ("latency_ns_p50", "latency_ns_p99"):
            row = rows[name, metric]
            assert row["runs"] == 2
            assert row["unit"] == "ns"
            assert row["min"] <= row["median"] <= row["max"]
    assert document["ratios"]["latency_ns_p50: ringlane / floor-uvloop-eventfd"] > 0
    floor_goal = document["goals"][0]
    assert floor_goal["target"] == 1.15
    assert floor_goal["counts"] is False  # PM QoS was not held
    assert floor_goal["value"] is not None
    assert {g["value"] for g in document["goals"] if "pyzmq" in g["goal"]} == {None}


def test_a_peer_that_is_not_installed_is_named_and_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    kinds, absent = choose(peers=True, only=[])
    assert "ringlane" in {kind.name for kind in kinds}
    assert set(absent) == {kind.name for kind in PEERS if kind.modules}
    assert "not installed" in absent["pyzmq"]
    assert "zmq" in absent["pyzmq"]


def test_sharing_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    result = bench_sharing(1, hold_pm_qos=False, load=Load(40, 5, 500, 0, LIMIT_S))
    assert "ringlane[bench]" in result.absent["redis-per-strategy"]
    assert {r.name for r in result.results} == {"ringlane"}


class Unknown(BASE[0]):  # type: ignore[misc, valid-type]
    name = "no such contender"


def test_a_contender_that_fails_is_reported_and_the_others_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tools.bench.ring.runner.BASE", (Unknown, *BASE[:1]))
    result = bench_ring(1, hold_pm_qos=False, load=LATENCY_ONLY)
    assert "failed in run 1" in result.absent["no such contender"]
    assert "KeyError" in result.absent["no such contender"]
    assert {r.name for r in result.results} == {"ringlane"}


def test_a_trial_that_hangs_is_ended_with_all_its_processes() -> None:
    endless = Load(messages=1_000_000, warm_up=10, rate_per_s=1_000, bulk=0, limit_s=1)
    with pytest.raises(TrialFailed, match="not done after 1 s"):
        run_trial(BASE[0], endless, 1)


def test_goals_are_judged_by_ratio_and_show_the_floor() -> None:
    def row(name: str, value: float) -> Measurement:
        return Measurement(name, "latency_ns_p50", "ns", [value])

    rows = [
        row("ringlane", 4.0), row("floor-uvloop-eventfd", 4.0), row("pyzmq", 20.0), row("redis-pubsub", 19.0),
    ]  # fmt: skip
    goals = {g.text: g for g in ring_goals(rows, pm_qos_held=True)}
    assert goals["latency_ns_p50: ringlane / floor-uvloop-eventfd"].verdict == "reached"
    assert goals["latency_ns_p50: pyzmq / ringlane"].verdict == "reached"
    redis = goals["latency_ns_p50: redis-pubsub / ringlane"]
    assert redis.verdict == "NOT reached, nor by the floor"
    assert redis.value == redis.floor == 4.75
    assert goals["million/s: ringlane"].verdict == "not measured"
    assert Goal("x", 2.0, 1.0, at_least=True, counts=False).verdict == "reached (does not count)"


def test_percentiles_take_the_right_ranks() -> None:
    found = percentiles(range(1000, 0, -1))
    assert found == {"latency_ns_p50": 501, "latency_ns_p99": 991, "latency_ns_p999": 1000}


@pytest.mark.parametrize(
    "arguments",
    [["ring", "--only", "nonsense"], ["memory", "--peers"], ["nonsense"], ["ring", "--runs", "0"]],
)
def test_a_mistake_in_the_arguments_is_exit_code_2(arguments: list[str]) -> None:
    assert main(["bench", *arguments]) == 2
