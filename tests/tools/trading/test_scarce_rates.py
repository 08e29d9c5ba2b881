"""Sessions with a small share of their venue's limits: recovery ends, and says what it waits for."""

from __future__ import annotations

import pytest

from exec.rate_limits import AccountRates, order_rules
from exec.venue_states import SessionState
from shm.enums import OrderStatus, RateLane
from shm.rate_ledger import RateLedger
from shm.rate_rules import scaled
from tests.tools.trading.pair_kit import BUY, ORDERS, PRIVATE, SECOND, UTC0, Pair
from tests.tools.trading.scenes import ALL_SCENES, Scene, make_bybit

#: The most that a session may take to connect, or to recover; of this time, not of the machine's.
LONG = 120 * SECOND


def rates_of(pair: Pair, share: float) -> AccountRates:
    """The lanes of a ledger of its own that grants a share of what the venue allows."""
    rules = scaled(order_rules(pair.protocol.name, "me", len(pair.rows.rows)), share)
    ledger = RateLedger.create(bytearray(RateLedger.bytes_needed(rules)), rules)
    names = {rule.name.partition(":")[2]: rule.name for rule in rules}
    return AccountRates(ledger, pair.protocol.name, names, lambda: UTC0 + pair.now_ns)


def scarce(pair: Pair, share: float) -> Pair:
    pair.session.rates = rates_of(pair, share)
    return pair


def told(pair: Pair) -> list[str]:
    return [text for event, text in pair.events if event == "rate"]


@pytest.mark.parametrize("share", [0.3, 0.2, 0.1, 0.05])
@pytest.mark.parametrize("scene", ALL_SCENES.values(), ids=ALL_SCENES)
def test_a_session_with_a_small_share_connects_and_recovers(scene: Scene, share: float) -> None:
    pair = scarce(scene.make(), share)
    # Since when both sides agree, as behind a restart: the first round asks for fills, too.
    pair.session.start(pair.now_ns, UTC0 + pair.now_ns - SECOND)
    pair.run(LONG)
    assert pair.session.is_connected, pair.events
    orders = []
    for i in range(5):
        orders.append(pair.order(BUY, 100, scene.bid - (5 + i) * scene.step))
        pair.run(3 * SECOND)
    pair.run(LONG)
    pair.paths.clear()
    pair.cut(PRIVATE)
    pair.cut(ORDERS)
    pair.run(LONG)
    assert pair.session.is_connected, pair.events
    assert [order.status for order in orders] == [OrderStatus.NEW] * 5
    # What is asked is the list, or each order, and a round a minute; nothing is asked again and again.
    assert len(pair.paths) < 40, pair.paths
    pair.agree()


def test_a_list_of_many_pages_is_read_to_its_end_though_each_page_has_to_wait() -> None:
    pair = make_bybit().up()
    orders = [pair.order(BUY, 100, ALL_SCENES["bybit"].bid - (5 + i % 10) * 10) for i in range(120)]
    pair.run(5 * SECOND)
    scarce(pair, 0.05)
    pair.paths.clear()
    pair.cut(ORDERS)
    pair.run(LONG)
    assert pair.session.is_connected, pair.events
    assert {order.status for order in orders} == {OrderStatus.NEW}
    pages = [path for path in pair.paths if "/v5/order/realtime?" in path and "cursor" in path]
    rounds = sum(path.startswith("GET /v5/position/list") for path in pair.paths)
    assert pages and len(pages) <= 4 * (rounds + 1), pair.paths
    pair.agree()


def test_what_recovery_waits_for_and_for_how_long_is_told() -> None:
    scene = ALL_SCENES["binance_usdm"]
    pair = scene.make()
    pair.session.rates = rates = rates_of(pair, 0.05)
    pair.up()
    while not rates.take((("weight_1m", 1),), RateLane.CANCEL, 0, pair.now_ns):
        pass
    pair.cut(PRIVATE)
    pair.run(25 * SECOND)
    assert pair.session.state is SessionState.SYNCING
    text = pair.session.waits.text(pair.now_ns)
    assert "s for rate: the lists of a comparison (40 of weight_1m), 1 more behind it; " in text
    assert [line.split(":")[2].strip() for line in told(pair)] == [
        "what the sockets need (2 of weight_1m); 0.0 s so far",
        "the lists of a comparison (40 of weight_1m), 1 more behind it; 16.3 s so far",
    ]
    listed = sum("openOrders" in path for path in pair.paths)
    left_ns = round(float(text.split()[1]) * SECOND)
    pair.run(left_ns - SECOND)
    assert sum("openOrders" in path for path in pair.paths) == listed
    pair.run(4 * SECOND)  # the venue's clock is measured meanwhile, and costs one, too
    assert sum("openOrders" in path for path in pair.paths) == listed + 1
    pair.run(8 * SECOND)  # five more units, of 1.4 s each, for the list of positions
    assert pair.session.is_connected, told(pair)
    assert pair.session.waits.text(pair.now_ns) == ""


def test_a_request_that_no_wait_will_pay_for_is_told_and_not_asked_for_again_and_again() -> None:
    pair = scarce(ALL_SCENES["binance_usdm"].make(), 0.01)  # 24 of weight a minute: the list alone costs 40
    pair.session.start(pair.now_ns)
    pair.run(LONG)
    assert pair.session.state is SessionState.SYNCING
    assert any("needs a larger rate_share" in text for text in told(pair))
    assert len(told(pair)) <= 3
    assert not any("positionRisk" in path for path in pair.paths)
