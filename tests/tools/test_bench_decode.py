"""The decode bench gives every way the same messages, tells what it left out, and judges goals by ratio."""

from __future__ import annotations

import contextlib
import gzip
import zlib
from pathlib import Path

import orjson
import pytest
import typer
from typer.testing import CliRunner

from feeds.errors import FeedError
from feeds.venues import ADAPTERS, get_adapter
from tools.bench.common import Measurement
from tools.bench.decode.frames import recorded, select, synthetic, workloads
from tools.bench.decode.goals import BOOK, COST, IN_C, decode_goals
from tools.bench.decode.rig import CoreRig, PassFailed, Workload
from tools.bench.decode.runner import bench_decode, compare, peers
from tools.bench.decode.ways import WAYS, Floor, Ours, Unable, Way
from tools.bench.decode_floor import FloorBooks
from tools.venues.bench_shapes import SHAPES, Recording
from tools.verbs.bench import bench

TINY = 200


@pytest.fixture(scope="module", params=list(ADAPTERS))
def work(request: pytest.FixtureRequest) -> Workload:
    return synthetic(get_adapter(request.param), TINY, 2)


def test_made_up_messages_are_applied_one_after_the_other(work: Workload) -> None:
    assert len(work.frames) == len(work.indexes) == len(work.stamps) >= TINY - 2
    assert set(work.indexes) == {0, 1}
    assert CoreRig(work.adapter, work.rows).run(work) > 0


def test_a_missing_message_fails_the_pass(work: Workload) -> None:
    rig = CoreRig(work.adapter, work.rows)
    first = work.indexes.index(work.indexes[-1])
    del (frames := list(work.frames))[first]
    broken = Workload(work.name, work.adapter, work.rows, work.starts, frames, [0] * len(frames), [], "")
    with pytest.raises(PassFailed, match="were not APPLIED"):
        rig.run(broken)


def test_the_floor_ends_with_our_books(work: Workload) -> None:
    ours, floor = Ours(work), Floor(work)
    ours.measure()
    floor.measure()
    for index in range(len(work.rows)):
        assert floor.books.book(index) == ours.rig.core.book(index)
        assert floor.books.book(index)[0]


def test_the_floor_refuses_a_message_with_another_checksum_than_its_book() -> None:
    text = "100.5:2:101:3.25:100:1.5"
    crc = zlib.crc32(text.encode())
    signed = crc - (1 << 32) if crc >> 31 else crc
    whole = b'{"asks":[["101","3.25"]],"bids":[["100.5","4"],["100","1.5"]],"checksum":%d}'
    update = b'{"asks":[],"bids":[["100.5","2"]],"checksum":%d}'
    first = "100.5:4:101:3.25:100:1.5"
    begun = zlib.crc32(first.encode())
    floor = FloorBooks(b'"asks":[', b'"bids":[', 1, [(1, 2, 1)], b'"checksum":')
    start = whole % (begun - (1 << 32) if begun >> 31 else begun)
    floor.load(0, start, b'"asks":[', b'"bids":[', 1)
    floor.run([update % signed], [0])
    with pytest.raises(ValueError, match="checksum"):
        floor.run([update % (signed + 1)], [0])


def test_every_way_that_is_installed_ends_with_our_best_prices(work: Workload) -> None:
    absent: dict[str, str] = {}
    ways: list[Way] = []
    for kind in (*WAYS, *peers()):
        if not kind.missing() and kind.name != "cryptofeed":
            with contextlib.suppress(Unable):  # such as several instruments at once
                ways.append(kind(work))
    assert len(ways) >= len(WAYS) - 1
    for way in ways:
        assert way.measure() > 0
    compare(work, ways, absent)
    assert absent == {}


def test_a_way_whose_books_end_elsewhere_is_told(work: Workload) -> None:
    class Wrong(Floor):
        name = "wrong"

        def best(self, index: int) -> tuple[float, float] | None:
            return 1.0, 2.0

    ours, absent = Ours(work), dict[str, str]()
    ours.measure()
    compare(work, [ours, Wrong(work)], absent)
    assert "its book of" in absent[f"wrong, {work.name}"]


def test_the_floor_refuses_what_has_no_levels() -> None:
    books = FloorBooks(b'"b":[', b'"a":[', 0, [(2, 3, 1)])
    with pytest.raises(ValueError, match="no levels"):
        books.run([b'{"x":1}'], [0])
    with pytest.raises(IndexError):
        books.run([b'{"b":[],"a":[]}'], [1])
    books.run([b'{"b":[["1.5","2"]],"a":[["1.60","0.125"],["2","0"]]}'], [0])
    assert books.book(0) == ([(150, 2000)], [(160, 125)])


def make_capture(folder: Path, *, is_numbered: bool = True) -> Path:
    """A recording of two connections that carry the same stream, with an update missing at the end."""
    lines: list[str] = []
    for connection in ("ws1", "ws2"):
        lines.append(f"{len(lines) + 1} {connection} connect wss://ws.okx.com:8443/ws/v5/public")
        for number in (1, 2, 3, 5):
            proof = {"checksum": 0, "seqId": number, "prevSeqId": number - 1 if number > 1 else -1}
            body = {
                "asks": [["101.5", str(number), "0", "1"]],
                "bids": [["100.5", str(number), "0", "1"]],
                "ts": str(1_700_000_000_000 + number),
                **(proof if is_numbered else {"checksum": number}),
            }
            message = {
                "arg": {"channel": "books", "instId": "BTC-USDT"},
                "action": "update" if number > 1 else "snapshot",
                "data": [body],
            }
            lines.append(f"{len(lines) + 1} {connection} recv {orjson.dumps(message).decode()}")
    path = folder / "sub" / "test.gz"
    path.parent.mkdir()
    path.write_bytes(gzip.compress(("\n".join(lines) + "\n").encode()))
    return path


def test_a_recording_is_read_once_and_what_is_not_applied_is_counted(tmp_path: Path) -> None:
    path = make_capture(tmp_path)
    found = recorded(get_adapter("okx"), path, Recording("x", "", one_line=True))
    assert (len(found.frames), found.indexes, len(found.starts)) == (2, [0, 0], 1)
    assert "1 not applied" in found.source
    assert found.stamps == [(1_700_000_000_000 + n) * 1_000_000 + 1_000_000 for n in (2, 3)]


def test_old_books_can_be_read_as_todays(tmp_path: Path) -> None:
    (recording,) = (r for r in SHAPES["okx"].recordings if r.rewrite)
    found = recorded(get_adapter("okx"), make_capture(tmp_path, is_numbered=False), recording)
    data = orjson.loads(found.frames[0])["data"][0]
    assert data["checksum"] == 0
    assert len(found.frames) == 3  # its own numbers have no hole; the second line is older than the first


def test_nothing_to_measure_is_an_error() -> None:
    adapter = get_adapter("okx")
    row = adapter.plain_instrument("BTC-USDT", 1, 1, 1, 1)
    with pytest.raises(FeedError, match="no depth messages"):
        select("x", adapter, [row], [b'{"event":"subscribe"}'], {}, "here")


def test_a_family_is_all_its_venues_and_without_recordings_they_are_synthetic(tmp_path: Path) -> None:
    found = list(workloads(tmp_path, ["bybit"]))
    assert [w.name for w in found] == ["bybit_linear synthetic", "bybit_spot synthetic"]


def test_the_json_names_costs_books_and_goals() -> None:
    document = orjson.loads(bench_decode(None, 2, venues=["okx"], frames=TINY).to_json())
    rows = {(r["name"], r["metric"]): r for r in document["results"]}
    for name in ("ringlane", IN_C, "orjson.loads", "floor"):
        row = rows[name, f"{COST} okx synthetic"]
        assert (row["runs"], row["unit"]) == (2, "ns")
        assert 0 < row["min"] <= row["median"] <= row["max"]
    assert 0 < rows["ringlane", f"{BOOK} okx synthetic"]["median"] < 350_000
    assert document["ratios"][f"{COST} okx synthetic: ringlane / floor"] > 0
    goals = {g["goal"]: g for g in document["goals"]}
    assert goals["okx synthetic: ringlane / orjson.loads"]["counts"] is False
    assert any("SYNTHETIC" in note for note in document["notes"])


def test_a_peer_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Way, "missing", classmethod(lambda cls: list(cls.modules)))
    result = bench_decode(None, 1, with_peers=True, venues=["bybit_spot"], frames=20)
    assert result.absent["NautilusTrader"] == "not installed: pip install nautilus_trader"
    assert {"cryptofeed", "msgspec", "pysimdjson", "hftbacktest depth"} <= set(result.absent)
    assert "orjson + dict book" in {r.name for r in result.results}


def test_goals_are_ratios_and_only_those_of_recordings_count() -> None:
    costs = {
        "ringlane": 2.0,
        IN_C: 1.5,
        "orjson.loads": 8.0,
        "floor": 0.5,
        "NautilusTrader": 150.0,
        "cryptofeed, top read": 800.0,
    }
    rows = [Measurement(name, f"{COST} x", "ns", [value]) for name, value in costs.items()]
    rows.append(Measurement("ringlane", f"{BOOK} x", "bytes", [360_000]))
    goals = {g.text: g for g in decode_goals(rows, ["x"])}
    assert goals["x: ringlane / orjson.loads"].verdict == "reached"
    assert goals[f"x: {IN_C} / floor"].value == 3
    assert goals[f"x: {IN_C} / floor"].verdict == "NOT reached"
    assert goals["x: ringlane / floor"].value == 4
    assert not goals["x: ringlane / floor"].counts
    assert goals["x: NautilusTrader / ringlane"].value == 75
    assert goals["x: NautilusTrader / ringlane"].floor == 300
    assert goals["x: cryptofeed, top read / ringlane"].verdict == "reached"
    assert "x: cryptofeed / ringlane" not in goals
    assert goals["x: kB of a private book"].verdict == "NOT reached"
    assert not any(g.counts for g in decode_goals(rows, ["x"], synthetic=["x"]) if " / " in g.text)


@pytest.mark.parametrize(
    "arguments",
    [
        ["decode", "--venue", "nonsense"],
        ["feed", "--venue", "nonsense"],
        ["feed", "--peers"],
        ["ring", "--venue", "okx"],
    ],
)
def test_a_mistake_in_the_arguments_is_exit_code_2(arguments: list[str]) -> None:
    app = typer.Typer()
    app.command()(bench)
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 2
    assert "--venue" in result.output or "--peers" in result.output or "unknown venue" in result.output
