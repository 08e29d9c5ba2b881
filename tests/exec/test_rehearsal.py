"""A rehearsed order goes the way of a real one and leaves nothing behind: no byte, no order, no rate."""

from __future__ import annotations

import pytest

from exec.flow import process_intent
from exec.order_protocol import OrderProtocol, Request
from exec.rehearsal import KEPT, Rehearsal
from risk.exposure import ExposureBook
from shm.enums import Reason
from shm.records import IntentRecord
from tests.exec.scene import EPOCH
from tests.exec.venue_rig import SECOND, UTC0, Rig
from tests.risk.test_gate import NOW, Desk


def rehearse(at: Rehearsal, intent: IntentRecord, now_ns: int, reason: int = 0) -> None:
    """What a gateway does with an intent, and the end of it."""
    process_intent(intent, reason, 0, 0, at.oms, at.session, at.entries, lambda: now_ns, now_ns)
    at.end(intent, now_ns)


def test_it_encodes_at_the_real_venue_and_sends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    rig = Rig().up()
    said: list[bytes] = []
    encoded: list[Request] = []
    new = rig.protocol.new

    def listen(*args: object) -> Request:
        encoded.append(new(*args))  # type: ignore[arg-type]
        return encoded[-1]

    monkeypatch.setattr(rig.protocol, "new", listen)
    ledger = ExposureBook(lambda instrument_id: rig.rows.row(instrument_id))
    rehearsal = Rehearsal(EPOCH, ledger, rig.protocol, lambda: UTC0, said.append)
    methods, counts = list(rig.venue.methods), rig.session.counts.requests
    intent = Desk().intent(client_order_id=0xABC, price_units=10_000)
    for number in range(40):
        intent.client_order_id = 0xABC + number % 20
        rehearse(rehearsal, intent, rig.now_ns)
    rig.run(SECOND)
    assert KEPT < 20, "each id comes round as a new one"
    assert len(encoded) == 40
    assert said == [request.frame for request in encoded], "what would have left goes to who asked for it"
    assert all(b'"symbol":"S0"' in request.frame for request in encoded)
    assert rig.venue.methods == methods and rig.session.counts.requests == counts
    assert rig.oms.open_count == 0 and ledger.row(0).open_orders == 0


def test_what_the_gate_refuses_is_no_order_and_ends_as_if_there_had_been_none() -> None:
    rig = Rig().up()
    said: list[bytes] = []
    ledger = ExposureBook(lambda instrument_id: rig.rows.row(instrument_id))
    rehearsal = Rehearsal(EPOCH, ledger, rig.protocol, lambda: UTC0, said.append)
    intent = Desk().intent(price_units=10_000)
    rehearse(rehearsal, intent, NOW, int(Reason.HALTED))
    assert not said and rehearsal.oms.open_count == 0
    rehearse(rehearsal, intent, NOW)
    assert len(said) == 1, "its id was not used up"


def test_without_a_venue_it_ends_where_a_session_would_begin() -> None:
    ledger = ExposureBook(Desk().table.get)
    nobody: OrderProtocol | None = None
    rehearsal = Rehearsal(EPOCH, ledger, nobody, lambda: UTC0, lambda frame: pytest.fail(f"sent {frame!r}"))
    rehearse(rehearsal, Desk().intent(), NOW)
    assert ledger.row(0).open_orders == 0


def test_the_gate_judges_a_rehearsed_intent_and_spends_no_rate() -> None:
    desk = Desk(orders_per_s=1, burst=1)
    for _ in range(5):
        assert desk.gate.rehearse(desk.intent(), NOW) is Reason.NONE
    assert desk.gate.rehearse(desk.intent(price_units=1020), NOW) is Reason.PRICE_BAND
    assert desk.check() is Reason.NONE
    assert desk.check(client_order_id=1002) is Reason.ORDER_RATE
    assert desk.gate.rehearse(desk.intent(client_order_id=1002), NOW) is Reason.ORDER_RATE
