"""A rehearsed order goes the way of a real one and leaves nothing behind: no byte, no order, no rate."""

from __future__ import annotations

import pytest

from exec.order_protocol import OrderProtocol, Request
from exec.rehearsal import Rehearsal
from risk.exposure import ExposureBook
from shm.enums import Reason
from tests.exec.scene import EPOCH
from tests.exec.venue_rig import SECOND, UTC0, Rig
from tests.risk.test_gate import NOW, Desk


def test_it_encodes_at_the_real_venue_and_sends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    rig = Rig().up()
    encoded: list[Request] = []
    new = rig.protocol.new

    def listen(*args: object) -> Request:
        encoded.append(new(*args))  # type: ignore[arg-type]
        return encoded[-1]

    monkeypatch.setattr(rig.protocol, "new", listen)
    ledger = ExposureBook(lambda instrument_id: rig.rows.row(instrument_id))
    rehearsal = Rehearsal(EPOCH, ledger, rig.protocol, lambda: rig.now_ns, lambda: UTC0)
    methods, counts = list(rig.venue.methods), rig.session.counts.requests
    intent = Desk().intent(client_order_id=0xABC, price_units=10_000)
    for number in range(40):
        intent.client_order_id = 0xABC + number % 20
        rehearsal.run(intent, rig.now_ns)
    rig.run(SECOND)
    # Twenty names for sixteen ended orders that are remembered: each comes round as a new one.
    assert len(encoded) == 40
    assert all(b'"symbol":"S0"' in request.frame for request in encoded)
    assert rig.venue.methods == methods and rig.session.counts.requests == counts
    assert rig.oms.open_count == 0 and ledger.row(0).open_orders == 0


def test_an_id_that_is_still_remembered_is_not_rehearsed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    rig = Rig().up()
    calls: list[int] = []
    new = rig.protocol.new

    def count(*args: object) -> Request:
        calls.append(1)
        return new(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(rig.protocol, "new", count)
    ledger = ExposureBook(lambda instrument_id: rig.rows.row(instrument_id))
    rehearsal = Rehearsal(EPOCH, ledger, rig.protocol, lambda: rig.now_ns, lambda: UTC0)
    intent = Desk().intent(price_units=10_000)
    rehearsal.run(intent, NOW)
    rehearsal.run(intent, NOW)
    assert len(calls) == 1


def test_without_a_venue_it_ends_where_a_session_would_begin() -> None:
    ledger = ExposureBook(Desk().table.get)
    nobody: OrderProtocol | None = None
    rehearsal = Rehearsal(EPOCH, ledger, nobody, lambda: NOW, lambda: UTC0)
    rehearsal.run(Desk().intent(), NOW)
    assert ledger.row(0).open_orders == 0


def test_the_gate_judges_a_rehearsed_intent_and_spends_no_rate() -> None:
    desk = Desk(orders_per_s=1, burst=1)
    for _ in range(5):
        assert desk.gate.rehearse(desk.intent(), NOW) is Reason.NONE
    assert desk.gate.rehearse(desk.intent(price_units=1020), NOW) is Reason.PRICE_BAND
    assert desk.check() is Reason.NONE
    assert desk.check(client_order_id=1002) is Reason.ORDER_RATE
    assert desk.gate.rehearse(desk.intent(client_order_id=1002), NOW) is Reason.ORDER_RATE
