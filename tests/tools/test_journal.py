"""`ringlane journal` as a user has it: verify names what is wrong, cat filters, tail follows."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import orjson
import pytest

from exec.discrepancy import Discrepancy, DiscrepancyKind, Repair
from shm.enums import JournalKind
from shm.journal import HEADER_BYTES, Journal
from shm.journal_files import file_name, journal_files
from shm.journal_keeper import DAY_NS, KeepPolicy, keep
from tests.exec.scene import BUY, SELL, Scene, linear
from tools.cli import main
from tools.journal_view import parse_time

ROOT = Path(__file__).resolve().parents[2]
CODE = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from tools.cli import main; sys.exit(main())"
COMMAND = [sys.executable, "-P", "-c", CODE, "journal"]
FILE_BYTES = 16384


def trade(directory: Path, epoch: int, orders: int) -> Scene:
    """A run's journal with every kind of entry; left open."""
    journal = Journal.open(directory, "desk", epoch, file_bytes=FILE_BYTES)
    for row in (linear(0, symbol="AAA"), linear(1, symbol="BBB", price_exponent=1)):  # type: ignore[arg-type]
        journal.append(JournalKind.INSTRUMENT, row.to_bytes(), time.monotonic_ns())
    scene = Scene(instruments=2, journal=journal)  # type: ignore[arg-type]
    scene.now_ns = time.monotonic_ns()
    for number in range(orders):
        scene.now_ns += 1_000
        scene.book([(1000, 9)], [(1010, 9)])
        order = scene.new(
            BUY if number % 2 else SELL, 1000 if number % 2 else 1010, 2, instrument_id=number % 2
        )
        if number % 4 == 0:
            scene.replace(order, order.price_units, 3)
        if number % 3 == 0:
            scene.cancel(order)
    ghost = Discrepancy(int(DiscrepancyKind.GHOST_ORDER), int(Repair.CANCEL), 1, 77, 9, BUY, price_units=1000)
    scene.entries.discrepancy(ghost, scene.now_ns)
    return scene


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """A state root with the instance `desk`, whose gateway journaled two runs."""
    directory = tmp_path / "desk" / "journal-2"
    for epoch in (1, 2):
        trade(directory, epoch, 20).journal.close()  # type: ignore[attr-defined]
    keep(directory, KeepPolicy(keep_days=0), 1)
    return tmp_path


def told(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    code = main(["journal", *map(str, arguments)])
    out, err = capsys.readouterr()
    return code, out, err


def rows(capsys: pytest.CaptureFixture[str], *arguments: object) -> list[dict[str, Any]]:
    code, out, _ = told(capsys, *arguments, "--json")
    assert code == 0
    return [orjson.loads(text) for text in out.splitlines()]


def test_a_good_journal_is_exit_0_by_path_instance_or_file(
    state: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    directory = state / "desk" / "journal-2"
    for target in ([directory], [state / "desk"], ["desk", "--state", state], ["--state", state]):
        code, out, _ = told(capsys, "verify", *target)
        assert code == 0 and "good;" in out and "head digest" in out
    (found,) = rows(capsys, "verify", directory)
    assert found["good"] and found["findings"] == [] and found["epochs"] == [1, 2]
    assert told(capsys, "verify", directory, "--noted", found["digest"])[0] == 0
    code, _, err = told(capsys, "verify", directory, "--noted", "f" * 64)
    assert code == 1 and "computed anew" in err
    assert told(capsys, "verify", directory / file_name(1, 0))[0] == 0


def test_one_flipped_byte_is_exit_1_and_named(state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = state / "desk" / "journal-2" / file_name(1, 0)
    data = bytearray(path.read_bytes())
    data[HEADER_BYTES + 288 + 40] ^= 0x04  # in the second record: an instrument row has 256 + 32 bytes
    path.write_bytes(data)
    done = subprocess.run([*COMMAND, "verify", str(path.parent)], capture_output=True, text=True)
    assert done.returncode == 1
    assert f"DAMAGED: {path.name}: record 2: " in done.stdout
    assert f"(byte {HEADER_BYTES + 288})" in done.stdout
    code, out, err = told(capsys, "cat", path.parent)
    assert code == 1 and "record 2" in err
    assert " 2/1 INSTRUMENT" in out, "the next run is still printed"


def test_cat_prints_every_record_with_names_and_decimals(
    state: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = rows(capsys, "cat", "desk", "--state", state)
    assert {row["kind"] for row in found} == {"INSTRUMENT", "INTENT", "SENT", "REPORT", "DISCREPANCY"}
    for epoch in (1, 2):
        numbers = [row["sequence"] for row in found if row["epoch"] == epoch]
        assert numbers == list(range(1, len(numbers) + 1))
    order = next(row for row in found if row["kind"] == "INTENT" and row["instrument"] == "BBB")
    assert (order["what"], order["price_units"], order["price"], order["quantity"]) == (
        "NEW",
        1000,
        "100.0",
        "0.002",
    )
    ghost = next(row for row in found if row["kind"] == "DISCREPANCY")
    assert (ghost["what"], ghost["repair"], ghost["instrument"]) == ("GHOST_ORDER", "CANCEL", "BBB")
    assert abs(found[0]["utc_ns"] - time.time_ns()) < 3_600 * 10**9 and found[0]["time"].endswith("Z")
    code, out, _ = told(capsys, "cat", "desk", "--state", state)
    assert code == 0 and len(out.splitlines()) == len(found)


def test_filters_narrow_what_cat_prints(state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    everything = rows(capsys, "cat", state / "desk")
    assert {
        r["what"] for r in rows(capsys, "cat", state / "desk", "--kind", "cancel", "--kind", "ghost-order")
    } == {
        "CANCEL",
        "GHOST_ORDER",
    }
    assert {r["kind"] for r in rows(capsys, "cat", state / "desk", "--kind", "sent")} == {"SENT"}
    named = rows(capsys, "cat", state / "desk", "--instrument", "bbb")
    assert named and {r["instrument_id"] for r in named} == {1}
    assert rows(capsys, "cat", state / "desk", "--instrument", "1") == named
    replaced = next(r for r in everything if r["kind"] == "SENT" and r["new_client_order_id"])
    one = rows(capsys, "cat", state / "desk", "--epoch", "1", "--order", hex(replaced["client_order_id"]))
    ids = {r["client_order_id"] for r in one if r["kind"] in ("SENT", "REPORT")}
    assert ids == {replaced["client_order_id"], replaced["new_client_order_id"]}, "through its replace"
    middle = everything[len(everything) // 2]["time"]
    since = rows(capsys, "cat", state / "desk", "--since", middle)
    until = rows(capsys, "cat", state / "desk", "--until", middle)
    assert 0 < len(since) < len(everything) and 0 < len(until) < len(everything)
    assert rows(capsys, "cat", state / "desk", "--since", "1h") == everything
    assert rows(capsys, "cat", state / "desk", "--until", "1h") == []


def test_names_survive_retention_of_the_file_that_holds_the_rows(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from exec.checkpoint import CheckpointMaker
    from risk.exposure import ExposureBook

    scene = trade(tmp_path, 7, 60)
    maker = CheckpointMaker(tmp_path, 7, ExposureBook)
    while maker.step():
        pass
    assert keep(tmp_path, KeepPolicy(keep_days=1), 1).removed == []
    assert keep(tmp_path, KeepPolicy(keep_days=1), 5 * DAY_NS).removed
    assert journal_files(tmp_path)[0][1] > 0
    found = rows(capsys, "cat", tmp_path)
    assert {row["instrument"] for row in found if row["kind"] == "INTENT"} == {"AAA", "BBB"}
    scene.journal.close()  # type: ignore[attr-defined]


def test_tail_follows_a_writer_across_files_and_runs(tmp_path: Path) -> None:
    directory = tmp_path / "journal-1"
    trade(directory, 1, 5).journal.close()  # type: ignore[attr-defined]
    with subprocess.Popen(
        [*COMMAND, "tail", str(directory), "-f", "-n", "1", "--json"], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        first = orjson.loads(process.stdout.readline())
        assert first["kind"] == "DISCREPANCY"
        with Journal.open(directory, "desk", 1, file_bytes=FILE_BYTES) as journal:
            begin = journal.sequence
            for number in range(40):
                journal.append(JournalKind.NOTE, b"%d " % number * 300, 1)
        with Journal.open(directory, "desk", 2, file_bytes=FILE_BYTES) as journal:
            journal.append(JournalKind.NOTE, b"the next run", 1)
        found = [orjson.loads(process.stdout.readline()) for _ in range(41)]
        assert [(r["epoch"], r["sequence"]) for r in found] == [
            *((1, begin + n) for n in range(1, 41)), (2, 1),
        ]  # fmt: skip
        process.kill()
    assert len(journal_files(directory)) > 2


def test_tail_ends_by_itself_without_follow(state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = rows(capsys, "tail", state / "desk", "-n", "3")
    assert [row["epoch"] for row in found] == [2, 2, 2]
    everything = rows(capsys, "cat", state / "desk")
    assert found == everything[-3:]
    assert rows(capsys, "tail", state / "desk", "-n", "100000") == everything
    assert rows(capsys, "tail", state / "desk", "-n", "0") == []


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["verify", "no-such"], "no journal 'no-such'"),
        (["verify", "desk", "--kind", "fill"], "--kind belongs to journal cat and tail"),
        (["cat", "desk", "--noted", "aa"], "--noted belongs to journal verify"),
        (["cat", "desk", "-f"], "--follow belongs to journal tail"),
        (["tail", "desk", "--epoch", "1"], "--epoch belongs to journal verify and cat"),
        (["cat", "desk", "--since", "yesterday"], "expected ISO 8601"),
        (["cat", "desk", "--order", "x7"], "expected a number"),
        (["look", "desk"], "look"),
    ],
)
def test_mistakes_are_one_line_and_exit_2(
    state: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], text: str
) -> None:
    code, _, err = told(capsys, *arguments, "--state", state)
    assert code == 2 and text in err and len(err.splitlines()) == 1


def test_several_instances_must_be_named(state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(state / "desk", state / "other")
    code, _, err = told(capsys, "verify", "--state", state)
    assert code == 2 and "desk, other" in err
    code, _, err = told(capsys, "verify", "--state", state / "nowhere")
    assert code == 2 and "no journal under" in err


def test_times_are_iso_or_ago() -> None:
    assert parse_time("1970-01-01T00:00:01", 0) == 10**9
    assert parse_time("1970-01-01T01:00:00.000001+01:00", 0) == 1000
    assert parse_time("2h", 7_200 * 10**9) == 0
    assert parse_time("1.5s", 2 * 10**9) == 500_000_000
    with pytest.raises(ValueError, match="Invalid isoformat"):
        parse_time("soon", 0)
