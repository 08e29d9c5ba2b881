"""The C core from a plain C program under the thread, address and undefined-behavior sanitizers."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
NATIVE = Path(__file__).parent / "native"
ROUNDS = {"thread": 40_000, "address,undefined": 100_000, "none": 300_000}

pytestmark = [pytest.mark.prove, pytest.mark.timeout(300)]


@pytest.mark.parametrize("sanitizer", list(ROUNDS))
def test_threads_over_one_mapping(sanitizer: str, tmp_path: Path) -> None:
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler")
    program = tmp_path / "shm_threads"
    flags = ["-std=c11", "-O2", "-g", "-Wall", "-Wextra", "-Werror", f"-I{ROOT}"]
    if sanitizer != "none":
        flags += [f"-fsanitize={sanitizer}", "-fno-sanitize-recover=all"]
    built = subprocess.run(
        [compiler, *flags, str(NATIVE / "shm_threads.c"), "-o", str(program), "-pthread"],
        capture_output=True, text=True,
    )  # fmt: skip
    if built.returncode != 0 and "cannot find" in built.stderr:
        pytest.skip(f"no runtime library for -fsanitize={sanitizer}")
    assert built.returncode == 0, built.stderr
    # Some kernels randomize the address space more than the thread sanitizer can map.
    command = [str(program), str(ROUNDS[sanitizer])]
    if sanitizer == "thread" and (setarch := shutil.which("setarch")):
        command = [setarch, "-R", *command]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("\n") == 10, done.stdout
