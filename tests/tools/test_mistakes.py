"""Nonsense given to a verb: one line on standard error that names it, exit code 2, nothing done."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from tests.tools.test_journal import state
from tools.bench import capacity
from tools.bench.orders import RunFailed
from tools.cli import main

__all__ = ["state"]
pytestmark = pytest.mark.timeout(60)


def refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """The one line that a verb says of a mistake."""
    assert main([str(a) for a in arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("ringlane: error: ") and captured.err.count("\n") == 1
    return captured.err.removeprefix("ringlane: error: ").rstrip()


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("ringlane")


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["resume"], "give --arm first, then --clear"),
        (["journal", "look"], "'look' is not one of 'verify', 'cat', 'tail'."),
        (["journal"], "Missing argument 'verify|cat|tail'. Choose from: verify, cat, tail"),
        (["bench", "rate", "--data", "/"], "--data belongs to bench decode, feed, fills and slippage"),
        (["bench", "decode", "--data", "/no/such"], "--data /no/such: there is no such folder"),
        (["drill", "sentinel", "--venue", "nowhere"], "no venue 'nowhere'; there are: "),
        (["venue", "--at-end", "never"], "--at-end takes stop or loop or exit, not 'never'"),
        (["venue", "--times", "mine"], "--times takes shift or original, not 'mine'"),
        (["venue", "--speed", "fast"], "--speed takes a number or max, not 'fast'"),
        (["halt", "--reduce", "--flatten"], "--flatten belongs to a halt, not to --reduce"),
        (["capacity", "--updates", "1e9"], "'--updates': Input should be less than or equal to 10000"),
        (["run", "--report", "/dev/null"], "--report: /dev/null: is a file; expected a folder"),
    ],
)
def test_a_mistake_is_named_without_the_parsers_own_words(
    arguments: list[str], text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    said = refused(capsys, *arguments)
    assert text in said
    assert "Value error" not in said and "\t" not in said and not said.startswith("Invalid value: ")


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["cat", "--kind", "fil"], "no kind 'FIL'; did you mean FILL?"),
        (["tail", "--kind", "xyzzy"], "no kind 'XYZZY'; there are: "),
        (["cat", "--order", "-5"], "an order's id has 64 bits"),
        (["cat", "--order", str(1 << 64)], "an order's id has 64 bits"),
        (["cat", "--epoch", "77"], "there are no entries of that run; there are: 1, 2"),
        (["verify", "--epoch", "77"], "there are no entries of that run; there are: 1, 2"),
        (["verify", "--noted", "abc"], "expected a digest of 64 hexadecimal digits"),
    ],
)
def test_what_no_journal_can_hold_is_refused(
    arguments: list[str], text: str, state: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert text in refused(capsys, "journal", *arguments, "--state", state)


def test_a_filter_that_nothing_fits_says_so(state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["journal", "cat", "--instrument", "NOPE", "--state", str(state)]) == 0
    assert capsys.readouterr() == ("", "no entry fits\n")


def test_a_copy_of_the_database_replaces_an_older_copy_and_nothing_else(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    database, copy, letter = tmp_path / "rows.sqlite", tmp_path / "copy.sqlite", tmp_path / "letter"
    assert main(["store", "migrate", "--sqlite", str(database)]) == 0
    letter.write_text("dear Sir")
    backup = ("store", "backup", "--sqlite", str(database), "--file")
    for _ in range(2):
        assert main([*backup, str(copy)]) == 0
    capsys.readouterr()
    for path in (letter, database, tmp_path):
        assert "it is not overwritten" in refused(capsys, *backup, path)
    assert letter.read_text() == "dear Sir"
    with sqlite3.connect(database) as connection:
        assert connection.execute("SELECT count(*) FROM fills").fetchone() == (0,)


def test_an_engine_that_does_not_start_is_told_and_not_raised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(capacity, "CLI", "import sys; sys.exit('no room')")
    with pytest.raises(RunFailed, match="no room"):
        capacity.under_load(tmp_path, 2, 10.0)
