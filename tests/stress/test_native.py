"""The C core from plain C programs: many threads under sanitizers, SIGKILL after every single instruction."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.stress.building import build, execute

SANITIZERS = ("thread", "address,undefined", "none")
ROUNDS = {"thread": 40_000, "address,undefined": 100_000, "none": 300_000}
FACTOR = int(os.environ.get("RINGLANE_STRESS_FACTOR", "1"))
# A line per thread that took something: each part must have run with all its threads.
LINES = {"shm_threads": 2 * (8 + 1) + 4 + 2, "shm_values": 1 + 4 * 3, "shm_rates": 4}
SCENES = 15


@pytest.mark.prove
@pytest.mark.timeout(300)
@pytest.mark.parametrize("sanitizer", SANITIZERS)
@pytest.mark.parametrize("program", list(LINES))
def test_threads_over_one_mapping(program: str, sanitizer: str, tmp_path: Path) -> None:
    status, text = execute(build(tmp_path, program, sanitizer), ROUNDS[sanitizer] * FACTOR)
    assert status == 0, text
    assert text.count("\n") == LINES[program], text


def step_kill(tmp_path: Path, *options: str) -> None:
    status, text = execute(build(tmp_path, "shm_step_kill", "none", *options))
    if status == 77:
        pytest.skip("ptrace is not permitted here")
    assert status == 0, text
    lines = text.splitlines()
    assert len(lines) == SCENES + 1, text
    # Where a wake can be owed, single steps must have found it: else the scene did not look.
    owing = {line.split(":")[0] for line in lines[:-1] if " 0 owe a wake" not in line}
    assert owing == {"publish and signal", "commit"}, text


@pytest.mark.prove
@pytest.mark.timeout(300)
def test_killed_after_every_single_instruction_nothing_is_torn_lost_or_stuck(tmp_path: Path) -> None:
    step_kill(tmp_path)


@pytest.mark.soak
@pytest.mark.timeout(0)
@pytest.mark.parametrize("level", ["-O0", "-O1", "-O3"])
def test_the_same_in_the_code_of_other_optimization_levels(tmp_path: Path, level: str) -> None:
    step_kill(tmp_path, level)
