"""Builds decoders and core with the address and undefined-behavior sanitizers; runs campaigns in them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SUFFIX = sysconfig.get_config_var("EXT_SUFFIX")
#: What a frame runs through from its bytes to the book.
MODULES = (
    "feeds.core",
    "feeds.publishing",
    "feeds.venues.bybit.decode",
    "feeds.venues.okx.decode",
    "feeds.venues.binance_usdm.decode",
    "feeds.decoder",
    "feeds.bells",
)
SANITIZERS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all")


def find_compiler() -> str:
    """The C compiler; skips without one."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler")
    return compiler


def find_runtimes(compiler: str) -> list[str]:
    """The sanitizers' libraries, to be loaded before an interpreter built without them. Skips without."""
    found = []
    for name in ("libasan.so", "libubsan.so"):
        path = subprocess.run(
            [compiler, f"-print-file-name={name}"], capture_output=True, text=True, check=True
        ).stdout.strip()
        if not Path(path).is_absolute():
            pytest.skip(f"no {name}")
        found.append(path)
    return found


def compile_module(folder: Path, module: str, headers: Path = ROOT) -> None:
    """Compile one module of the source tree into a folder that holds a copy of its package.

    Args:
        headers: the folder that holds `feeds/native`.
    """
    name = module.replace(".", "/")
    target = folder / name
    subprocess.run(
        [sys.executable, "-m", "cython", "-3", f"{name}.pyx", "-o", f"{target}.c"], check=True, cwd=ROOT
    )
    includes = [f"-I{headers}", f"-I{ROOT}", f"-I{sysconfig.get_path('include')}"]
    subprocess.run(
        [find_compiler(), "-shared", "-fPIC", "-O1", "-std=c11", "-w", *SANITIZERS, *includes,
         f"{target}.c", "-o", f"{target}{SUFFIX}"],
        check=True, cwd=ROOT,
    )  # fmt: skip


def build(folder: Path, modules: tuple[str, ...] = MODULES) -> Path:
    """A copy of the package `feeds` in a folder, these modules with sanitizers, the others as they are."""
    find_runtimes(find_compiler())
    shutil.copytree(ROOT / "feeds", folder / "feeds", ignore=shutil.ignore_patterns("*.c", "__pycache__"))
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda module: compile_module(folder, module), modules))
    return folder


def campaign(folder: Path, venue: str, count: int, seed: int) -> subprocess.CompletedProcess[str]:
    """Run `tests.fuzz.campaign` with the sanitized package in the place of the other."""
    environment = {
        **os.environ,
        "LD_PRELOAD": " ".join(find_runtimes(find_compiler())),
        # The interpreter leaves what it holds at its end, and that is no leak of ours.
        "ASAN_OPTIONS": "detect_leaks=0:abort_on_error=0:exitcode=99",
        "UBSAN_OPTIONS": "print_stacktrace=1",
        "PYTHONPATH": os.pathsep.join((str(folder), str(ROOT))),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    return subprocess.run(
        [sys.executable, "-P", "-m", "tests.fuzz.campaign", venue, str(count), str(seed)],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment, cwd=folder,
    )  # fmt: skip
