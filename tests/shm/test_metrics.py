"""Metrics segment: counters, histograms and faults found by label, across a restart of the writer."""

from __future__ import annotations

import pytest

from shm.errors import LayoutError, MetricsError
from shm.faultlog import OTHER_TEXT
from shm.metrics import COUNTERS, FAULTS, HISTOGRAMS, Metrics


def fresh() -> tuple[bytearray, Metrics]:
    payload = bytearray(Metrics.bytes_needed())
    return payload, Metrics.create(payload, 5)


def test_a_reader_sees_values_by_name() -> None:
    payload, writer = fresh()
    frames, level = writer.counter("feed.frames"), writer.counter("queue", unit="records")
    frames.inc()
    frames.inc(41)
    level.set(-3)
    writer.histogram("hop.gate_ns").record(1000)
    reader = Metrics.attach(memoryview(payload).toreadonly())
    assert reader.worker_slot == 5
    assert reader.counters() == {"feed.frames": 42, "queue": -3}
    assert reader.units() == {"feed.frames": "count", "queue": "records"}
    assert reader.histograms()["hop.gate_ns"].count == 1
    assert reader.faults() == []


def test_the_same_name_is_the_same_cell() -> None:
    _, writer = fresh()
    assert writer.counter("fills") is writer.counter("fills")
    assert writer.histogram("cycle_ns") is writer.histogram("cycle_ns")


def test_a_restarted_writer_goes_on_counting() -> None:
    payload, writer = fresh()
    writer.counter("fills").inc(7)
    writer.histogram("cycle_ns").record(5)
    writer.fault(3, "socket lost", 100)
    reborn = Metrics.attach(payload)
    reborn.counter("fills").inc()
    reborn.histogram("cycle_ns").record(6)
    reborn.fault(3, "socket lost", 200)
    assert reborn.counter("fills").value == 8
    assert writer.histograms()["cycle_ns"].count == 2
    assert [(f.count, f.first_utc_ns, f.last_utc_ns) for f in writer.faults()] == [(2, 100, 200)]


@pytest.mark.parametrize("name", ["", "n" * 60, "né"])
def test_a_label_that_does_not_fit_is_refused(name: str) -> None:
    _, writer = fresh()
    with pytest.raises(MetricsError):
        writer.histogram(name)
    with pytest.raises(MetricsError):
        writer.counter(name + "n" * 50)


def test_no_cell_is_given_twice() -> None:
    _, writer = fresh()
    for index in range(COUNTERS):
        writer.counter(f"c{index}").set(index)
    for index in range(HISTOGRAMS):
        writer.histogram(f"h{index}")
    with pytest.raises(MetricsError, match="256"):
        writer.counter("one more")
    with pytest.raises(MetricsError, match="32"):
        writer.histogram("one more")
    assert writer.counters() == {f"c{index}": index for index in range(COUNTERS)}


def test_faults_are_distinct_by_code_and_text() -> None:
    _, writer = fresh()
    for at, (code, text) in enumerate([(1, "a"), (2, "a"), (1, "b"), (1, "a")]):
        writer.fault(code, text, at)
    assert [(f.code, f.text, f.count) for f in writer.faults()] == [(1, "a", 2), (2, "a", 1), (1, "b", 1)]


def test_a_long_text_is_cut_between_characters() -> None:
    _, writer = fresh()
    writer.fault(1, "x" + "é" * 200, 1)
    writer.fault(1, "x" + "é" * 201, 2)
    (fault,) = writer.faults()
    assert fault.text == "x" + "é" * 99
    assert fault.count == 2


def test_faults_beyond_the_capacity_are_still_counted() -> None:
    _, writer = fresh()
    for index in range(FAULTS + 10):
        writer.fault(index, "t", index)
    faults = writer.faults()
    assert len(faults) == FAULTS
    assert (faults[-1].text, faults[-1].count) == (OTHER_TEXT.decode(), 11)


def test_a_payload_that_is_no_metrics_segment_is_refused() -> None:
    with pytest.raises(LayoutError):
        Metrics.attach(bytearray(100))
    with pytest.raises(LayoutError):
        Metrics.attach(bytearray(Metrics.bytes_needed()))
    with pytest.raises(LayoutError):
        Metrics.create(bytearray(100), 1)
