"""The gateway rehearses while orders are sent, ends a second behind the last, never on a virtual clock."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from actors import order_rehearsal
from actors.gateway_settings import OrderGatewaySettings
from actors.order_lane import Lane
from actors.order_rehearsal import LASTS_NS, OrderRehearsal, SelfTalk
from engine.config import Config
from engine.topology import gateway_settings
from exec.flow import process_intent
from exec.venue_sessions import VenueSessions
from shm.enums import IntentKind
from shm.records import IntentRecord
from tests.exec.venue_rig import Rig
from tests.risk.test_gate import NOW, Desk

EVERY_NS = 1_000_000


class FakeContext:
    """A clock that is set by hand and the timers that were asked for."""

    def __init__(self, desk: Desk, *, is_virtual: bool = False) -> None:
        self.now = NOW
        self.due: list[tuple[int, Callable[[], None]]] = []
        self.drained: list[int] = []
        self.waits = 0  # so many looks from now on find something real
        self.host = SimpleNamespace(
            mailbox=SimpleNamespace(spin_ns=0, has_pending=self.has_pending),
            drain=lambda: self.drained.append(self.now),
            scheduler=SimpleNamespace(is_virtual=is_virtual),
            instruments=desk.table,
            spec=SimpleNamespace(epoch=7),
        )

    def now_ns(self) -> int:
        return self.now

    utc_ns = now_ns

    def has_pending(self) -> bool:
        self.waits -= self.waits > 0
        return self.waits > 0

    def call_later(self, delay_ns: int, call: Callable[[], None]) -> None:
        self.due.append((self.now + delay_ns, call))

    def run(self, until_ns: int) -> int:
        """Run the timers that are due until then; returns how many."""
        count = 0
        while self.due and self.due[0][0] <= until_ns:
            self.now, call = self.due.pop(0)
            call()
            count += 1
        self.now = until_ns
        return count


class Watched(Desk):
    """A desk whose gate tells what it was asked to rehearse."""

    def __init__(self) -> None:
        super().__init__()
        self.rehearsed: list[tuple[int, int, int]] = []
        gate = self.gate

        def rehearse(intent: IntentRecord, now_ns: int) -> Any:
            self.rehearsed.append((intent.kind, intent.client_order_id, intent.decide_ns))
            return gate.rehearse(intent, now_ns)

        self.watched: Any = SimpleNamespace(rehearse=rehearse)
        self.lanes: list[Lane] = []

    def take(self, lane: Lane, sequence: int, intent: IntentRecord) -> None:
        """What the gateway does with an intent, in short."""
        self.lanes.append(lane)
        now_ns = intent.decide_ns
        process_intent(
            intent,
            lane.judge(intent, now_ns),
            sequence,
            lane.slot,
            lane.oms,
            lane.session,
            lane.entries,
            lambda: now_ns,
            now_ns,
        )


def make(context: Any, desk: Watched, session: Any = None, **config: int) -> OrderRehearsal:
    settings = OrderGatewaySettings(**({"rehearse_ns": EVERY_NS, "spin_ns": 5} | config))  # type: ignore[arg-type]
    return OrderRehearsal(context, desk.watched, settings, session, desk.take)


def test_it_begins_with_an_order_and_ends_a_second_behind_the_last() -> None:
    desk = Watched()
    context = FakeContext(desk)
    rehearsal = make(context, desk)
    assert context.host.mailbox.spin_ns == 5 and not context.due
    replace = desk.intent(kind=int(IntentKind.REPLACE), client_order_id=0x500000007)
    rehearsal.seen(replace, NOW)
    assert context.run(NOW + 10 * EVERY_NS) == 10
    assert replace.kind == IntentKind.REPLACE, "what the ring lent is not changed"
    kinds, ids, times = zip(*desk.rehearsed, strict=True)
    assert set(kinds) == {int(IntentKind.NEW)} and list(times) == sorted(times)
    assert len(set(ids)) == len(ids) and all(0x5FFFFF000 < each <= 0x5FFFFFFFF for each in ids)
    before = len(desk.rehearsed)
    rehearsal.seen(replace, context.now)
    context.run(context.now + EVERY_NS // 2)
    assert len(desk.rehearsed) == before, "a real one has just passed"
    context.run(context.now + 2 * LASTS_NS)
    assert not context.due, "nothing runs in an idle gateway"
    rehearsal.seen(replace, context.now)
    assert len(context.due) == 1, "the next order begins anew"


def test_none_begins_while_something_real_waits_and_each_comes_with_a_duty_cycle() -> None:
    desk = Watched()
    context = FakeContext(desk)
    rehearsal = make(context, desk)
    rehearsal.seen(desk.intent(), NOW)
    context.waits = 4
    context.run(NOW + 3 * EVERY_NS)
    assert not desk.rehearsed and not context.drained
    context.run(NOW + 8 * EVERY_NS)
    assert len(desk.rehearsed) == len(context.drained) == 5
    assert not any(lane.is_real for lane in desk.lanes)


@pytest.mark.parametrize(("is_virtual", "every_ns"), [(True, EVERY_NS), (False, 0)])
def test_there_is_none_on_a_virtual_clock_or_where_nobody_wants_it(is_virtual: bool, every_ns: int) -> None:
    desk = Watched()
    context = FakeContext(desk, is_virtual=is_virtual)
    rehearsal = make(context, desk, rehearse_ns=every_ns)
    rehearsal.seen(desk.intent(), NOW)
    assert not context.due
    assert context.host.mailbox.spin_ns == (0 if is_virtual else 5)
    rehearsal.close()


def test_at_a_venue_a_frame_is_sent_to_ourselves_and_none_to_the_venue(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rig = Rig().up()
    said: list[int] = []
    say = SelfTalk.say

    def listen(talk: SelfTalk, frame: bytes) -> None:
        say(talk, frame)
        said.append(len(frame))

    monkeypatch.setattr(order_rehearsal.SelfTalk, "say", listen)
    desk = Watched()
    context = FakeContext(desk)
    rehearsal = make(context, desk, VenueSessions(rig.oms, [rig.session]))
    methods = list(rig.venue.methods)
    rehearsal.seen(desk.intent(), NOW)
    context.run(NOW + 300 * EVERY_NS)
    rehearsal.close()
    assert len(said) == len(desk.rehearsed) >= 299
    assert min(said) > 200, "as long as an order"
    assert rig.venue.methods == methods
    context.run(context.now + EVERY_NS)
    assert not context.due, "closed"


def test_the_configuration_says_how_often_and_how_long_the_worker_spins() -> None:
    venues = {"sim": {"adapter": "binance_usdm", "simulated": {}}}
    config = Config.model_validate({"venues": venues, "orders": {"spin_us": 7, "rehearse_us": 3}})
    found = gateway_settings(config)
    assert (found["spin_ns"], found["rehearse_ns"]) == (7_000, 3_000)
    assert gateway_settings(Config.model_validate({"venues": venues}))["spin_ns"] == 0
