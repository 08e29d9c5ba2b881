"""`ringlane store`: every action on a real database, and a precise word for each mistake."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.persistence.trading import Shop
from tools.cli import main

Verb = Callable[..., tuple[int, list[dict[str, Any]], str]]


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A state root with the journal of an instance at rest."""
    root = tmp_path_factory.mktemp("state")
    shop = Shop(root / "shop" / "journal-3")
    shop.trade(60)
    shop.close()
    return root


@pytest.fixture
def verb(state: Path, capsys: pytest.CaptureFixture[str]) -> Verb:
    """Runs the verb with --json: exit code, lines, errors."""

    def run(*arguments: str) -> tuple[int, list[dict[str, Any]], str]:
        code = main(["store", *arguments, "--state", str(state), "--json"])
        out, err = capsys.readouterr()
        return code, [orjson.loads(line) for line in out.splitlines() if line.startswith("{")], err

    return run


def rows_of(lines: list[dict[str, Any]]) -> dict[str, int]:
    """Rows by table, as status says them."""
    return {line["table"]: line["rows"] for line in lines if "table" in line}


def test_from_a_journal_at_rest_to_a_backup_that_restores(verb: Verb, state: Path, tmp_path: Path) -> None:
    base = ("--sqlite", str(tmp_path / "rows.sqlite"))
    code, lines, _ = verb("migrate", *base)
    assert code == 0 and lines[0]["migration"] == 1
    code, lines, _ = verb("drain", "shop", *base)
    assert code == 0 and lines[0]["rows"] > 100
    assert verb("drain", str(state / "shop"), *base)[1][0]["rows"] == 0  # exactly once
    code, lines, _ = verb("status", *base)
    rows = rows_of(lines)
    assert code == 0 and rows["fills"] > 5 and lines[-1]["journal"] == "shop"
    code, lines, _ = verb("query", "daily", *base)
    assert code == 0 and sum(line["fills"] for line in lines) == rows["fills"]
    recent = ("query", "recent-trades", "--symbol", "S0", "--venue", "binance_usdm", "--limit", "2")
    code, lines, _ = verb(*recent, "--since", "1h", *base)
    assert code == 0 and len(lines) == 2
    order = str(lines[0]["client_order_id"])
    assert len(verb("query", "order-fills", "--order", order, *base)[1]) >= 1
    code, lines, _ = verb("backup", "--at", str(tmp_path / "backups"), *base)
    assert code == 0 and lines[0]["tables"]["fills"] == rows["fills"]
    code, lines, _ = verb("drill", "--at", str(tmp_path / "backups"))
    assert code == 0 and all(line["equal"] for line in lines) and rows_of(lines)["fills"] == rows["fills"]
    code, lines, _ = verb("backup", "--file", str(tmp_path / "copy.sqlite"), *base)
    assert code == 0 and {line["copied"]: line["rows"] for line in lines}["fills"] == rows["fills"]
    other = ("--sqlite", str(tmp_path / "other.sqlite"))
    assert verb("restore", "--backup", "newest", "--at", str(tmp_path / "backups"), *other)[0] == 0
    assert rows_of(verb("status", *other)[1]) == rows


def test_old_days_are_archived_and_restored(
    verb: Verb, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import datetime as clock

    base = ("--sqlite", str(tmp_path / "rows.sqlite"))
    verb("drain", "shop", *base)
    rows = rows_of(verb("status", *base)[1])
    place = ("--at", str(tmp_path / "archive"))
    code, lines, _ = verb("archive", "--keep", "fills=2", *place, *base)
    assert code == 0 and [line["archived"] for line in lines] == ["nothing"]  # nothing is that old

    class Later(clock.datetime):
        @classmethod
        def now(cls, tz: clock.tzinfo | None = None) -> Later:
            return cls.fromtimestamp(super().now(tz).timestamp() + 5 * 86_400, tz)

    monkeypatch.setattr("tools.store_work.datetime", Later)
    code, lines, _ = verb("archive", "--keep", "fills=2", *place, *base)
    assert code == 0 and sum(line["rows"] for line in lines) == rows["fills"]
    monkeypatch.undo()
    assert rows_of(verb("status", *base)[1]) == rows | {"fills": 0}
    code, lines, _ = verb("restore", *place, *base)
    assert code == 0 and sum(line["came"] for line in lines) == rows["fills"]
    assert rows_of(verb("status", *base)[1]) == rows


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("status", "--sqlite", "/nowhere/x"), "there is no database /nowhere/x"),
        (("status",), "has a store.sqlite"),
        (("status", "more"), "takes no 'more'"),
        (("drain", "--sqlite", "F"), "needs a journal folder"),
        (("drain", "nobody", "--sqlite", "F"), "no journal 'nobody'"),
        (("query", "everything"), "there are: recent-trades, order-fills"),
        (("query", "daily", "--since", "tomorrow"), "--since 'tomorrow'"),
        (("query", "order-fills", "--order", "x"), "--order 'x'"),
        (("archive", "--keep", "fills=0", "--at", "x", "--sqlite", "F"), "at least 1 day"),
        (("backup",), "needs --at"),
        (("status", "--sqlite", "F", "--url-env", "X"), "exclude each other"),
    ],
)
def test_a_mistake_is_one_line_that_says_what_is_wrong(
    verb: Verb, tmp_path: Path, arguments: tuple[str, ...], named: str
) -> None:
    code, lines, err = verb(*(str(tmp_path / "f") if a == "F" else a for a in arguments))
    assert (code, lines) == (2, []) and named in err and err.count("\n") == 1, err


def test_what_could_not_be_done_is_said_without_the_address(
    verb: Verb, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RL_TEST_PG", "postgresql://me:topsecret@/x?host=/nowhere")
    code, _, err = verb("status", "--url-env", "RL_TEST_PG")
    assert code == 1 and "postgres: can not open" in err and "topsecret" not in err
    assert verb("status", "--url-env", "RL_TEST_NONE")[2].endswith("the environment has no RL_TEST_NONE\n")


def test_without_a_name_the_queries_are_listed(verb: Verb) -> None:
    assert {"recent-trades", "latency"} <= {line["query"] for line in verb("query")[1]}
    takes = {line["query"]: line["takes"] for line in verb("query")[1]}
    assert takes["recent-trades"] == "--symbol, --venue, --since, --limit"


def test_an_archive_without_anything_says_so(verb: Verb, tmp_path: Path) -> None:
    place = ("--sqlite", str(tmp_path / "rows.sqlite"), "--at", str(tmp_path / "old"))
    assert verb("migrate", *place[:2])[0] == 0
    code, lines, _ = verb("archive", "--keep", "fills=1", *place)
    assert code == 0 and lines[-1]["archived"] == "nothing"
    code, _, err = verb("restore", *place)
    assert code == 1 and "is empty" in err
