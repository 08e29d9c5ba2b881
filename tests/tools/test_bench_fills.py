"""`bench fills`: a simulator written out again agrees with ours; differences from the peer have names."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import orjson
import pytest

from tests.exec.scene import linear
from tools.bench.fills.market import BUY, SELL, SIDES, VISIBLE, Event, Market, read_market, remember
from tools.bench.fills.ours import Outcome, Terms, run_ours
from tools.bench.fills.peer import PEER
from tools.bench.fills.runner import MODELS, bench_fills
from tools.bench.fills.script import CLASSES, Scripted, write_script
from tools.bench.fills.twin import UNEXPLAINED, Twin, explain, same
from tools.cli import main

FOUR = "usdm_4_symbols_20210722.gz"
ENTRY_NS, RESPONSE_NS = 2_000_000, 3_000_000
RESTING = [name for name, ticks in CLASSES.items() if ticks >= 0]


@pytest.fixture(scope="module")
def market(market_data: Path) -> Market:
    """A recorded market of half a minute."""
    return read_market(market_data / "binance" / FOUR, "binance_usdm")


def outcomes(market: Market, name: str, model: str) -> list[tuple[Scripted, Outcome]]:
    """What our simulator makes of them, seed by seed."""
    found: list[tuple[Scripted, Outcome]] = []
    for seed in range(4):
        script = write_script(market, CLASSES[name], f"{seed}", ENTRY_NS + RESPONSE_NS)
        ours = run_ours(market, script, Terms(ENTRY_NS, RESPONSE_NS, model))
        found += [(order, ours[order.number]) for order in script]
    return found


def test_books_and_histories_of_a_recording_agree(market: Market) -> None:
    for index in range(0, len(market.events), 37):
        book = market.books[index]
        if book is None:
            continue
        assert len(book[0]) == len(book[1]) == VISIBLE
        assert book[0][0][0] < book[1][0][0]
        for side, levels in zip(SIDES, book, strict=True):
            history = market.histories[side]
            assert (history.best[index], history.last_visible[index]) == (levels[0][0], levels[-1][0])
            assert list(market.levels_to(index, side, levels[-1][0])) == list(levels)


@pytest.mark.parametrize("model", MODELS)
def test_a_life_written_out_agrees_with_the_simulator_for_every_order(market: Market, model: str) -> None:
    twin = Twin(market, Terms(ENTRY_NS, RESPONSE_NS, model))
    filled = 0
    for name in RESTING:
        for order, ours in outcomes(market, name, model):
            theirs = twin.live(order, frozenset())
            assert (theirs.filled, theirs.notional) == (ours.filled, ours.notional), order
            assert theirs.last_fill_ns == ours.last_fill_ns, order
            filled += ours.filled > 0
    assert filled > 20


def test_a_taker_written_out_agrees_with_the_simulator_when_it_is_alone(market: Market) -> None:
    terms = Terms(ENTRY_NS, RESPONSE_NS, "risk_averse")
    twin = Twin(market, terms)
    script = write_script(market, CLASSES["crossing IOC"], "0", ENTRY_NS + RESPONSE_NS)
    for order in script[::3]:
        # Alone: what an order took is not there for the next until the book changes.
        ours, theirs = run_ours(market, [order], terms)[order.number], twin.live(order, frozenset())
        assert (theirs.filled, theirs.notional) == (ours.filled, ours.notional), order
        assert ours.filled > 0


def test_a_script_repeats_for_a_seed_and_lanes_never_overlap(market: Market) -> None:
    one, two = (write_script(market, 1, "seed", 5) for _ in range(2))
    assert one == two != write_script(market, 1, "other", 5)
    for lane in {order.lane for order in one}:
        mine = [order for order in one if order.lane == lane]
        assert all(a.send_ns + a.life_ns < b.send_ns for a, b in pairwise(mine))
    assert {order.side for order in one} == {BUY, SELL}


MS = 1_000_000
FIRST = Event(MS, ((BUY, 1000, 50), (BUY, 990, 70), (SELL, 1010, 40), (SELL, 1020, 60)))


@pytest.mark.parametrize(
    ("event", "filled", "filled_there", "rule"),
    [
        (Event(9 * MS, (), 990, 5, SELL), 5, 30, "trade through fills whole"),
        (Event(9 * MS, ((SELL, 1000, 7),)), 7, 30, "crossing book fills whole"),
        (Event(9 * MS, (), 1000, 62, SELL), 12, 12, ""),
        (Event(3 * MS, (), 990, 5, SELL), 5, 0, "same moment"),
    ],
)
def test_a_difference_is_laid_to_the_rule_that_makes_it(
    event: Event, filled: int, filled_there: int, rule: str
) -> None:
    market = Market(linear(), "", [FIRST, event, Event(50 * MS, ((BUY, 900, 1),))])
    remember(market)
    order = Scripted(1, 0, BUY, 1000, 30, MS, 20 * MS)
    terms = Terms(2 * MS, 3 * MS, "risk_averse")
    twin = Twin(market, terms)
    ours = run_ours(market, [order], terms)[1]
    theirs = twin.live(order, frozenset({rule} if rule else ()))
    assert (ours.filled, theirs.filled) == (filled, filled_there)
    assert same(ours, theirs, order.units) == (not rule)
    if rule:
        assert explain(twin, order, ours, theirs) == rule
    assert explain(twin, order, ours, Outcome(29)) == UNEXPLAINED
    assert explain(twin, order, Outcome(29), theirs).startswith(UNEXPLAINED)


def test_without_recordings_the_bench_says_what_it_needs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", "fills", "--data", str(tmp_path)]) == 2
    assert "needs a recording" in capsys.readouterr().err


@pytest.mark.prove
def test_fills_beside_the_peer_differ_only_where_a_rule_of_theirs_says_so(market_data: Path) -> None:
    pytest.importorskip(PEER)
    result = bench_fills(market_data, 1, with_peers=True, models=MODELS[:2])
    document = orjson.loads(result.to_json())
    assert [row["orders_of"] for row in document["fills"]] == list(CLASSES) * 2
    for row in document["fills"]:
        assert row["differ"] == sum(row["causes"].values()) < row["orders"]
        assert not any(cause.startswith(UNEXPLAINED) for cause in row["causes"])
        if row["orders_of"] == "crossing IOC":
            assert row["differ"] == 0 and row["units"] == row["units_peer"] > 0
    assert "throughput_per_s: ringlane / hftbacktest" in document["ratios"]
