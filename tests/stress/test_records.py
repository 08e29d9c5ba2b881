"""Many records between processes that stall, die and are reborn: each one checked, all of them counted."""

from __future__ import annotations

import json
import os
import random
from pathlib import Path

import pytest

from tests.stress.building import build, execute

RECORDS = int(os.environ.get("RINGLANE_STRESS_RECORDS", "0"))
SEED = int(os.environ.get("RINGLANE_KILL_SEED", "0")) or random.SystemRandom().getrandbits(32)


def stress(folder: Path, records: int, kills: int) -> None:
    command = build(folder, "shm_records")
    status, text = execute(command, records, kills, SEED)
    assert status == 0, f"seed {SEED}: {text}"
    print(text)
    counted = json.loads(text)
    assert counted["published"] + counted["exactly_once"] == records
    assert counted["delivered"] + counted["lapped"] == 3 * counted["published"]
    # Else it would have tested less than it says.
    assert counted["kills"] > kills // 2, text
    assert counted["delivered"] > counted["published"] / 4, text
    assert counted["lapped"] > 0, text


@pytest.mark.prove
@pytest.mark.timeout(300)
def test_millions_of_records_are_counted_exactly_through_kills_and_stalls(tmp_path: Path) -> None:
    stress(tmp_path, RECORDS or 20_000_000, 200)


@pytest.mark.soak
@pytest.mark.timeout(0)
def test_billions_of_records_are_counted_exactly_through_kills_and_stalls(tmp_path: Path) -> None:
    """RINGLANE_STRESS_RECORDS of them, 5 billion unless told otherwise."""
    stress(tmp_path, RECORDS or 5_000_000_000, 10_000)
