"""Build the C stress programs with a sanitizer, and run them."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
NATIVE = Path(__file__).parent / "native"


def build(
    folder: Path, program: str, sanitizer: str = "none", *options: str, headers: Path = ROOT
) -> list[str]:
    """Compile `native/<program>.c`; returns the command that starts it, skips where it can not be built.

    Args:
        folder: Where the program goes.
        program: Name of the source without `.c`.
        sanitizer: Value of -fsanitize, "none" = without.
        options: Further options of the compiler; later ones win.
        headers: The folder that holds `shm/native`.
    """
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler")
    made = folder / f"{program}.{sanitizer.replace(',', '-')}"
    flags = ["-std=c11", "-O2", "-g", "-Wall", "-Wextra", "-Werror", f"-I{headers}", f"-I{NATIVE}"]
    if sanitizer != "none":
        flags += [f"-fsanitize={sanitizer}", "-fno-sanitize-recover=all"]
    built = subprocess.run(
        [compiler, *flags, *options, str(NATIVE / f"{program}.c"), "-o", str(made), "-pthread"],
        capture_output=True, text=True,
    )  # fmt: skip
    if built.returncode != 0 and "cannot find" in built.stderr:
        pytest.skip(f"no runtime library for -fsanitize={sanitizer}")
    assert built.returncode == 0, built.stderr
    # Some kernels randomize the address space more than the thread sanitizer can map.
    if sanitizer == "thread" and (setarch := shutil.which("setarch")):
        return [setarch, "-R", str(made)]
    return [str(made)]


def execute(command: list[str], *arguments: object, timeout_s: float | None = None) -> tuple[int | None, str]:
    """Run a program; returns its exit status, None if it hung beyond `timeout_s`, and all it printed."""
    environment = {**os.environ, "TSAN_OPTIONS": "halt_on_error=1 exitcode=66"}
    try:
        done = subprocess.run(
            [*command, *map(str, arguments)],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=timeout_s, env=environment,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        text = error.stdout or b""
        return None, text.decode(errors="replace") if isinstance(text, bytes) else text
    return done.returncode, done.stdout
