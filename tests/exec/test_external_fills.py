"""Which listed fills are taken for somebody else's, where a list names orders by the venue's id only."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from exec.discrepancy import DiscrepancyKind
from exec.entries import read_discrepancy
from exec.order_protocol import Request
from exec.venue_commands import SessionTimes
from shm.enums import JournalKind, OrderStatus
from tests.exec.venue_rig import MS, SECOND, Rig

TRADES, HELD = "/fapi/v1/userTrades", "/fapi/v3/positionRisk"
QUICK = SessionTimes(compare_ns=2 * SECOND)


def found(rig: Rig) -> list[str]:
    entries = [e for e in rig.journal.entries if e.kind == JournalKind.DISCREPANCY]
    return [DiscrepancyKind(read_discrepancy(e.payload).kind).name for e in entries]


def held_back(rig: Rig, monkeypatch: pytest.MonkeyPatch, *paths: str) -> dict[str, Callable[[], None]]:
    """Requests for these paths reach the venue only when what is returned for them is called."""
    waiting: dict[str, Callable[[], None]] = {}
    on_rest = rig.venue.on_rest

    def arrives(request: Request) -> None:
        path = request.path.partition("?")[0]
        if path in paths and path not in waiting:
            waiting[path] = lambda: on_rest(request)
        else:
            on_rest(request)

    monkeypatch.setattr(rig.venue, "on_rest", arrives)
    return waiting


@pytest.mark.parametrize("is_acknowledged", [False, True])
def test_a_fill_of_an_order_whose_answer_is_still_out_is_not_taken_for_somebody_elses(
    monkeypatch: pytest.MonkeyPatch, is_acknowledged: bool
) -> None:
    """Its acknowledgment comes behind the round, or between the list of fills and the end of the round."""
    rig = Rig(times=QUICK).up()
    rig.session.comparison.wants_fills = True
    waiting = held_back(rig, monkeypatch, TRADES, HELD)
    while len(waiting) < 2:
        rig.run(1 * MS)
    rig.venue.script.answer_ns, rig.venue.script.stream_ns = 30 * MS, 500 * MS
    rig.venue.script.fill_before_ack = 4
    order = rig.buy(10)
    rig.run(1 * MS)  # it is there, and filled
    waiting[TRADES]()
    rig.run(10 * MS)
    assert not order.venue_order_id
    if is_acknowledged:
        rig.run(50 * MS)
        assert order.venue_order_id
    waiting[HELD]()
    rig.run(10 * SECOND)
    assert (rig.status(order), order.filled_units) == (OrderStatus.PARTIALLY_FILLED, 4)
    assert "EXTERNAL_FILL" not in found(rig)
    rig.agrees()


def test_a_fill_by_hand_waits_until_every_order_of_ours_has_the_venues_id() -> None:
    rig = Rig(times=QUICK).up()
    rig.venue.script.mute_stream = True
    rig.venue.trades.append({
        "symbol": "S0", "id": 900, "orderId": 77, "side": "BUY", "price": "101.00", "qty": "0.003",
        "commission": "0.00000020", "commissionAsset": rig.rows.row(0).settle, "maker": False,
        "time": (1_700_000_000 * SECOND + rig.now_ns) // MS,
    })  # fmt: skip
    rig.venue.positions["S0"] = 3
    rig.venue.script.mute_stream = False
    rig.venue.script.answer_ns = rig.venue.script.stream_ns = 1_500 * MS
    rig.session.comparison.wants_fills = True
    while not rig.session.comparison.is_running:
        rig.run(1 * MS)
    order = rig.buy(5)
    rig.run(100 * MS)
    assert not order.venue_order_id and rig.ledger.position_units(0) == 0
    assert found(rig) == []  # neither a fill nor a drift
    rig.run(5 * SECOND)
    assert found(rig).count("EXTERNAL_FILL") == 1 and "POSITION_DRIFT" not in found(rig)
    assert rig.ledger.position_units(0) == 3 and rig.status(order) is OrderStatus.NEW
    assert rig.session.counts.external_fills == 1
