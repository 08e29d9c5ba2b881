"""House rules that a reader would otherwise have to remember."""

from __future__ import annotations

import ast
import io
import re
import sys
import tokenize
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("shm", "feeds", "risk", "profiles", "exec", "actors", "engine", "tools")
MODULE_LINES = 520
FUNCTION_LINES = 75
# The places that own restart: a handler that raises hurts its own actor only, a child only itself.
BROAD_EXCEPT_ALLOWED: dict[str, int] = {
    "actors/runtime/faults.py": 4,
    "actors/runtime/settings.py": 2,
    "actors/runtime/worker.py": 3,
    "actors/runtime/virtual.py": 1,
    "actors/runtime/mailboxes.pyx": 1,
}


def python_files(*suffixes: str) -> list[Path]:
    return sorted(p for package in PACKAGES for s in suffixes for p in (ROOT / package).rglob(f"*.{s}"))


def test_modules_fit_in_a_head() -> None:
    long = {
        str(p.relative_to(ROOT)): n
        for p in python_files("py", "pyx")
        if (n := len(p.read_text().splitlines())) > MODULE_LINES
    }
    assert not long, f"modules over {MODULE_LINES} lines: {long}"


def test_functions_fit_on_a_screen() -> None:
    long = []
    for path in python_files("py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                body = node.body[1:] if ast.get_docstring(node) and len(node.body) > 1 else node.body
                lines = (node.end_lineno or 0) - body[0].lineno + 1
                if lines > FUNCTION_LINES:
                    long.append(f"{path.relative_to(ROOT)}:{node.lineno} {node.name} ({lines})")
    for path in python_files("pyx"):
        long += [
            f"{path.relative_to(ROOT)}: {name} ({n})"
            for name, n in pyx_functions(path.read_text())
            if n > FUNCTION_LINES
        ]
    assert not long, f"functions over {FUNCTION_LINES} lines:\n" + "\n".join(long)


def pyx_functions(text: str) -> list[tuple[str, int]]:
    """Name and length of each def/cdef/cpdef function, by indentation."""
    found: list[tuple[str, int]] = []
    lines = text.splitlines()
    start = re.compile(r"^(\s*)(?:def|cpdef|cdef|async def)\b[^=]*?(\w+)\(")
    for i, line in enumerate(lines):
        match = start.match(line)
        if not match or " class " in line:
            continue
        indent, last = len(match[1]), i
        for j in range(i + 1, len(lines)):
            stripped = lines[j].strip()
            if not stripped:
                continue
            if len(lines[j]) - len(lines[j].lstrip()) <= indent and not stripped.startswith((")", "#")):
                break
            last = j
        found.append((match[2], last - i + 1))
    return found


def test_the_function_reader_counts() -> None:
    text = (
        "cdef class A:\n    def f(self):\n        a\n\n        b\n    cdef int g(self) noexcept:\n        c\n"
    )
    assert pyx_functions(text) == [("f", 4), ("g", 2)]


def test_no_broad_except_outside_restart_points() -> None:
    pattern = re.compile(r"^\s*except(?:\s+\(?\s*(?:Base)?Exception\b[^:]*)?\s*:", re.MULTILINE)
    found: dict[str, int] = {}
    for path in python_files("py", "pyx"):
        count = len(pattern.findall(path.read_text()))
        if count:
            found[str(path.relative_to(ROOT))] = count
    unexpected = {k: v for k, v in found.items() if v > BROAD_EXCEPT_ALLOWED.get(k, 0)}
    assert not unexpected, f"broad except outside the restart points: {unexpected}"


def test_no_venue_name_in_generic_code() -> None:
    allowed = ("feeds/venues/", "exec/venues/", "tools/venues/", "tools/default.toml", "tools/hundred.toml")
    name = re.compile(r"binance|okx|bybit", re.IGNORECASE)
    bad = []
    for path in [*python_files("py", "pyx", "pxd", "pyi", "h", "toml")]:
        relative = str(path.relative_to(ROOT))
        if relative.startswith(allowed):
            continue
        bad += [
            f"{relative}:{i}" for i, line in enumerate(path.read_text().splitlines(), 1) if name.search(line)
        ]
    assert not bad, "venue names in generic code:\n" + "\n".join(bad)


def test_no_module_bears_a_standard_library_name() -> None:
    bad = [
        str(p.relative_to(ROOT))
        for p in python_files("py", "pyx")
        if p.stem in sys.stdlib_module_names and p.stem != "__init__"
    ]
    assert not bad, f"modules named like the standard library: {bad}"


def test_every_test_folder_is_a_package() -> None:
    folders = {p.parent for p in (ROOT / "tests").rglob("*.py")}
    missing = [str(f.relative_to(ROOT)) for f in folders if not (f / "__init__.py").exists()]
    assert not missing, f"test folders without __init__.py: {missing}"


def test_every_package_says_what_it_is_for() -> None:
    for package in PACKAGES:
        doc = ast.get_docstring(ast.parse((ROOT / package / "__init__.py").read_text()))
        assert doc, f"{package}/__init__.py has no docstring"
        assert (ROOT / package / "README.md").exists(), f"{package}/README.md is missing"
        assert (ROOT / package / "py.typed").exists(), f"{package}/py.typed is missing"


def test_nothing_unfinished_is_committed() -> None:
    word = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")
    bad = []
    for path in python_files("py", "pyx", "pxd", "h"):
        if path.suffix in (".py", ".pyx", ".pxd"):
            comments = comments_of(path)
        else:
            comments = path.read_text()
        if word.search(comments):
            bad.append(str(path.relative_to(ROOT)))
    assert not bad, f"unfinished work is marked in {bad}"


def comments_of(path: Path) -> str:
    if path.suffix != ".py":
        return "\n".join(line.partition("#")[2] for line in path.read_text().splitlines())
    tokens = tokenize.generate_tokens(io.StringIO(path.read_text()).readline)
    return "\n".join(t.string for t in tokens if t.type == tokenize.COMMENT)


def test_compiled_modules_are_triples() -> None:
    bad = []
    for path in python_files("pyx"):
        if not path.with_suffix(".pyi").exists():
            bad.append(f"{path.relative_to(ROOT)} has no .pyi")
        if "language_level=3" not in path.read_text().splitlines()[0]:
            bad.append(f"{path.relative_to(ROOT)} does not state language_level=3")
    assert not bad, "\n".join(bad)


def test_every_compiled_module_is_declared_in_pyproject() -> None:
    import tomllib

    declared = {
        m["name"]
        for m in tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["ext-modules"]
    }
    present = {str(p.relative_to(ROOT).with_suffix("")).replace("/", ".") for p in python_files("pyx")}
    assert declared == present


def test_nothing_waits_by_the_clock_in_the_hot_packages() -> None:
    # A wait is a doorbell, a timer of the context or an injected sleep; a bare sleep is a poll (S3-02).
    pattern = re.compile(r"\b(?:time|asyncio)\.sleep\(")
    hot = ("shm/", "feeds/", "risk/", "exec/", "actors/", "profiles/")
    bad = [
        str(path.relative_to(ROOT))
        for path in python_files("py", "pyx")
        if str(path.relative_to(ROOT)).startswith(hot) and pattern.search(path.read_text())
    ]
    assert not bad, f"a bare sleep in {bad}"
