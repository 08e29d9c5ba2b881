"""The protocols of `shm` in every interleaving: formal models checked by spin, and broken ones it must catch.

The models are small enough for an exhaustive search: a run counts only if spin finished it within its limits.
Each sound model must have no error; each broken variant (one macro that takes out one line of the protocol)
must fail with the assertion that stands for its kind of damage.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

HERE = Path(__file__).parent
MEMORY_MB = 1900

pytestmark = [pytest.mark.prove, pytest.mark.timeout(900)]

#: Kind of damage: what the failed assertion looks like (spin prints it as the C expression it made of it).
KINDS = {
    "torn": r"copy\[\(2\*i\)\]==copy\[\(\(2\*i\)\+1\)\]|first==second",
    "out of order": r"copy\[\(2\*i\)\]%16\)==\(position|\(first\+i\)==\(journaled\+1\)",
    "miscounted": r"position\[me\]==\(delivered\[me\]\+lapped\[me\]\)",
    "sleeps on a record": r"position\[(0|\(2\*0\))\]==mem\[0\]|journaled==mem\[0\]",
    "sleeps on room": r"mem\[0\]==4",
    "unrepaired": r"is_dead\|\|valid",
    "never ends": r"non-progress cycle",
}

#: (model, macros): must hold in every state.
SOUND = [
    ("ring", "SUBSCRIBERS=1 RECORDS=6 PARTS=2"),  # laps, one bell for two publishes
    ("ring", "SUBSCRIBERS=1 CAPACITY=4 RECORDS=8 PART=2 PARTS=2"),  # two records per store of the cursor
    ("ring", "SUBSCRIBERS=2 RECORDS=3 LIMIT=1 PARTS=3"),
    ("ring", "SUBSCRIBERS=1 RECORDS=4 CRASHES=2"),
    ("ring", "SUBSCRIBERS=1 RECORDS=4 CRASHES=1 BEATS=1"),
    ("ring", "SUBSCRIBERS=1 CAPACITY=4 RECORDS=8 PART=2 PARTS=2 CRASHES=1"),
    ("ring", "SUBSCRIBERS=2 RECORDS=2 LIMIT=1 CRASHES=1"),
    ("bells", ""),  # joins while both publish
    ("bells", "CRASHES=1"),
    ("bells", "CRASHES=1 BEATS=1 RECORDS=1"),
    ("bells", "NO_HEARTBEAT"),  # without a crash nothing needs a net
    ("spsc", ""),
    ("spsc", "OFFER=2 RECORDS=5 COMMIT_AT_ONCE"),
    ("spsc", "CRASHES=1"),
    ("spsc", "CRASHES=1 OFFER=2 COMMIT_AT_ONCE"),
    ("spsc", "CRASHES=2 RECORDS=3"),
    ("spsc", "CRASHES=1 RECORDS=3 BEATS=1 REBORN_RINGS"),
    ("seqlock", ""),
    ("seqlock", "CRASHES=1"),
    ("seqlock", "CRASHES=2 VALUES=3 READERS=1"),
]

#: (model, macros): no run goes on for ever. With it the look of `auditor` at the end is a look at every run.
ENDS = [
    ("ring", "SUBSCRIBERS=1 RECORDS=4 CRASHES=1"),
    ("bells", ""),
    ("spsc", "RECORDS=3 CRASHES=1"),
    ("seqlock", "READERS=1 CRASHES=1"),
]

#: (model, what is taken out, other macros, kind of damage spin must find).
BROKEN = [
    ("ring", "NO_ARM_FENCE", "SUBSCRIBERS=1", "sleeps on a record"),
    ("ring", "NO_SIGNAL_FENCE", "SUBSCRIBERS=1", "sleeps on a record"),
    ("ring", "ARM_AFTER_LOOK", "SUBSCRIBERS=1", "sleeps on a record"),
    ("ring", "NO_LOOK_AFTER_ARM", "SUBSCRIBERS=1", "sleeps on a record"),
    ("ring", "CLEAR_BEFORE_WAIT", "SUBSCRIBERS=1", "sleeps on a record"),
    ("ring", "CURSOR_BEFORE_WORDS", "SUBSCRIBERS=1", "out of order"),
    ("ring", "CURSOR_NOT_RELEASED", "SUBSCRIBERS=1", "torn"),
    ("ring", "NO_INTENT_RECHECK", "SUBSCRIBERS=1", "torn"),
    ("ring", "RECHECK_OFF_BY_ONE", "SUBSCRIBERS=1", "torn"),
    ("ring", "INTENT_OFF_BY_ONE", "SUBSCRIBERS=1", "torn"),
    ("ring", "NO_CLAIM_FENCE", "SUBSCRIBERS=1", "torn"),
    ("ring", "NO_ACQUIRE_FENCE", "SUBSCRIBERS=1", "torn"),
    ("ring", "LAPS_MISCOUNTED", "SUBSCRIBERS=1", "miscounted"),
    ("ring", "NO_REJOIN", "SUBSCRIBERS=1", "never ends"),
    ("ring", "INTENT_LOWERED", "SUBSCRIBERS=1 CRASHES=1", "torn"),
    ("ring", "NO_OWED_WAKE", "SUBSCRIBERS=1 CRASHES=1", "sleeps on a record"),
    ("ring", "NO_HEARTBEAT", "SUBSCRIBERS=1 CRASHES=1", "sleeps on a record"),
    ("bells", "NO_HEARTBEAT", "CRASHES=1", "sleeps on a record"),
    ("bells", "NO_SIGNAL_FENCE", "", "sleeps on a record"),
    ("bells", "MASK_UNFENCED", "", "sleeps on a record"),
    ("bells", "NO_ARM_FENCE", "", "sleeps on a record"),
    ("bells", "MASK_AFTER_LOOK", "", "sleeps on a record"),
    ("bells", "NO_OWED_WAKE", "CRASHES=1", "sleeps on a record"),
    ("bells", "BELL_BEFORE_PARKED", "CRASHES=1", "sleeps on a record"),
    ("spsc", "NO_WANTED_FENCE", "", "sleeps on room"),
    ("spsc", "NO_SECOND_LOOK", "", "sleeps on room"),
    ("spsc", "WANTED_AFTER_LOOK", "", "sleeps on room"),
    ("spsc", "NO_COMMIT_FENCE", "COMMIT_AT_ONCE", "sleeps on room"),
    ("spsc", "WAKE_ONLY_PARKED", "", "sleeps on room"),
    ("spsc", "FULL_OFF_BY_ONE", "", "torn"),
    ("spsc", "CURSOR_BEFORE_WORDS", "", "torn"),
    ("spsc", "CURSOR_NOT_RELEASED", "", "torn"),
    ("spsc", "FREED_BEFORE_COPY", "", "torn"),
    ("spsc", "NO_ARM_FENCE", "", "sleeps on a record"),
    ("spsc", "NO_SIGNAL_FENCE", "", "sleeps on a record"),
    ("spsc", "NO_LOOK_AFTER_ARM", "", "sleeps on a record"),
    ("spsc", "COMMIT_BEFORE_JOURNAL", "CRASHES=1", "out of order"),
    ("spsc", "JOURNAL_NOT_LOOKED_AT", "CRASHES=1", "out of order"),
    ("spsc", "NO_FIRST_LOOK", "CRASHES=1", "sleeps on a record"),
    ("spsc", "NO_OWED_WAKE", "CRASHES=1", "sleeps on a record"),
    ("spsc", "NO_HEARTBEAT", "CRASHES=1", "sleeps on a record"),
    ("seqlock", "NO_RECHECK", "READERS=1", "torn"),
    ("seqlock", "NO_ODD", "READERS=1", "torn"),
    ("seqlock", "NO_ODD_FENCE", "READERS=1", "torn"),
    ("seqlock", "EVEN_NOT_RELEASED", "READERS=1", "torn"),
    ("seqlock", "ODD_NOT_REFUSED", "READERS=1", "torn"),
    ("seqlock", "NO_ACQUIRE_FENCE", "READERS=1", "torn"),
    ("seqlock", "REPAIR_COUNTS_ON", "READERS=1 CRASHES=1", "unrepaired"),
]


@dataclass(frozen=True)
class Verdict:
    """What a search said.

    Args:
        errors: found; the search stops at the first.
        reason: spin's line on the error, empty if there is none.
        states: different states visited.
        depth: steps of the longest run.
        is_complete: every reachable state was visited.
        text: all that was printed.
    """

    errors: int
    reason: str
    states: int
    depth: int
    is_complete: bool
    text: str


@dataclass(frozen=True)
class Checker:
    """Spin and a C compiler."""

    spin: str
    compiler: str

    def check(
        self, model: str, macros: str, where: Path, *, cycles: bool = False, optimize: str = "-O1"
    ) -> Verdict:
        """Search all states of a model.

        Args:
            model: name of the file without its ending.
            macros: separated by blanks.
            where: an empty folder for what spin makes.
            cycles: look for runs that never end instead of states that must not be.
            optimize: for the compiler; a search that ends early is not worth a good one.
        """
        for file in HERE.glob("*.pml"):
            shutil.copy(file, where)
        defines = [f"-D{macro}" for macro in macros.split()]
        run([self.spin, *defines, "-a", f"{model}.pml"], where)
        # The sort of search is fixed when the verifier is compiled; states are kept whole, only packed.
        kind = "-DNP" if cycles else "-DSAFETY"
        flags = [optimize, "-w", kind, "-DCOLLAPSE", f"-DMEMLIM={MEMORY_MB}"]
        run([self.compiler, *flags, "-o", "pan", "pan.c"], where)
        done = subprocess.run(
            ["./pan", "-m100000", "-w20", *(["-l"] if cycles else [])],
            cwd=where,
            capture_output=True,
            text=True,
        )
        return read_verdict(done.stdout + done.stderr)


def run(command: list[str], where: Path) -> None:
    done = subprocess.run(command, cwd=where, capture_output=True, text=True)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stdout}{done.stderr}"


def read_verdict(text: str) -> Verdict:
    errors = re.search(r"errors: (\d+)", text)
    states = re.search(r"([\d.e+]+) states, stored", text)
    depth = re.search(r"depth reached (\d+)", text)
    assert errors and states and depth, text
    reason = re.search(r"^pan:1: (.*)$", text, re.MULTILINE)
    limits = ("not completed", "max search depth too small", "out of memory", "hash table full", "aborted")
    return Verdict(
        int(errors[1]),
        reason[1] if reason else "",
        int(float(states[1])),
        int(depth[1]),
        not any(limit in text for limit in limits),
        text,
    )


def install_spin() -> str:
    """Why spin can not be had, empty if it now can."""
    apt = shutil.which("apt-get")
    if apt is None:
        return "spin is not installed and there is no apt-get to install it"
    if os.geteuid() != 0:
        return "spin is not installed: install the package spin as root"
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    said = ""
    for command in (["install", "-y", "spin"], ["update"], ["install", "-y", "spin"]):
        try:
            done = subprocess.run(
                [apt, *command], capture_output=True, text=True, env=environment, timeout=120
            )
        except subprocess.TimeoutExpired:
            return f"spin is not installed: apt-get {command[0]} did not end"
        if shutil.which("spin"):
            return ""
        said = (done.stderr or done.stdout).strip()[-200:]
    return f"spin is not installed and apt-get could not install it: {said}"


@pytest.fixture(scope="module")
def checker() -> Checker:
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler: spin's verifiers are C programs")
    spin = shutil.which("spin")
    if spin is None:
        refusal = install_spin()
        if refusal:
            pytest.skip(refusal)
        spin = shutil.which("spin")
    assert spin is not None
    return Checker(spin, compiler)


@pytest.fixture
def folder() -> Iterator[Path]:
    """A scratch folder that is gone at once: a hundred verifiers are not worth keeping."""
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


@pytest.mark.parametrize(("model", "macros"), SOUND)
def test_no_state_of_the_protocol_is_wrong(
    model: str, macros: str, checker: Checker, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    verdict = checker.check(model, macros, folder)
    assert verdict.errors == 0, f"{verdict.reason}\n{verdict.text}"
    assert verdict.is_complete, verdict.text
    assert verdict.states > 10_000, "the search ended before it began"
    show(capsys, model, macros, verdict)


@pytest.mark.parametrize(("model", "macros"), ENDS)
def test_no_run_of_the_protocol_goes_on_for_ever(
    model: str, macros: str, checker: Checker, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    verdict = checker.check(model, macros, folder, cycles=True)
    assert verdict.errors == 0, f"{verdict.reason}\n{verdict.text}"
    assert verdict.is_complete, verdict.text
    assert verdict.states > 10_000, "the search ended before it began"
    show(capsys, model, f"{macros} (ends)", verdict)


@pytest.mark.parametrize(("model", "broken", "macros", "kind"), BROKEN)
def test_a_broken_protocol_is_caught(
    model: str, broken: str, macros: str, kind: str, checker: Checker, folder: Path
) -> None:
    verdict = checker.check(model, f"{broken} {macros}", folder, cycles=kind == "never ends", optimize="-O0")
    assert verdict.errors == 1, f"{broken} was not noticed\n{verdict.text}"
    assert re.search(KINDS[kind], verdict.reason), f"{broken}: {verdict.reason}, expected: {kind}"


@pytest.mark.parametrize("model", ["ring", "bells", "spsc", "seqlock"])
def test_every_line_taken_out_is_in_the_table(model: str) -> None:
    """A macro in a model that no check uses would be a claim without a proof."""
    text = (HERE / f"{model}.pml").read_text()
    switches = set(re.findall(r"#if(?:n?def) (\w+)|defined\((\w+)\)", text))
    names = {a or b for a, b in switches}
    numbers = set(re.findall(r"^#define (\w+) +\S+(?: .*)?\n#endif", text, re.MULTILINE))
    checks = [*SOUND, *ENDS, *((name, f"{broken} {macros}") for name, broken, macros, _ in BROKEN)]
    used = {macro for name, macros in checks if name == model for macro in macros.split()}
    assert names - numbers - used == set()


def show(capsys: pytest.CaptureFixture[str], model: str, macros: str, verdict: Verdict) -> None:
    with capsys.disabled():
        print(f"\n{model:8} {macros:60} {verdict.states:>9} states, {verdict.depth} steps deep", end="")  # noqa: T201
