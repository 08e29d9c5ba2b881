"""What the feed reads eight or sixteen bytes at a time is what reading it byte by byte gives."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.stress.building import build, execute


def run(tmp_path: Path, rounds: int, seed: int) -> None:
    program = build(tmp_path, "feed_numbers", "address,undefined")
    status, told = execute(program, rounds, seed)
    assert status == 0, told
    assert told.split()[0] == str(rounds)


def test_decimals_levels_and_checksums_are_those_of_their_naive_twins(tmp_path: Path) -> None:
    run(tmp_path, 200_000, 1)


@pytest.mark.prove
def test_decimals_levels_and_checksums_are_those_of_their_naive_twins_many_times(tmp_path: Path) -> None:
    run(tmp_path, 5_000_000, 2)
