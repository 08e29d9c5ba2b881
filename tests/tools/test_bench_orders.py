"""The bench of orders: its parts do what their names say, and a real flood gives figures."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import orjson
import pytest

from shm.clock import now_ns
from shm.enums import Reason, TradingState
from tools.bench import order_path, orders
from tools.bench.common import OURS, Measurement
from tools.bench.order_wire import measure_wires
from tools.venues.bench_accounts import INSTRUMENTS
from tools.venues.run import DEFAULT_VENUE

NAMES = (*orders.HOPS, "due_to_report", "decided_to_acknowledged")
STARVED = (Reason.INTENT_OLD, Reason.BOOK_SILENT, Reason.BOOK_NOT_LIVE, Reason.BOOK_LIVE_ID)
HOPS = {name: {"p50": 1.0, "p99": 2.0, "p99_9": 3.0} for name in NAMES}
FLOOD = {
    "orders": 50,
    "seconds": 2.0,
    "refused": {"5": 1},
    "processors": {"gateway": 0.5, "strategy": 0.2},
    "times": HOPS,
}


def test_a_submitted_order_passes_the_gate_and_rests_once_acknowledged(tmp_path: Path) -> None:
    path = order_path.OrderPath(tmp_path)
    try:
        order_id = path.submit()
        assert order_id is not None and not path.last_reason
        path.session.on_timer(now_ns())
        order = path.oms.order(order_id)
        assert order is not None and order.acknowledged
        assert path.journal.sequence == 3, "intent, sent, report"
        path.control.set_halt(TradingState.HALTED, 1)
        path.submit()
        assert int(path.last_reason) == Reason.HALTED
    finally:
        path.close()


def test_floor_and_halt_are_measured_across_processes(tmp_path: Path) -> None:
    cores = os.sched_getaffinity(0)
    try:
        floor = order_path.wire_floor(50, 5_000, (min(cores), max(cores)))
        woken = order_path.woken_floor(20, 2_000, (min(cores), max(cores)))
        halts = order_path.halt_times(tmp_path, 3, max(cores))
    finally:
        os.sched_setaffinity(0, cores)
    assert len(floor) == 50 and min(floor) > 0
    assert len(woken) == 20 and min(woken) > 0
    assert len(halts) == 3 and min(halts) > 0


def test_each_venue_is_measured_warm_cold_and_gathered_as_its_batches_allow(tmp_path: Path) -> None:
    found = {row.metric: row.values[0] for row in measure_wires(tmp_path, 1, 60)}
    for name in INSTRUMENTS:
        for state in ("warm", "cold"):
            assert 0 < found[f"wire_{name}_{state}_ns_p50"] <= found[f"wire_{name}_{state}_ns_p99"]
        assert found[f"wire_{name}_gathering_times_faster"] > 0
    per_request = {name: found[f"wire_{name}_gathered_orders_per_request"] for name in INSTRUMENTS}
    # One sends its batches by REST, and gathers only what had to wait; the others take 20 and 10.
    assert per_request == {"binance_usdm": 1.0, "okx": 20.0, "bybit": 10.0}


def test_the_json_has_rates_hops_goals_and_what_is_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(_folder: Path, **values: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        if values["mode"] == "venue":
            raise orders.RunFailed("no venue")
        return FLOOD, {"latency": {"hop.gate_ns": {"latency_ns_p50": 3, "latency_ns_p99": 4}}}

    def parts(*_: object) -> list[Measurement]:
        metrics = ("gate_ns_p50", "gate_ns_p99", "submit_ns_p50", "submit_ns_p99")
        return [Measurement(OURS, metric, "ns", [5.0]) for metric in metrics]

    def no_peer(_count: int) -> Any:
        raise orders.RunFailed("not installed")

    monkeypatch.setattr(orders, "engine_run", run)
    monkeypatch.setattr(orders, "in_process", parts)
    monkeypatch.setattr(orders, "peer_times", no_peer)
    found = orjson.loads(orders.bench_orders(1, peers=True, hold_pm_qos=False, progress=len).to_json())
    rows = {row["metric"]: row["median"] for row in found["results"]}
    assert rows["paper_orders_per_s"] == 25.0 and rows["paper_processor_gateway"] == 50.0
    assert rows["paper_gate_ns_p99"] == 4 and rows["paper_decided_to_sent_ns_p99"] == 2.0
    assert found["absent"] == {orders.PEER: "not installed", "gateway, venue": "no venue"}
    goals = {goal["goal"]: goal["reached"] for goal in found["goals"]}
    assert goals["orders/s of one gateway, paper"] is False
    assert goals["full gate p99 in a loop, ns"] is True
    assert None in goals.values(), "what was not measured is not judged"


@pytest.mark.prove
@pytest.mark.parametrize("rate", [0, 500])
def test_a_real_gateway_is_flooded_and_every_order_is_counted(tmp_path: Path, rate: int) -> None:
    core = min(os.sched_getaffinity(0))
    flood, report = orders.engine_run(
        tmp_path, adapter=DEFAULT_VENUE, rate=rate, count=300, window=8, core=core, mode="paper"
    )
    refused = sum(flood["refused"].values())
    # What a worker that got no core for a while decided or saw too long ago is refused, and nothing else.
    assert set(flood["refused"]) <= {str(int(reason)) for reason in STARVED}
    assert flood["orders"] + refused >= 300
    assert report["orders"]["new"] + refused >= 800 and report["orders"]["fills"] == 0
    assert set(flood["times"]) == set(HOPS)
