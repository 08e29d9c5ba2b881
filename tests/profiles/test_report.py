"""The run report: sums over workers, merged percentiles, exact money."""

from __future__ import annotations

import io
import subprocess
import sys

import orjson
from rich.console import Console

from profiles.machine import machine_facts
from profiles.process import ProcessSampler, ProcessUse
from profiles.report import RunFacts, WorkerFacts, collect, latency_row, merge_counters, pnl_section
from shm.metrics import Metrics
from tools.report_view import ns, render, short

RUN = RunFacts(
    instance="test", epoch=3, generation=1, placement="default", machine=machine_facts(), duration_s=2.0,
    trading_state="ACTIVE", ended="duration reached",
)  # fmt: skip


def metrics(slot: int) -> Metrics:
    return Metrics.create(memoryview(bytearray(Metrics.bytes_needed())), slot)


def worker(slot: int, m: Metrics | None) -> WorkerFacts:
    return WorkerFacts(slot, f"w{slot}", "feed", 0, 123, 1, 0, "RUNNING", ProcessUse(cpu_s=1.0), m)


def test_counters_of_all_workers_are_summed() -> None:
    a, b = metrics(1), metrics(2)
    a.counter("fills").inc(3)
    b.counter("fills").inc(4)
    assert merge_counters([a, b])["fills"] == 7


def test_percentiles_of_two_workers_equal_those_of_one_that_saw_everything() -> None:
    a, b, both = metrics(1), metrics(2), metrics(3)
    for value in range(1, 2000):
        (a if value % 3 else b).histogram("tick_to_trade_ns").record(value * 10)
        both.histogram("tick_to_trade_ns").record(value * 10)
    report = collect(RUN, [worker(1, a), worker(2, b)], [], {})
    row = report["latency"]["tick_to_trade_ns"]
    expected = latency_row(both.histograms()["tick_to_trade_ns"])
    assert {k: row[k] for k in expected} == expected
    assert row["count"] == 1999


def test_report_is_json_and_draws_without_any_update() -> None:
    report = collect(RUN, [worker(1, metrics(1)), worker(-1, None)], [], {})
    assert orjson.loads(orjson.dumps(report))["market"]["updates"] == 0
    console = Console(width=160, record=True, file=io.StringIO())
    console.print(render(report))
    text = console.export_text()
    assert "No position was opened" in text
    assert "No fault was recorded" in text


def test_cpu_share_is_of_the_run() -> None:
    report = collect(RUN, [worker(1, None)], [], {})
    assert report["workers"][0]["cpu_percent"] == 50.0


def test_money_is_summed_exactly_per_currency() -> None:
    rows = [
        {"settle": "USDT", "realized": "0.10000000", "unrealized": "-0.00000001", "fees": "0.30000000"},
        {"settle": "USDT", "realized": "0.20000000", "unrealized": "0.00000003", "fees": "-0.10000000"},
        {"settle": "BTC", "realized": "-1.00000000", "unrealized": "0.00000000", "fees": "0.00000000"},
    ]
    section = pnl_section(rows)
    assert section["USDT"] == {
        "realized": "0.30000000", "unrealized": "0.00000002", "fees": "0.20000000", "net": "0.10000002",
    }  # fmt: skip
    assert section["BTC"]["net"] == "-1.00000000"


def test_durations_and_amounts_are_readable() -> None:
    assert ns(3_456) == "3.46 µs"
    assert ns(12_345) == "12.3 µs"
    assert ns(2_500_000) == "2.50 ms"
    assert ns(3_000_000_000) == "3.00 s"
    assert short("-0.12345678") == "-0.1234"


def test_a_restarted_worker_keeps_what_its_first_process_used() -> None:
    sampler = ProcessSampler()
    burn = "sum(range(3_000_000)); print('x', flush=True); input()"
    used = 0.0
    for _ in range(2):
        with subprocess.Popen(
            [sys.executable, "-c", burn], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as child:
            assert child.stdout is not None
            child.stdout.readline()
            sampler.look(1, child.pid)
            now = sampler.use(1).cpu_s
            assert now > used
            used = now
            child.communicate(b"\n")
    sampler.look(1, 2**22 + 1)  # no such process: the last reading stays
    assert sampler.use(1).cpu_s == used
