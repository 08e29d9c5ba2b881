"""The import direction of the house, read from the text of .py, .pyx, .pxd and .pyi."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

ALLOWED: dict[str, set[str]] = {
    "shm": set(),
    "feeds": {"shm"},
    "risk": {"shm"},
    "profiles": {"shm"},
    "exec": {"shm", "feeds.transport"},
    "actors": {"shm", "feeds", "risk", "profiles", "exec"},
    "engine": {"shm", "feeds", "risk", "profiles", "exec", "actors"},
    "tools": {"shm", "feeds", "risk", "profiles", "exec", "actors", "engine"},
}

IMPORT = re.compile(
    r"^[ \t]*(?:from[ \t]+(?P<from>[\w.]+)[ \t]+c?import\b"
    r"|c?import[ \t]+(?P<plain>[\w., \t]+?)[ \t]*(?:#.*)?$)",
    re.MULTILINE,
)


def imports_of(text: str) -> list[str]:
    """Dotted names that a source imports or cimports, `as` clauses removed."""
    found: list[str] = []
    for match in IMPORT.finditer(text):
        if match["from"]:
            found.append(match["from"])
        else:
            found.extend(part.split(" as ")[0].strip() for part in match["plain"].split(","))
    return found


def violations(package: str, text: str) -> list[str]:
    bad = []
    for name in imports_of(text):
        top = name.split(".")[0]
        if top not in ALLOWED or top == package:
            continue
        if not any(name == a or name.startswith(a + ".") for a in ALLOWED[package]):
            bad.append(name)
    return bad


def sources(package: str) -> list[Path]:
    return sorted(p for s in ("py", "pyx", "pxd", "pyi") for p in (ROOT / package).rglob(f"*.{s}"))


def test_no_upward_import() -> None:
    bad = []
    for package in ALLOWED:
        for path in sources(package):
            bad += [f"{path.relative_to(ROOT)}: {n}" for n in violations(package, path.read_text())]
    assert not bad, "imports against the layers:\n" + "\n".join(bad)


def test_every_package_is_read() -> None:
    for package in ALLOWED:
        assert sources(package), f"no source read in {package}/"


def test_the_reader_sees_what_it_must() -> None:
    assert violations("shm", "from feeds.core cimport FeedCore\n") == ["feeds.core"]
    assert violations("shm", "    import engine.config as c\n") == ["engine.config"]
    assert violations("exec", "from feeds.session import FeedSession\n") == ["feeds.session"]
    assert violations("exec", "from feeds.transport.rest import get\nfrom shm cimport ring\n") == []
    assert violations("feeds", "cimport risk.gate, shm.ring\n") == ["risk.gate"]


def test_exec_is_never_bound_as_a_name() -> None:
    # `import exec` and `import exec.oms` rebind a builtin: only `from exec.x import Y` is allowed.
    pattern = re.compile(
        r"^[ \t]*c?import[ \t]+(?:[\w.]+[ \t]*,[ \t]*)*exec\b|^[ \t]*from[ \t]+exec[ \t]+c?import\b",
        re.MULTILINE,
    )
    bad = [
        str(p.relative_to(ROOT))
        for package in [*ALLOWED, "tests"]
        for p in sources(package)
        if p != Path(__file__).resolve() and pattern.search(p.read_text())
    ]
    assert not bad, f"bare import of exec in {bad}"
    assert pattern.search("import exec.oms\n")
    assert not pattern.search("from exec.oms import Oms\n")
