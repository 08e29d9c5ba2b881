"""The verdict on a box, from what was measured; and what the scale bench makes of its figures."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import orjson
import pytest

from engine.config import parse_config
from engine.errors import ConfigError
from tools.bench import capacity, scale
from tools.bench.capacity import Measured, classify, core_split, per_update, rows_of
from tools.bench.common import OURS, Measurement
from tools.bench.orders import RunFailed
from tools.verbs.capacity import describe, show, wanted_texts

GOOD = Measured(
    cores=2, memory_bytes=16 << 30, available_bytes=12 << 30, files=20_000, feed_ns=8_000.0,
    trade_ns=20_000.0, latency_ns_p99=400_000.0, engine_bytes=200 << 20,
)  # fmt: skip


def column_of(found: Measured) -> tuple[str | None, list[str]]:
    """Name of the column, and what limits."""
    column, limits = classify(rows_of(found))
    return (column.name if column else None), limits


def test_a_box_that_has_everything_is_in_the_largest_column() -> None:
    assert column_of(GOOD) == ("maximum", [])
    rows = {row.name: row for row in rows_of(GOOD)}
    assert rows["pairs"].value == 625 and rows["strategies"].value == 250
    assert rows["latency p99"].column == "conservative, aggressive, maximum"


@pytest.mark.parametrize(
    ("changed", "column", "limit"),
    [
        ({"trade_ns": 40_000.0}, "aggressive", "strategies"),
        ({"trade_ns": 90_000.0}, "conservative", "strategies"),
        ({"trade_ns": 200_000.0}, None, "strategies"),
        ({"feed_ns": 80_000.0}, "aggressive", "pairs"),
        ({"latency_ns_p99": 6_000_000.0}, None, "latency p99"),
        ({"files": 280}, "aggressive", "DB connections"),
        ({"clients": {"database": 15}}, "conservative", "DB connections"),
        ({"available_bytes": 800 << 20}, "maximum", ""),
        ({"available_bytes": 700 << 20}, "aggressive", "pairs"),
        ({"feed_ns": None}, None, "pairs"),
    ],
)
def test_the_scarcest_thing_names_the_column_and_the_limit(
    changed: dict[str, Any], column: str | None, limit: str
) -> None:
    name, limits = column_of(replace(GOOD, **changed))
    assert name == column
    assert limit in limits if limit else not limits


def test_a_slow_box_keeps_the_latency_of_large_columns_only_and_is_none_of_the_small_one() -> None:
    slow = replace(GOOD, latency_ns_p99=1_500_000.0)
    assert column_of(slow)[0] == "maximum"
    (row,) = [row for row in rows_of(slow) if row.name == "latency p99"]
    assert row.column == "aggressive, maximum"
    assert column_of(replace(slow, trade_ns=90_000.0))[0] is None, "conservative asks for less than 1 ms"


def test_cores_are_shared_out_as_placement_does() -> None:
    assert [core_split(cores) for cores in (1, 2, 3, 4, 8)] == [(1, 1), (1, 1), (1, 1), (1, 2), (3, 4)]


def test_processor_time_is_that_between_two_looks_by_role() -> None:
    report = {
        "market": {"books_by_state": {"LIVE": 50}, "throughput_per_s": 1_000.0},
        "workers": [
            {"pid": 1, "role": "feed"}, {"pid": 2, "role": "trade"}, {"pid": 3, "role": "venue"},
        ],
    }  # fmt: skip
    first = {1: (10.0, 1.0), 2: (10.0, 2.0), 3: (10.0, 0.0)}
    found = per_update(report, first, {1: (12.0, 1.02), 2: (12.0, 2.06), 3: (12.0, 1.0)}, 50)
    assert found["feed"] == pytest.approx(10_000) and found["trade"] == pytest.approx(30_000)
    with pytest.raises(RunFailed, match="not up in time"):
        per_update(report, first, {1: (12.0, 1.02)}, 50)
    with pytest.raises(RunFailed, match="books at the end"):
        per_update(report, first, first, 51)


def test_the_object_has_rows_pools_and_what_limits_and_the_tables_have_the_same(
    capsys: pytest.CaptureFixture[str],
) -> None:
    rows = rows_of(GOOD)
    column, limits = classify(rows)
    document = describe(GOOD, rows, column, limits, 100.0)
    assert orjson.loads(orjson.dumps(document))["pools"] == {
        "pairs": 200, "database_connections": 20, "redis_connections": 40, "queue_size": 1_000,
    }  # fmt: skip
    show(document, rows)
    shown = capsys.readouterr().out
    assert "this box: maximum" in shown and "pools for 200 pairs" in shown
    assert set(wanted_texts()) == {row.name for row in rows}
    assert capacity.COLUMNS[0].name in shown


def test_bars_and_goals_of_scale_say_how_linear_it_is_and_what_was_lost() -> None:
    rows = [
        Measurement(OURS, "ticks_per_s_cores_1", "1/s", [100.0]),
        Measurement(OURS, "ticks_per_s_cores_2", "1/s", [150.0]),
        Measurement(OURS, "linearity_cores_2", "%", [75.0]),
        Measurement(OURS, "delayed_lost", "", [0.0]),
        Measurement(OURS, "bare_lost", "", [2.0]),
        Measurement(OURS, "delayed_orders_per_s", "1/s", [115.7]),
    ]
    one, two = scale.plot(rows)
    assert "1.00 of linear" in one and "0.75 of linear" in two and two.count("█") == 30
    goals = {goal.text: goal for goal in scale.scale_goals(rows)}
    assert goals["linearity_cores_2"].reached is False
    assert goals["orders lost"].value == 2.0 and goals["orders lost"].reached is False
    assert next(goal for text, goal in goals.items() if text.startswith("orders/s")).reached
    assert goals["intent → ack p99 without simulated delay, ns"].reached is None
    assert len(scale.operators()) == 3


def test_the_section_shadow_is_off_unless_written_and_refuses_models_that_do_not_exist() -> None:
    base = '[venues.sim]\nadapter = "binance_usdm"\n[venues.sim.simulated]\ninstruments = 1\nrate = 1.0\n'
    assert parse_config(base, "x").shadow is None
    shadow = parse_config(base + '[shadow]\nqueue_model = "no_queue"\n', "x").shadow
    assert shadow is not None and shadow.queue_model == "no_queue" and shadow.alpha == 0.05
    with pytest.raises(ConfigError, match="queue model 'fifo' is not known"):
        parse_config(base + '[shadow]\nqueue_model = "fifo"\n', "x")
