"""A proof that can not fail proves nothing: each rule of the protocol is broken once, and must be noticed."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import pytest

from tests.stress.building import ROOT, build, execute
from tests.stress.mutations import ATOMICS, MUTANTS, UNSEEN, Mutant, Run, Unseen

pytestmark = [pytest.mark.prove, pytest.mark.timeout(300)]

#: A hang counts as noticed (a lost wake-up); the unbroken programs take a hundredth of it.
HANGS_S = 40.0
#: Chance decides which interleavings a run meets, and a neighbor on the cores leaves it few: at least so many
#: runs, and as many more as this time allows. A run takes a second, and the first one nearly always notices.
TRIES = 4
NOTICED_WITHIN_S = 90.0
#: The thread sanitizer without the stand-in for fences, see `Run`.
RAW_FENCES = (("#ifdef SHM_TSAN\nstatic", "#if 0\nstatic"),)


def prepare(folder: Path, run: Run, header: str | None, edits: tuple[tuple[str, str], ...]) -> list[str]:
    """Build a program against a copy of the headers with the edits applied."""
    native = folder / "shm" / "native"
    shutil.copytree(ROOT / "shm" / "native", native)
    sanitizer, options = run.tool, ["-w"]  # a broken header may well leave something unused
    if run.tool == "races":
        sanitizer = "thread"
        edit(native / ATOMICS, RAW_FENCES)
    if header is not None:
        edit(native / header, edits)
    return build(folder, run.program, sanitizer, *options, headers=folder)


def edit(path: Path, edits: tuple[tuple[str, str], ...]) -> None:
    text = path.read_text()
    for old, new in edits:
        assert old in text, f"{path.name} has no longer: {old}"
        text = text.replace(old, new)
    path.write_text(text)


#: The stepped program on unbroken headers is a test of its own, in test_native.py.
THREADED = sorted({m.run for m in MUTANTS if m.run.program != "shm_step_kill"})


@pytest.mark.parametrize("run", THREADED, ids=lambda r: f"{r.program}-{r.part}-{r.tool}")
def test_the_unbroken_headers_pass(run: Run, tmp_path: Path) -> None:
    """Else a mutant would be caught for nothing."""
    status, text = execute(prepare(tmp_path, run, None, ()), *run.arguments, timeout_s=HANGS_S)
    assert status == 0, text


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda m: m.name)
def test_a_broken_rule_is_noticed(mutant: Mutant, tmp_path: Path) -> None:
    command = prepare(tmp_path, mutant.run, mutant.header, mutant.edits)
    runs, end = 0, time.monotonic() + NOTICED_WITHIN_S
    while runs < TRIES or time.monotonic() < end:
        status, text = execute(command, *mutant.run.arguments, timeout_s=HANGS_S)
        if status == 77:
            pytest.skip("ptrace is not permitted here")
        if status != 0:
            return
        runs += 1
    raise AssertionError(f"{mutant.run.program} passed {runs} times with a broken {mutant.header}:\n{text}")


@pytest.mark.parametrize("unseen", UNSEEN, ids=lambda u: u.reason)
def test_what_no_program_here_can_show_still_stands_as_the_table_says(unseen: Unseen) -> None:
    assert unseen.text in (ROOT / "shm" / "native" / unseen.header).read_text()
    if unseen.reason.endswith(".pml"):
        variant, model = unseen.reason.rsplit(" ", 3)[1::2]
        assert variant in (ROOT / "tests" / "models" / model).read_text()


def test_names_are_unique() -> None:
    assert len({m.name for m in MUTANTS}) == len(MUTANTS)
