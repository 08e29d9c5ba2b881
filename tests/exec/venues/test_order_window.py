"""How late a new order may reach the venue, and that "not found" waits for exactly that."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from exec.errors import OrderError
from exec.order_protocol import OrderProtocol, RequestKind
from shm.enums import OrderStatus
from tests.exec.venue_rig import MS, ORDERS, SECOND, Rig
from tests.exec.venues import account_scene, test_binance_usdm, test_bybit, test_okx
from tests.exec.venues.test_binance_usdm import protocol as make_binance

UTC_MS = account_scene.UTC_NS // MS


def _binance(frame: bytes) -> int:
    return int(json.loads(frame)["params"]["recvWindow"])


def _okx(frame: bytes) -> int:
    deadline = json.loads(frame).get("expTime")
    return int(deadline) - UTC_MS if deadline else 0


def _bybit(frame: bytes) -> int:
    return int(json.loads(frame)["header"]["X-BAPI-RECV-WINDOW"])


#: Maker, order, what a frame says of its life, and what a cancel says.
VENUES: dict[str, tuple[Callable[..., OrderProtocol], Callable[[], Any], Callable[[bytes], int], int]] = {
    "binance_usdm": (make_binance, test_binance_usdm.order, _binance, 2_000),
    "okx": (test_okx.make, lambda: account_scene.order(), _okx, 0),
    "bybit": (test_bybit.make, lambda: account_scene.order(4), _bybit, 2_000),
}


@pytest.mark.parametrize("name", VENUES)
def test_new_orders_and_amendments_bear_the_configured_window_and_cancels_their_own(name: str) -> None:
    make, order_of, life_ms, cancel_ms = VENUES[name]
    protocol, order = make(order_window_ms=300), order_of()
    assert protocol.request_life_s == 0.3
    assert make().request_life_s == 1.0
    order.new_price_units, order.new_units = order.price_units, order.order_units
    for request in (
        protocol.new([order], 1, account_scene.UTC_NS),
        protocol.replace([order], 2, account_scene.UTC_NS),
    ):
        assert life_ms(request.frame) == 300
    assert life_ms(protocol.cancel([order], 3, account_scene.UTC_NS).frame) == cancel_ms


@pytest.mark.parametrize("name", VENUES)
@pytest.mark.parametrize("window_ms", [0, 99, 60_001, True, "1000"])
def test_a_window_that_makes_no_sense_is_refused(name: str, window_ms: Any) -> None:
    with pytest.raises(OrderError, match="order_window_ms"):
        VENUES[name][0](order_window_ms=window_ms)


def test_binance_batches_bear_the_window_too() -> None:
    protocol = make_binance(order_window_ms=300)
    orders = [test_binance_usdm.order(), test_binance_usdm.order()]
    for kind, request in (
        (RequestKind.NEW, protocol.new(orders, 1, account_scene.UTC_NS)),
        (RequestKind.REPLACE, protocol.replace(orders, 1, account_scene.UTC_NS)),
    ):
        assert request.kind is kind and "recvWindow=300&" in request.path


def test_with_a_longer_window_not_found_is_believed_later() -> None:
    """An order that is under way for so long that it once was REJECTED here and open there."""
    rig = Rig(options={"order_window_ms": 5_000}).up()
    rig.venue.script.delay_requests_ns = 4 * SECOND
    order = rig.buy()
    rig.run(100 * MS)
    rig.cut(ORDERS)
    rig.venue.script.delay_requests_ns = 0
    rig.run(3_500 * MS)
    assert rig.status(order) is OrderStatus.UNKNOWN
    rig.run(4 * SECOND)
    assert rig.status(order) is OrderStatus.NEW
    rig.agrees()
