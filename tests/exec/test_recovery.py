"""Recovery: cut the journal behind every record, start again, and nothing is lost or doubled."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exec.entries import SENT, read_intent, read_sent
from exec.errors import RecoveryError
from exec.order import Order
from exec.paper import PaperSession
from exec.recovery import recover, resume_paper
from exec.simulator.latency import Latency
from shm.enums import IntentKind, JournalKind, OrderFlags, OrderStatus, Reason, ReportKind
from shm.errors import JournalError
from shm.records import IntentRecord, ReportRecord
from tests.exec.scene import BUY, EPOCH, SELL, Entry, MemoryJournal, Scene, check_ledger, check_order


class Ring:
    """The intents offered by a strategy, numbered as its ring numbers them."""

    def __init__(self) -> None:
        self.intents: list[IntentRecord] = []

    def offer(self, intent: IntentRecord) -> None:
        """Append one."""
        self.intents.append(intent)


def random_run(seed: int, steps: int = 20) -> tuple[Scene, Ring, list[int]]:
    """Drive a scene with random commands; returns it, its ring, and the journal length behind each intent."""
    chance = random.Random(seed)
    scene = Scene(entry_latency_ns=2, response_latency_ns=1)
    ring, known = Ring(), []
    scene.book([(1000, 5), (990, 5)], [(1010, 5), (1020, 5)])
    for _ in range(steps):
        scene.now_ns += chance.randrange(4)
        scene.settle()
        what = chance.choice(
            ["new", "new", "new", "cancel", "replace", "mass", "trade", "trade", "deny", "bad", "lost"]
        )
        intent: IntentRecord | None = None
        verdict = 0
        if what in ("new", "deny"):
            side = chance.choice([BUY, SELL])
            intent = scene.intent(
                side=side,
                price_units=chance.choice([990, 1000, 1010, 1020]),
                quantity_units=chance.randrange(1, 9),
                flags=chance.choice([0, 0, int(OrderFlags.POST_ONLY)]),
            )
            if what == "deny":
                verdict = int(Reason.POSITION)
            else:
                known.append(intent.client_order_id)
        elif what == "cancel" and known:
            intent = scene.intent(IntentKind.CANCEL, orig_client_order_id=chance.choice(known))
        elif what == "bad":
            intent = scene.intent(IntentKind.CANCEL, orig_client_order_id=424242)
        elif what == "replace" and known:
            order = scene.oms.order(chance.choice(known))
            if order is not None:
                intent = scene.intent(
                    IntentKind.REPLACE,
                    side=order.side,
                    orig_client_order_id=order.client_order_id,
                    price_units=chance.choice([980, 990, 1000, 1010]),
                    quantity_units=chance.randrange(1, 9),
                )
                known.append(intent.client_order_id)
        elif what == "mass":
            intent = scene.intent(IntentKind.MASS_CANCEL, instrument_id=0xFFFFFFFF)
        elif what == "lost":
            scene.session.disconnect(lose_commands=chance.random() < 0.5)
            scene.oms.disconnected(scene.now_ns)
            scene.session.reconnect()
            for order in scene.oms.open_orders():
                scene.session.query(order, scene.now_ns)
        elif what == "trade":
            scene.trade(
                chance.choice([980, 990, 1010, 1020]), chance.randrange(1, 12), chance.choice([BUY, SELL])
            )
        if intent is not None:
            ring.offer(intent)
            scene.process(intent, verdict)
    for _ in range(6):
        scene.now_ns += 1
        scene.settle()
    return scene, ring, known


def restart(entries: list[Entry], now_ns: int) -> tuple[Scene, object]:
    """A new process over a journal cut there."""
    scene = Scene(
        entry_latency_ns=2,
        response_latency_ns=1,
        journal=MemoryJournal(
            entries=[Entry(e.sequence, e.epoch, e.kind, e.append_ns, e.payload) for e in entries]
        ),
    )
    scene.now_ns = now_ns
    recovered = recover(list(scene.journal.entries), scene.oms, now_ns=now_ns)
    scene.session = PaperSession(
        scene.oms.apply_report,
        entry=Latency(2),
        response=Latency(1),
        first_trade_id=recovered.last_trade_id + 1,
        first_venue_order_id=recovered.last_venue_order_id + 1,
    )
    for row in scene.rows.values():
        scene.session.simulator.add_instrument(row, 5)
    resume_paper(scene.session, scene.oms, recovered, scene.entries, scene.clock, now_ns)
    return scene, recovered


def judge_journal(entries: list[Entry]) -> dict[str, int]:
    """Read a whole journal naively: each order sent once, each trade once; returns position and fills."""
    sent: list[int] = []
    trades: list[int] = []
    position = 0
    for entry in entries:
        if entry.kind == JournalKind.SENT:
            command = read_sent(entry.payload)
            if command.kind == IntentKind.NEW:
                sent.append(command.client_order_id)
        elif entry.kind == JournalKind.REPORT:
            report = ReportRecord.from_bytes(entry.payload)
            if report.kind == ReportKind.FILL:
                trades.append(report.trade_id)
                position += report.last_units if report.side == BUY else -report.last_units
    assert len(sent) == len(set(sent)), "an order was sent twice"
    assert len(trades) == len(set(trades)), "a trade was booked twice"
    return {"position": position, "fills": len(trades)}


@settings(max_examples=120, deadline=None)
@given(st.integers(0, 2**32))
def test_a_journal_cut_behind_any_record_loses_and_doubles_nothing(seed: int) -> None:
    before, ring, _ = random_run(seed)
    all_entries = before.journal.entries
    for cut in range(len(all_entries) + 1):
        scene, recovered = restart(all_entries[:cut], before.now_ns + 10)
        assert recovered.disagreements == [], (seed, cut)  # type: ignore[attr-defined]
        consumed = recovered.consumed.get(3, 0)  # type: ignore[attr-defined]
        journaled = sum(1 for e in all_entries[:cut] if e.kind == JournalKind.INTENT)
        assert consumed == journaled
        # The ring still holds what was not consumed; the gateway goes on from there.
        scene.ring_sequence = consumed
        for intent in ring.intents[consumed:]:
            if intent.kind == IntentKind.NEW and scene.oms.knows(intent.client_order_id):
                pytest.fail("an intent journaled before the cut was offered again")
            scene.process(intent)
        for _ in range(12):
            scene.now_ns += 1
            scene.settle()
        check_ledger(scene.oms, scene.ledger)
        for order in scene.oms:
            check_order(order)
            assert order.status != OrderStatus.UNKNOWN
        verdict = judge_journal(scene.journal.entries)
        assert verdict["position"] == scene.ledger.position_units(0)
        told = {
            ReportRecord.from_bytes(e.payload).client_order_id
            for e in scene.journal.entries
            if e.kind == JournalKind.REPORT
        }
        for intent in ring.intents:
            if intent.kind in (IntentKind.NEW, IntentKind.REPLACE):
                assert intent.client_order_id in told, f"nobody heard of {intent!r}"
        resting = {o.client_order_id for o in scene.session.simulator.resting()}
        assert resting == {o.root_client_order_id for o in scene.oms.open_orders()}


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32), st.data())
def test_a_crash_during_recovery_is_survived_too(seed: int, data: st.DataObject) -> None:
    before, _, _ = random_run(seed)
    first = data.draw(st.integers(0, len(before.journal.entries)))
    scene, _ = restart(before.journal.entries[:first], before.now_ns + 10)
    for _ in range(12):
        scene.now_ns += 1
        scene.settle()
    second = data.draw(st.integers(first, len(scene.journal.entries)))
    again, recovered = restart(scene.journal.entries[:second], scene.now_ns + 10)
    assert recovered.disagreements == []  # type: ignore[attr-defined]
    for _ in range(12):
        again.now_ns += 1
        again.settle()
    assert judge_journal(again.journal.entries)["position"] == again.ledger.position_units(0)
    assert all(o.status != OrderStatus.UNKNOWN for o in again.oms.open_orders())


def rebuild(scene: Scene) -> dict[int, tuple[int, int, int, int]]:
    """What recovery makes of a scene's journal, before anything is said aloud."""
    from exec.recovery import Recovered, Replay

    twin = Scene()
    twin.oms.on_report = lambda record: None
    replay = Replay(twin.oms, Recovered())
    for entry in scene.journal.entries:
        replay.apply(entry)
    assert twin.ledger.row(0).position.realized_product == scene.ledger.row(0).position.realized_product
    assert twin.ledger.row(0).position.fees_e8 == scene.ledger.row(0).position.fees_e8
    assert twin.ledger.total_e8 == scene.ledger.total_e8
    return facts(list(twin.oms))


def facts(orders: list[Order]) -> dict[int, tuple[int, int, int, int]]:
    """The facts of orders by their first id."""
    return {
        o.root_client_order_id: (o.status, o.filled_units, o.leaves_units, o.fill_product) for o in orders
    }


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32))
def test_replay_rebuilds_exactly_what_the_dead_process_knew(seed: int) -> None:
    scene, _, _ = random_run(seed, steps=30)
    assert rebuild(scene) == facts(list(scene.oms))


def test_an_intent_journaled_but_never_sent_is_rejected_not_received() -> None:
    scene = Scene()
    scene.new(BUY, 1000, 5)
    cut = next(i for i, e in enumerate(scene.journal.entries) if e.kind == JournalKind.SENT)
    again, recovered = restart(scene.journal.entries[:cut], 2_000)
    assert recovered.never_sent == 1  # type: ignore[attr-defined]
    last = again.reports[-1]
    assert (last.kind, last.reason) == (ReportKind.REJECTED, Reason.NOT_RECEIVED)
    assert again.ledger.row(0).open_orders == 0


def test_a_sent_but_unanswered_order_is_unknown_then_settled_by_the_venues_word() -> None:
    scene = Scene(response_latency_ns=50)
    scene.new(BUY, 1000, 5)
    again, _ = restart(scene.journal.entries, 2_000)
    assert again.kinds == ["UNKNOWN"]
    again.now_ns += 10
    again.settle()
    assert again.kinds == ["UNKNOWN", "REJECTED"] and again.reports[-1].reason == Reason.NOT_RECEIVED


def test_a_working_order_rests_again_with_its_queue_credit_void() -> None:
    scene = Scene()
    scene.book([(1000, 30)], [(1010, 30)])
    scene.new(BUY, 1000, 5)
    scene.trade(1000, 32, SELL)
    again, _ = restart(scene.journal.entries, 2_000)
    again.now_ns += 10
    again.settle()
    (order,) = again.oms.open_orders()
    assert (order.status, order.leaves_units) == (OrderStatus.PARTIALLY_FILLED, 3)
    assert again.session.simulator.voided == 1 and again.ledger.position_units(0) == 2
    again.book([(1000, 30)], [(1010, 30)])
    again.trade(1000, 31, SELL)
    again.now_ns += 10
    again.settle()
    assert again.ledger.position_units(0) == 3 and again.reports[-1].trade_id == 2


def test_a_wanted_cancel_is_sent_after_the_restart() -> None:
    scene = Scene()
    order = scene.new(BUY, 1000, 5)
    scene.process(scene.intent(IntentKind.CANCEL, orig_client_order_id=order.client_order_id))
    for cut in (len(scene.journal.entries), len(scene.journal.entries) - 1):
        again, recovered = restart(scene.journal.entries[:cut], 2_000)
        assert len(recovered.cancels) == 1  # type: ignore[attr-defined]
        again.now_ns += 10
        again.settle()
        assert again.kinds[-1] == "CANCELED" and again.oms.open_count == 0


def test_entries_of_other_epochs_are_skipped() -> None:
    scene = Scene()
    scene.new(BUY, 1000, 5)
    for entry in scene.journal.entries:
        entry.epoch = EPOCH - 1
    again = Scene()
    recovered = recover(scene.journal.entries, again.oms, now_ns=2_000)
    assert recovered.entries == 0 and again.oms.open_count == 0


def test_a_command_for_an_order_nobody_made_is_an_error_that_names_the_entry() -> None:
    payload = SENT.pack(1, 0, 0, 99, 1000, 5, 0, 1)
    with pytest.raises(RecoveryError, match="entry 17"):
        recover([Entry(17, EPOCH, int(JournalKind.SENT), 1, payload)], Scene().oms, now_ns=1)


def test_a_full_journal_denies_orders_but_lets_cancels_out() -> None:
    scene = Scene()
    order = scene.new(BUY, 1000, 5)
    heard = []
    scene.oms.on_report = lambda record: heard.append((record.kind, record.reason))
    scene.journal.fails = JournalError("full")
    assert scene.process(scene.intent(side=BUY, price_units=1000, quantity_units=5)) is None
    assert heard == [(ReportKind.DENIED, Reason.JOURNAL)]
    scene.cancel(order)
    assert order.status == OrderStatus.CANCELED and scene.oms.statistics.unjournaled == 1


def test_entries_round_trip() -> None:
    scene = Scene()
    order = scene.new(SELL, 1010, 7)
    intent, sequence, slot, reason = read_intent(scene.journal.entries[0].payload)
    assert (intent.client_order_id, sequence, slot, reason) == (order.client_order_id, 1, 3, 0)
    command = read_sent(scene.journal.entries[1].payload)
    assert command[:5] == (IntentKind.NEW, 0, order.client_order_id, 1010, 7)


def test_recovery_from_a_real_journal(tmp_path: Path) -> None:
    from shm.journal import Journal
    from shm.journal_reader import read_journal

    journal = Journal.open(tmp_path, "test", EPOCH, file_bytes=1 << 20)
    scene = Scene(journal=journal)  # type: ignore[arg-type]
    scene.book([(1000, 30)], [(1010, 30)])
    order = scene.new(BUY, 1000, 5)
    scene.trade(990, 2, SELL)
    journal.close()
    again = Scene()
    recovered = recover(read_journal(tmp_path), again.oms, now_ns=5_000)
    assert recovered.disagreements == [] and recovered.consumed == {3: 1} and recovered.fills == 1
    (found,) = again.oms.open_orders()
    assert (found.client_order_id, found.leaves_units) == (order.client_order_id, 3)
