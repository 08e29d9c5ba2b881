"""`ringlane store`: every action on a real database, and a precise word for each mistake."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest

from shm.units import format_units
from tests.exec.scene import linear
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


UTC_TEXT = re.compile(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")


def test_answers_are_in_words_decimals_and_utc(verb: Verb, tmp_path: Path) -> None:
    base = ("--sqlite", str(tmp_path / "rows.sqlite"))
    verb("drain", "shop", *base)
    _, trades, _ = verb("query", "recent-trades", "--symbol", "S0", "--venue", "binance_usdm", *base)
    assert {line["side"] for line in trades} == {"BUY", "SELL"}
    assert {line["liquidity"] for line in trades} <= {"MAKER", "TAKER"}
    assert all(UTC_TEXT.fullmatch(line["at"]) for line in trades)
    assert UTC_TEXT.fullmatch(verb("migrate", *base)[1][0]["applied"])
    order = ("--order", hex(trades[0]["client_order_id"]))
    _, history, _ = verb("query", "order-history", *order, *base)
    fill = next(line for line in history if line["kind"] == "FILL")
    assert fill["order_status"] in ("PARTIALLY_FILLED", "FILLED") and fill["request_status"] == "ACCEPTED"
    row = linear(0)
    assert fill["price"] == format_units(fill["price_units"], row.price_exponent)
    assert fill["filled_quantity"] == format_units(fill["filled_units"], row.quantity_exponent)
    _, (intent, *_), _ = verb("query", "order-intent", *order, *base)
    assert (intent["kind"], intent["side"]) == ("NEW", trades[0]["side"]) and intent["price"] == fill["price"]
    _, rejects, _ = verb("query", "rejects", *base)
    assert {(line["kind"], line["reason"]) for line in rejects} >= {("DENIED", "POSITION")}


def test_an_instance_that_the_database_does_not_have_is_named_with_those_it_has(
    verb: Verb, tmp_path: Path
) -> None:
    base = ("--sqlite", str(tmp_path / "rows.sqlite"))
    verb("drain", "shop", *base)
    assert verb("query", "daily", "--instance", "shop", *base)[1] == verb("query", "daily", *base)[1] != []
    code, _, err = verb("query", "daily", "--instance", "nobody", *base)
    assert code == 2 and err.endswith("the database has no instance 'nobody'; it has: shop\n")


def test_only_programs_are_told_the_units_too(
    verb: Verb, state: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = ("--sqlite", str(tmp_path / "rows.sqlite"))
    verb("drain", "shop", *base)
    _, trades, _ = verb("query", "recent-trades", "--symbol", "S0", "--venue", "binance_usdm", *base)
    asked = ["store", "query", "order-history", "--order", str(trades[0]["client_order_id"]), *base]
    assert main(asked) == 0
    text = capsys.readouterr().out
    assert "kind FILL  order_status " in text and "price " in text and "_units" not in text
    assert main([*asked, "--json"]) == 0
    assert '"price_units":' in capsys.readouterr().out


def test_old_days_are_archived_and_restored(
    verb: Verb, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import datetime as clock

    base = ("--sqlite", str(tmp_path / "rows.sqlite"))
    verb("drain", "shop", *base)
    rows = rows_of(verb("status", *base)[1])
    place = ("--at", str(tmp_path / "archive"))
    keep = ("--keep", "fills=2", "--keep", "reports=99999999999")
    code, lines, _ = verb("archive", *keep, *place, *base)
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
        (("status", "--sqlite", "/dev/null"), "there is no database /dev/null"),
        (("status",), "has a store.sqlite"),
        (("status", "more"), "takes no 'more'"),
        (("drain", "--sqlite", "F"), "needs a journal folder"),
        (("drain", "nobody", "--sqlite", "F"), "no journal 'nobody'"),
        (("query", "everything"), "there are: recent-trades, order-fills"),
        (("query", "daily", "--since", "tomorrow"), "--since 'tomorrow'"),
        (("query", "order-fills", "--order", "x"), "--order 'x'"),
        (("query", "order-fills", "--order", "-1"), "has 64 bits"),
        (("query", "order-fills", "--order", hex(1 << 64)), "has 64 bits"),
        (("query", "recent-trades", "--limit", str(1 << 64)), "--limit"),
        (("query", "daily", "--since", "9999999d"), "a year from 1 to 9999"),
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


def test_what_is_no_database_and_no_address_is_said(verb: Verb, tmp_path: Path) -> None:
    empty, binary = tmp_path / "empty", tmp_path / "binary"
    empty.touch()
    binary.write_bytes(b"\xff\xfe")
    code, _, err = verb("status", "--sqlite", str(empty))
    assert code == 2 and err.endswith(f"{empty} is an empty file and no database\n")
    assert verb("status", "--sqlite", str(binary))[2].endswith("file is not a database\n")
    assert verb("status", "--url-file", str(binary))[2].endswith(f"store: {binary} is not UTF-8 text\n")
    assert verb("status", "--url-file", str(tmp_path))[2].endswith(f"store: {tmp_path}: Is a directory\n")
    endless = "a" * 300
    assert verb("status", "--sqlite", endless)[::2] == (
        1,
        f"ringlane: error: {endless}: File name too long\n",
    )


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
