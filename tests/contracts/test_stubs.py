"""The .pyi of each compiled module says what the module has (mypy's stubtest)."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# Cython adds these to every module or class; no stub states them.
ALLOWLIST = r"""
.*\.__reduce_cython__
.*\.__setstate_cython__
.*\.__reduce__
.*\.__setstate__
.*\.__test__
.*\.__pyx_.*
.*\.__hash__
"""


@pytest.mark.timeout(600)
def test_stubs_agree_with_compiled_modules(tmp_path: Path) -> None:
    modules = sorted(
        str(p.relative_to(ROOT).with_suffix("")).replace("/", ".")
        for package in ("shm", "feeds", "exec", "risk", "actors", "profiles", "tools")
        for p in (ROOT / package).rglob("*.pyx")
    )
    assert modules
    allow = tmp_path / "allow.txt"
    allow.write_text(ALLOWLIST)
    config = tmp_path / "mypy.ini"
    config.write_text("[mypy]\n")
    done = subprocess.run(
        [
            sys.executable, "-m", "mypy.stubtest", "--ignore-unused-allowlist", "--ignore-disjoint-bases",
            "--mypy-config-file", str(config), "--allowlist", str(allow), *modules,
        ],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
