"""Journal entries become the same rows however the reading is cut."""

from __future__ import annotations

import random
from collections import Counter
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.persistence.pools import connections_for, mirror_connections_for, queue_size_for
from actors.persistence.rows import RowMaker, instrument_of, signed64, unsigned64, utc_time
from actors.persistence.tables import BY_NAME, FILLS, INSTRUMENTS, Row
from exec.discrepancy import Discrepancy
from shm.enums import JournalKind, ReportKind
from shm.journal_reader import START, JournalFollower, read_journal
from shm.records import ReportRecord
from tests.exec.scene import EPOCH
from tests.persistence.trading import INSTANCE, Shop


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A journal of several files."""
    path = tmp_path_factory.mktemp("rows") / "journal-3"
    shop = Shop(path, file_bytes=1 << 17)
    shop.trade(150)
    shop.find(Discrepancy(2, 1, client_order_id=2**64 - 5, ours=3, theirs=4, asset="USDT"))
    shop.close()
    assert len(list(path.glob("*.rlj"))) > 1
    return path


def all_rows(folder: Path, limits: list[int]) -> dict[str, list[Row]]:
    """Rows of the whole journal, read in steps of these sizes again and again."""
    follower, maker = JournalFollower(folder), RowMaker(INSTANCE, 3)
    rows: dict[str, list[Row]] = {}
    step = 0
    while True:
        before = follower.position
        entries = follower.read(limits[step % len(limits)])
        if not entries:
            return rows
        batch = maker.make(entries, before, follower.position)
        assert batch.entries == len(entries)
        for name, made in batch.rows.items():
            rows.setdefault(name, []).extend(made)
        step += 1


def test_every_kept_entry_is_one_row_and_every_fill_one_more(folder: Path) -> None:
    rows = all_rows(folder, [10_000])
    kinds: Counter[int] = Counter()
    fills = 0
    for entry in read_journal(folder, EPOCH):
        kinds[entry.kind] += 1
        fills += (
            entry.kind == JournalKind.REPORT
            and ReportRecord.from_bytes(entry.payload).kind == ReportKind.FILL
        )
    assert len(rows["instruments"]) == kinds[JournalKind.INSTRUMENT] == 2
    assert len(rows["intents"]) == kinds[JournalKind.INTENT]
    assert len(rows["reports"]) == kinds[JournalKind.REPORT]
    assert len(rows["fills"]) == fills > 20
    for name, made in rows.items():
        assert {len(row) for row in made} == {len(BY_NAME[name].names)}
    keys = [row[:4] for name in ("intents", "reports", "discrepancies") for row in rows[name]]
    assert len(set(keys)) == len(keys)


@pytest.mark.parametrize("seed", range(3))
def test_rows_do_not_depend_on_how_the_journal_is_read(folder: Path, seed: int) -> None:
    chance = random.Random(seed)
    assert all_rows(folder, [chance.randint(1, 40) for _ in range(9)]) == all_rows(folder, [10_000])


def test_a_maker_that_goes_on_from_a_position_knows_the_instruments_in_front_of_it(folder: Path) -> None:
    whole = all_rows(folder, [10_000])
    follower = JournalFollower(folder)
    follower.read(40)
    before = follower.position
    assert before != START
    known = dict(instrument_of(row) for row in whole["instruments"])
    batch = RowMaker(INSTANCE, 3, known).make(follower.read(10_000), before, follower.position)
    assert batch.rows["fills"] == whole["fills"][-len(batch.rows["fills"]) :]
    assert "instruments" not in batch.rows


def test_a_venue_without_a_name_keeps_its_number_in_a_stored_instrument(folder: Path) -> None:
    (row, *_) = all_rows(folder, [10_000])["instruments"]
    place = INSTRUMENTS.names.index("venue")
    _, instrument = instrument_of((*row[:place], "77", *row[place + 1 :]))
    assert instrument.venue_id == 77


def test_money_of_a_fill_stands_exactly_in_both_forms(folder: Path) -> None:
    for row in all_rows(folder, [10_000])["fills"]:
        fill = dict(zip(FILLS.names, row, strict=True))
        assert fill["venue"] == "binance_usdm" and fill["symbol"] in ("S0", "S1")
        assert (
            fill["price"] * 100 == fill["price_units"] and fill["quantity"] * 1000 == fill["quantity_units"]
        )
        assert fill["fee"] == Decimal(fill["fee_e8"]).scaleb(-8)


def test_an_instrument_comes_back_from_its_row_as_it_went(folder: Path) -> None:
    for row in all_rows(folder, [10_000])["instruments"]:
        (epoch, instrument_id), instrument = instrument_of(row)
        assert (epoch, instrument.price_exponent, instrument.quantity_exponent) == (EPOCH, 2, 3)
        assert row[INSTRUMENTS.names.index("instrument_id")] == instrument_id


@given(st.integers(0, 2**64 - 1))
def test_ids_survive_a_bigint(number: int) -> None:
    assert -(2**63) <= signed64(number) < 2**63
    assert unsigned64(signed64(number)) == number


@given(st.integers(0, 4 * 10**18))
def test_times_are_rounded_down_to_microseconds(utc_ns: int) -> None:
    at = utc_time(utc_ns)
    assert (at - utc_time(0)).total_seconds() == pytest.approx(utc_ns // 1000 / 1e6)
    assert at.microsecond == utc_ns // 1000 % 1_000_000


@pytest.mark.parametrize(
    ("pairs", "database", "mirror", "queue"),
    [(1, 5, 10, 100), (50, 5, 10, 500), (100, 10, 20, 1000), (200, 20, 40, 1000), (500, 20, 40, 1000)],
)
def test_pools_and_queues_have_the_sizes_that_their_formulas_say(
    pairs: int, database: int, mirror: int, queue: int
) -> None:
    sizes = connections_for(pairs), mirror_connections_for(pairs), queue_size_for(pairs)
    assert sizes == (database, mirror, queue)
