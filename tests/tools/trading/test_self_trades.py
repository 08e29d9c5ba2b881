"""Two orders of one account that would meet: at every venue the newer one goes, as in our own simulator."""

from __future__ import annotations

import pytest

from shm.enums import OrderStatus, Reason, ReportKind
from tests.tools.trading.pair_kit import BUY, SELL
from tests.tools.trading.scenes import ALL_SCENES


@pytest.mark.parametrize("name", ALL_SCENES)
def test_an_order_that_would_take_our_own_ends_and_ours_rests_on(name: str) -> None:
    scene = ALL_SCENES[name]
    pair = scene.make().up()
    # Between the others' orders there is room for ours.
    bids, asks = ([(at + i * scene.step, 1_000)] for at, i in ((scene.bid, 0), (scene.bid, 5)))
    pair.port.set_book(scene.key, bids, asks)
    pair.desk.on_market()
    inside = scene.bid + 2 * scene.step
    older = pair.placed(SELL, 100, inside)
    newer = pair.placed(BUY, 100, inside)
    pair.run()
    assert (older.status, newer.status) == (OrderStatus.NEW, OrderStatus.EXPIRED)
    end = next(r for r in pair.reports if r.kind == ReportKind.EXPIRED)
    assert (end.client_order_id, end.reason) == (newer.client_order_id, Reason.SELF_TRADE)
    pair.agree()
