"""Latencies: what texts mean, the same draws for a seed, ages from stamps."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exec.errors import SimulatorError
from exec.simulator.latency import Latency, StampedLatency, parse_latency


@pytest.mark.parametrize(
    ("text", "ns"),
    [("", 0), ("0", 0), ("250us", 250_000), ("1.5ms", 1_500_000), ("7ns", 7), ("2s", 2 * 10**9)],
)
def test_a_constant_latency_is_written_with_its_unit(text: str, ns: int) -> None:
    latency = parse_latency(text, "seed")
    assert latency.draw_ns() == latency.age_ns(5, 3) == ns
    assert latency.is_none == (ns == 0)


def test_drawn_and_recorded_latencies_repeat_for_a_seed_and_differ_for_another(tmp_path: Path) -> None:
    table = tmp_path / "delays.csv"
    table.write_text("delay_ns\n" + "\n".join(str(number * 100) for number in range(1, 50)))
    for text in ("lognormal:250us:0.5", f"table:{table}"):
        first, second, other = (parse_latency(text, seed) for seed in ("a", "a", "b"))
        draws = [first.draw_ns() for _ in range(20)]
        assert draws == [second.draw_ns() for _ in range(20)]
        assert draws != [other.draw_ns() for _ in range(20)]


def test_a_floor_holds_for_what_is_drawn() -> None:
    latency = parse_latency("lognormal:100us:2:90us", "seed")
    draws = [latency.draw_ns() for _ in range(200)]
    assert min(draws) == 90_000 < max(draws)


@pytest.mark.parametrize(
    "text", ["fast", "-1us", "61s", "lognormal:1ms", "lognormal:1ms:9", "table:/no/such", "stamps", "nans"]
)
def test_a_latency_that_can_not_be_is_refused(text: str) -> None:
    with pytest.raises(SimulatorError):
        parse_latency(text, "seed")
    with pytest.raises(SimulatorError):
        Latency(-1)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 10**9), min_size=1, max_size=30), st.integers(-(10**15), 10**15))
def test_ages_by_stamps_do_not_depend_on_how_the_clocks_differ(ages: list[int], offset: int) -> None:
    latency = parse_latency("stamps:1ms", "", with_stamps=True)
    plain = StampedLatency(1_000_000)
    sent = [10**16 + 10**9 * number for number in range(len(ages))]
    found = [latency.age_ns(at + age + offset, at) for at, age in zip(sent, ages, strict=True)]
    assert found == [plain.age_ns(at + age, at) for at, age in zip(sent, ages, strict=True)]
    assert found == [ages[i] - min(ages[: i + 1]) + 1_000_000 for i in range(len(ages))]


def test_data_without_a_stamp_are_as_old_as_those_before() -> None:
    latency = StampedLatency(5)
    assert [latency.age_ns(now, venue) for now, venue in ((100, 0), (200, 150), (300, 230), (400, 0))] == [
        5, 5, 25, 25,
    ]  # fmt: skip
    assert latency.draw_ns() == 25 and not latency.is_none
