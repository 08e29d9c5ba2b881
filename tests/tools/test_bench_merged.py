"""The bench of the merged view: all contenders merge the same books."""

from __future__ import annotations

import orjson
import pytest

import tools.bench.merged as merged
from shm.clock import now_ns
from shm.merged import MergedBook
from tools.bench.common import OURS


def test_the_way_in_python_finds_what_the_view_finds() -> None:
    books = merged.Books()
    view = MergedBook(books.slabs, books.rows, merged.DEPTH)
    assert view.merge(now_ns()) == 0b1110
    bids, asks = merged.in_python(books, view, merged.DEPTH)()
    assert [tuple(level) for level in view.bids.tolist()] == bids
    assert [tuple(level) for level in view.asks.tolist()] == asks
    assert any(mask == 0b1110 for *_, mask in bids)


def test_every_step_has_its_floor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(merged, "ROUNDS", 20)
    monkeypatch.setattr(merged, "PYTHON_ROUNDS", 5)
    document = orjson.loads(merged.bench_merged(1, hold_pm_qos=False).to_json())
    assert document["bench"] == "merged"
    metrics = {r["metric"] for r in document["results"]}
    assert metrics == {f"merge_top_{d}_{n}_changed_ns" for d in (32, 5) for n in (0, 1, 3)}
    assert {r["name"] for r in document["results"]} == {OURS, merged.FLOOR, merged.PYTHON}
    assert all(r["median"] > 0 for r in document["results"])
