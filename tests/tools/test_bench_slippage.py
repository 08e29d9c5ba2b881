"""The benches of router and slippage: their contenders do the same work, and say what they have reached."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest

import tools.bench.router as router
import tools.bench.slippage as slippage
from exec.router import E8, Outlet, find_route
from shm.enums import Side
from tools.bench.common import OURS


def test_the_floor_of_the_router_finds_the_same_cost_where_lots_do_not_matter() -> None:
    outlets = [Outlet(o.instrument, o.levels) for o in router.make_outlets()]
    for coins in (1, 60, 300):
        ours = find_route(outlets, Side.BUY, coins * E8).cost_e8
        assert router.in_python(outlets, coins * E8) == pytest.approx(ours, abs=E8)


def test_every_quantity_is_routed_beside_the_floor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(router, "ROUNDS", 2)
    document = orjson.loads(router.bench_router(1, hold_pm_qos=False).to_json())
    assert {r["metric"] for r in document["results"]} == {f"route_{name}_ns" for name in router.COINS}
    assert {r["name"] for r in document["results"]} == {OURS, router.FLOOR}
    assert len(document["goals"]) == 3


def test_without_recordings_nothing_is_measured_and_that_is_said() -> None:
    document = orjson.loads(slippage.bench_slippage(None, 1).to_json())
    assert document["results"] == []
    assert set(document["absent"]) == {name for name, *_ in slippage.TAPES}


@pytest.mark.prove
def test_the_switch_lowers_slippage_on_a_recorded_tape(
    market_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slippage, "TAPES", slippage.TAPES[1:])
    monkeypatch.setattr(slippage, "FEES", {"fees_2_5": (2.0, 5.0)})
    result = slippage.bench_slippage(market_data, 1)
    assert [goal.reached for goal in result.goals] == [True]
    medians = {r.name: r.median for r in result.results}
    assert medians[OURS] < medians["always aggressive"] - 1_000
