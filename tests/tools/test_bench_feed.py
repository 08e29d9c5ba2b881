"""The feed bench: every message is applied, processes end, and the report of an engine is read rightly."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import psutil
import pytest

import tools.bench.feed as feed
from feeds.venues import ADAPTERS, get_adapter
from tools.bench.common import Measurement
from tools.bench.decode.frames import synthetic
from tools.bench.decode.rig import PassFailed
from tools.bench.feed import (
    BOOK,
    ENGINE,
    LOOPBACK,
    MANY,
    MEMORY,
    Load,
    SessionRig,
    StepFailed,
    bench_feed,
    engine_rows,
    feed_goals,
)

TINY = Load(
    messages=300, passes_messages=300, instruments=2, rate=2_000.0, seconds=0.1, engine_s=0,
    many_instruments=0,
)  # fmt: skip


@pytest.fixture(autouse=True)
def no_process_is_left_behind() -> Any:
    before = {p.pid for p in psutil.Process().children(recursive=True)}
    yield
    assert {p.pid for p in psutil.Process().children(recursive=True)} <= before


@pytest.mark.parametrize("venue", list(ADAPTERS))
def test_a_session_takes_every_message(venue: str) -> None:
    rig = SessionRig(synthetic(get_adapter(venue), 300, 2))
    assert rig.take_all() > 0
    counts = rig.session.statistics()
    assert (counts["gaps"], counts["rejected"], counts["duplicates"]) == (0, 0, 0)
    assert counts.get("suspect_timestamp", 0) == 0


def test_a_message_that_is_not_applied_fails_the_pass() -> None:
    work = synthetic(get_adapter("okx"), 300, 1)
    work.frames[10] = work.frames[9]
    with pytest.raises(PassFailed, match="were not applied"):
        SessionRig(work).take_all()


@pytest.mark.parametrize(
    "venue", ["binance_usdm", *(pytest.param(v, marks=pytest.mark.prove) for v in ("okx", "bybit_linear"))]
)
def test_the_json_names_rates_and_cores(venue: str) -> None:
    document = orjson.loads(bench_feed(None, 1, venues=[venue], load=TINY).to_json())
    assert document["bench"] == "feed"
    assert "absent" not in document
    rows = {r["metric"]: r for r in document["results"]}
    assert rows[f"{MEMORY} {venue} synthetic"]["median"] > 0
    assert rows[f"{LOOPBACK} {venue}"]["median"] > 0
    per_core = rows[f"loopback_messages_per_core_s {venue}"]["median"]
    assert rows[f"cores_for_1_million_per_s {venue}"]["median"] == -(-1_000_000 // per_core)
    goals = {g["goal"]: g for g in document["goals"]}
    assert goals[f"{ENGINE}: MB of all feed processes"]["value"] is None


def test_a_venue_that_does_not_start_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    impossible = replace(TINY, instruments=0)
    with pytest.raises(StepFailed, match="ended with code"):
        feed.Venue("okx", min(os.sched_getaffinity(0)), impossible)
    monkeypatch.setattr(feed, "loopback", lambda *_: (_ for _ in ()).throw(StepFailed("no figure")))
    result = bench_feed(None, 1, venues=["okx"], load=TINY)
    assert result.absent == {f"{LOOPBACK} okx": "no figure"}


def report(**market: Any) -> dict[str, Any]:
    base = {
        "instruments": 2,
        "throughput_per_s": 49_900.0,
        "books_by_state": {"LIVE": 2},
        "gaps": 0,
        "lapped": 0,
        "range_left": 1,
    }
    base |= {"rejected_frames": 0, "duplicates": 0, "unknown_symbols": 0, "resyncs": 1, **market}
    roles = ("supervisor", "venue", "housekeeping", "feed")
    size = {"rss_bytes_max": 100_000_000, "pss_bytes": 60_000_000, "cpu_percent": 10.0}
    return {"market": base, "workers": [{"role": role, **size} for role in roles]}


def test_the_report_of_an_engine_is_judged() -> None:
    goals = {g.text: g for g in feed_goals(engine_rows(report()), Load())}
    assert goals[f"{ENGINE}: updates/s of 50,000"].verdict == "reached"
    assert goals[f"{ENGINE}: MB of all feed processes"].value == 200  # venue and supervisor are none
    assert goals[f"{ENGINE}: gaps, laps, rejections, duplicates"].verdict == "reached"
    lost = {g.text: g for g in feed_goals(engine_rows(report(gaps=1, throughput_per_s=30_000.0)), Load())}
    assert lost[f"{ENGINE}: gaps, laps, rejections, duplicates"].verdict == "NOT reached"
    assert lost[f"{ENGINE}: updates/s of 50,000"].verdict == "NOT reached"
    with pytest.raises(StepFailed, match="books at the end"):
        engine_rows(report(books_by_state={"LIVE": 1, "STALE": 1}))


@pytest.mark.prove
def test_many_instruments_of_one_venue_are_measured() -> None:
    load = replace(TINY, many_instruments=30, many_rate=3_000.0, seconds=0.5)
    rows = feed.many("okx", load, lambda _: None)
    assert {r.metric for r in rows} == {f"{MANY} okx", f"{BOOK} okx"}
    assert all(r.median > 0 for r in rows)
    goals = {g.text: g for g in feed_goals(rows, load)}
    assert goals[f"{BOOK} okx, kB"].value == rows[1].median / 1e3
    assert goals[f"{MANY} okx"].target == 100_000


def test_rates_are_held_against_their_goals() -> None:
    rows = [
        Measurement("ringlane", f"{MEMORY} a b", "1/s", [300_000]),
        Measurement("ringlane", f"{LOOPBACK} a", "1/s", [99_000]),
    ]
    goals = {g.text: g.verdict for g in feed_goals(rows, Load())}
    assert goals[f"{MEMORY} a b"] == "reached"
    assert goals[f"{LOOPBACK} a"] == "NOT reached"


def test_an_engine_that_does_not_start_is_reported_with_its_last_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(feed, "CONFIG", "[nonsense]\n")
    with pytest.raises(StepFailed, match="nonsense"):
        feed.engine(Load(engine_s=0.1))


@pytest.mark.prove
def test_an_engine_is_run_and_read() -> None:
    rows = {
        m.metric: m.median for m in feed.engine(Load(engine_instruments=3, engine_rate=500.0, engine_s=3.0))
    }
    assert rows[f"{ENGINE}_updates_per_s"] > 0
    assert rows[f"{ENGINE}_lost"] == 0
    assert rows[f"{ENGINE}_rss_bytes"] > rows[f"{ENGINE}_feed_rss_bytes"] > 0
