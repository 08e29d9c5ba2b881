"""What the documents point at is there: files, headings, verbs and their options."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tools.cli import VERBS

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("shm", "feeds", "risk", "profiles", "exec", "actors", "engine", "tools", "tests")
DOCUMENTS = [*ROOT.glob("*.md"), *(path for name in PACKAGES for path in sorted((ROOT / name).rglob("*.md")))]
LINK = re.compile(r"\]\((?!https?:)([^)#]*)(#[^)]*)?\)")
PATH = re.compile(r"`((?:[\w-]+/)*[\w-]+/[\w.-]+\.(?:py|pyx|h|toml|md|service|txt|pml))(?::\w+)?`")
SECTION = re.compile(r"`([\w/]*\w+\.md)`, \"([^\"]+)\"")
COMMAND = re.compile(r"\bringlane ([a-z]+)((?:[ |][^`|#\n]*)?)")
FLAG = re.compile(r"(?<![\w-])--[a-z][a-z-]*")


def found_at(name: str, document: Path) -> Path | None:
    """The file that a document means: beside it, or from the root."""
    places = (document.parent, ROOT)
    return next((place / name for place in places if (place / name).exists()), None)


def anchors(text: str) -> set[str]:
    """The anchors that the headings of a page have."""
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def dangling(document: Path, text: str) -> Iterator[str]:
    """What a document points at and is not there."""
    for name, anchor in LINK.findall(text):
        target = found_at(name, document) if name else document
        if target is None:
            yield f"no file {name}"
        elif anchor and anchor[1:] not in anchors(text if target == document else target.read_text()):
            yield f"no heading {name}{anchor}"
    yield from (f"no file {name}" for name in PATH.findall(text) if found_at(name, document) is None)
    for name, title in SECTION.findall(text):
        target = found_at(name, document)
        if target is None or not re.search(
            rf"^(?:#+ |(?:- )?\*\*){re.escape(title)}", target.read_text(), re.MULTILINE
        ):
            yield f'no section "{title}" in {name}'


def options_of(verb: str) -> set[str]:
    """The options of a verb, read from its function."""
    tree = ast.parse((ROOT / "tools" / "verbs" / f"{verb}.py").read_text())
    function = next(n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == verb)
    named = {f"--{argument.arg.strip('_').replace('_', '-')}" for argument in function.args.args}
    texts = (n.value for n in ast.walk(function.args) if isinstance(n, ast.Constant))
    return named | {t for t in texts if isinstance(t, str) and FLAG.fullmatch(t)} | {"--help"}


def unknown(text: str) -> Iterator[str]:
    """Options that a text gives to a verb that has none such."""
    for verb, rest in COMMAND.findall(text):
        if verb in VERBS:
            yield from (
                f"ringlane {verb} {flag}" for flag in FLAG.findall(rest) if flag not in options_of(verb)
            )


def test_documents_are_read() -> None:
    assert {ROOT / "README.md", ROOT / "engine" / "CONFIGURATION.md"} <= set(DOCUMENTS)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_what_a_document_points_at_is_there(document: Path) -> None:
    text = document.read_text()
    assert [*dangling(document, text), *unknown(text)] == []


def test_the_systemd_unit_gives_options_that_exist() -> None:
    assert list(unknown((ROOT / "tools" / "systemd" / "ringlane.service").read_text())) == []


def test_the_readme_of_a_user_has_every_verb() -> None:
    text = (ROOT / "README.md").read_text()
    missing = [v for v in VERBS if not re.search(rf"ringlane\s+{v}\b|`{v}`", text)]
    assert missing == []


def test_the_reader_sees_what_is_wrong() -> None:
    text = (
        '[a](nothing.md) [b](#none) `tests/none/none.py` `engine/README.md`, "No Such Part"\n'
        "# b\n`ringlane halt --unless-stopped --whatever`"
    )
    assert list(dangling(ROOT / "README.md", text)) == [
        "no file nothing.md",
        "no heading #none",
        "no file tests/none/none.py",
        'no section "No Such Part" in engine/README.md',
    ]
    assert list(unknown(text)) == ["ringlane halt --whatever"]
