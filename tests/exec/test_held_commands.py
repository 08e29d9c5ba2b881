"""Commands that a rate limit holds back: the journal says that they have not left; recovery believes it."""

from __future__ import annotations

import json
import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exec.checkpoint import restore, snapshot
from exec.client_ids import decode
from exec.entries import read_sent
from exec.order import Order
from exec.order_protocol import Request, RequestKind
from exec.recovery import Recovered, Replay, mute, recover
from exec.venue_commands import NoRates
from exec.venue_sessions import VenueSessions, resume_venues
from shm.enums import JournalKind, OrderStatus, Reason, ReportKind
from shm.errors import JournalFull
from tests.exec.scene import Entry, MemoryJournal
from tests.exec.venue_rig import MS, SECOND, TAG, Rig

S = OrderStatus


class Purse(NoRates):
    """Rates that are out of money for new orders and replaces, for cancels, or for neither."""

    def __init__(self) -> None:
        self.wait_ns = 0
        self.cancel_wait_ns = 0

    def take(self, rates: object, lane: int, instrument_id: int, now_ns: int) -> int:
        del rates, instrument_id, now_ns
        if lane == 0:
            return self.cancel_wait_ns
        return self.wait_ns if lane == 3 else 0


def poor() -> tuple[Rig, Purse]:
    purse = Purse()
    return Rig(rates=purse).up(), purse


def kinds(rig: Rig) -> Counter[str]:
    return Counter(JournalKind(entry.kind).name for entry in rig.journal.entries)


def reborn(rig: Rig, cut: int | None = None) -> tuple[Rig, Recovered]:
    """A new process over the same journal and venue; nothing that was on its way arrives any more."""
    after = Rig(journal=MemoryJournal(entries=list(rig.journal.entries[:cut])))
    after.now_ns, after.counter = rig.now_ns, rig.counter
    after.venue, rig.venue.rig = rig.venue, after
    recovered = recover(list(after.journal.entries), after.oms, now_ns=after.now_ns)
    sessions = VenueSessions(after.oms, [after.session])
    resume_venues(sessions, after.oms, recovered, after.entries, lambda: after.now_ns, after.now_ns)
    return after, recovered


def told(rig: Rig) -> list[tuple[ReportKind, Reason]]:
    return [(ReportKind(report.kind), Reason(report.reason)) for report in rig.reports]


def test_what_leaves_at_once_is_journaled_as_sent_and_as_nothing_else() -> None:
    rig, _ = poor()
    order = rig.buy()
    rig.run(SECOND)
    rig.replace(order, 12, 10_010)
    rig.run(SECOND)
    rig.cancel(order)
    rig.run(SECOND)
    assert kinds(rig)["SENT"] == 3 and not {"HELD", "RELEASED"} & set(kinds(rig))


def test_a_held_order_is_refused_by_recovery_at_once_and_the_venue_is_not_asked() -> None:
    rig, purse = poor()
    purse.wait_ns = 20 * MS
    order = rig.buy()
    assert [entry.kind for entry in rig.journal.entries[-2:]] == [JournalKind.SENT, JournalKind.HELD]
    after, recovered = reborn(rig)
    assert recovered.never_sent == 1
    assert told(after) == [(ReportKind.REJECTED, Reason.NOT_RECEIVED)]
    assert after.reports[0].client_order_id == order.client_order_id
    assert not after.oms.open_count and not after.session.in_doubt
    after.run(100 * MS)  # an order in doubt would take the order's window
    assert after.session.is_connected and not after.session.counts.questions
    assert not after.venue.orders


def test_a_held_order_that_left_after_all_is_in_doubt_from_when_it_left() -> None:
    rig, purse = poor()
    purse.wait_ns = 20 * MS
    order = rig.buy()
    rig.run(20 * MS)
    purse.wait_ns = 0
    rig.run(20 * MS)
    found = kinds(rig)
    assert (found["SENT"], found["HELD"], found["RELEASED"]) == (1, 1, 1)
    released = next(e for e in rig.journal.entries if e.kind == JournalKind.RELEASED)
    assert len(rig.venue.orders) == 1
    cut = rig.journal.entries.index(released) + 1
    after, recovered = reborn(rig, cut)
    assert recovered.never_sent == 0
    mine = after.oms.order(order.client_order_id)
    assert mine is not None and after.status(mine) is S.UNKNOWN
    assert mine.send_ns == released.append_ns
    after.run(3 * SECOND)
    assert after.status(mine) is S.NEW
    after.agrees()


def test_a_held_replace_is_refused_by_recovery_and_its_order_keeps_its_terms() -> None:
    rig, purse = poor()
    order = rig.buy(10, 10_000)
    rig.run(SECOND)
    purse.wait_ns = 20 * MS
    rig.replace(order, 12, 10_010)
    after, _ = reborn(rig)
    assert told(after)[0] == (ReportKind.REPLACE_REJECTED, Reason.NOT_RECEIVED)
    mine = after.oms.order(order.client_order_id)
    assert mine is not None and not mine.is_pending_replace
    assert (mine.price_units, mine.order_units, mine.reserved_units) == (10_000, 10, 10)
    # Its terms are not in doubt: the venue's answer is taken at once.
    after.run(300 * MS)
    assert after.status(mine) is S.NEW
    after.agrees()


def test_a_held_cancel_is_sent_by_the_next_process() -> None:
    rig, purse = poor()
    order = rig.buy()
    rig.run(SECOND)
    purse.cancel_wait_ns = SECOND
    rig.cancel(order)
    rig.run(100 * MS)
    assert rig.at_venue(order).is_open and not {"HELD"} & set(kinds(rig))
    after, recovered = reborn(rig)
    assert [found.client_order_id for found in recovered.cancels] == [order.client_order_id]
    after.run(SECOND)
    mine = after.oms.order(order.client_order_id)
    assert mine is not None and after.status(mine) is S.CANCELED
    after.agrees()


def test_a_held_order_with_a_cancel_behind_it_ends_as_one_that_never_left() -> None:
    rig, purse = poor()
    purse.wait_ns = 20 * MS
    order = rig.buy()
    rig.cancel(order)
    assert rig.status(order) is S.PENDING_CANCEL
    after, recovered = reborn(rig)
    mine = after.oms.order(order.client_order_id)
    assert mine is not None and after.status(mine) is S.REJECTED
    assert recovered.cancels == [] and recovered.disagreements == []
    after.run(SECOND)
    assert not after.venue.orders and after.session.is_connected


def test_a_second_kill_within_recovery_says_nothing_twice() -> None:
    rig, purse = poor()
    purse.wait_ns = 20 * MS
    rig.buy()
    once, _ = reborn(rig)
    twice, recovered = reborn(once)
    assert told(twice) == [] and recovered.never_sent == 0


def test_a_held_order_that_can_not_be_journaled_again_does_not_leave() -> None:
    rig, purse = poor()
    purse.wait_ns = 20 * MS
    order = rig.buy()
    purse.wait_ns = 0
    append = rig.journal.append

    def full(kind: int, payload: bytes, now_ns: int) -> int:
        if kind == JournalKind.RELEASED:
            raise JournalFull("no room")
        return append(kind, payload, now_ns)

    rig.journal.append = full  # type: ignore[assignment,method-assign]
    rig.run(SECOND)
    assert (rig.status(order), order.reason) == (S.REJECTED, Reason.JOURNAL)
    assert not rig.venue.orders


def test_a_replace_whose_order_ended_while_it_waited_is_not_sent() -> None:
    rig, purse = poor()
    order = rig.buy(10, 10_000)
    rig.run(SECOND)
    purse.wait_ns = 20 * MS
    rig.replace(order, 12, 10_010)
    rig.venue.fill(rig.at_venue(order).client_id, 10)
    rig.run(10 * MS)
    assert rig.status(order) is S.PENDING_REPLACE  # the larger terms may still come
    rig.venue.execute("order.cancel", {"origClientOrderId": rig.at_venue(order).client_id, "symbol": "S0"})
    rig.venue.tell(rig.at_venue(order), "CANCELED")
    rig.run(5 * MS)
    assert order.is_terminal
    purse.wait_ns = 0
    rig.run(SECOND)
    assert "order.modify" not in rig.venue.methods
    rig.agrees()


# ---- any cut --------------------------------------------------------------------------------------------


class Watched(Rig):
    """Keeps how long the journal was when a command left, by the id that its refusal would bear."""

    def __init__(self, purse: Purse) -> None:
        super().__init__(rates=purse)
        self.left: dict[int, int] = {}

    def _leaves(self, root: int, kind: RequestKind) -> None:
        order = self.oms.order(root)
        assert order is not None
        number = order.new_client_order_id if kind is RequestKind.REPLACE else root
        self.left.setdefault(number, len(self.journal.entries))

    def send_order(self, frame: bytes) -> bool:
        data = json.loads(frame)
        if data["method"] == "order.place":
            self._leaves(decode(data["params"]["newClientOrderId"], TAG), RequestKind.NEW)
        elif data["method"] == "order.modify":
            self._leaves(decode(data["params"]["origClientOrderId"], TAG), RequestKind.REPLACE)
        return super().send_order(frame)

    def send_rest(self, request: Request) -> bool:
        if request.kind in (RequestKind.NEW, RequestKind.REPLACE):
            for root in request.order_ids:
                self._leaves(root, request.kind)
        return super().send_rest(request)


def random_life(seed: int) -> Watched:
    """Orders, replaces and cancels while the account now and then can not pay."""
    chance, purse = random.Random(seed), Purse()
    rig = Watched(purse)
    rig.up()
    orders: list[Order] = []
    for _ in range(chance.randrange(4, 14)):
        purse.wait_ns = chance.choice([0, 0, 1 * MS, 20 * MS, 200 * MS])
        purse.cancel_wait_ns = chance.choice([0, 0, 5 * MS])
        what = chance.choice(["new", "new", "many", "replace", "cancel", "fill"])
        open_orders = [order for order in orders if not order.is_terminal]
        if what in ("new", "many"):
            orders += [
                rig.buy(chance.randrange(2, 9), 10_000 + 10 * i) for i in range(7 if what == "many" else 1)
            ]
        elif what == "replace" and open_orders:
            rig.replace(chance.choice(open_orders), chance.randrange(9, 15), 10_500)
        elif what == "cancel" and open_orders:
            rig.cancel(chance.choice(open_orders))
        elif what == "fill":
            resting = [one for one in rig.venue.orders.values() if one.is_open]
            if resting:
                rig.venue.fill(chance.choice(resting).client_id, 1)
        rig.run(chance.choice([0, 1 * MS, 3 * MS, 30 * MS, 150 * MS]))
    return rig


def replay_of(entries: list[Entry], start: bytes | None = None) -> Replay:
    oms = Rig().oms
    oms.on_report = mute
    replay = Replay(oms, Recovered())
    if start is not None:
        restore(start, replay)
    for entry in entries:
        replay.apply(entry)
    return replay


def check_cuts(seed: int) -> Counter[str]:
    rig = random_life(seed)
    entries = rig.journal.entries
    for cut in range(len(entries) + 1):
        after = Rig()
        recovered = recover(entries[:cut], after.oms, now_ns=rig.now_ns)
        assert recovered.disagreements == [], (seed, cut)
        refused = {
            report.client_order_id
            for report in after.reports
            if report.kind in (ReportKind.REJECTED, ReportKind.REPLACE_REJECTED)
            and report.reason == Reason.NOT_RECEIVED
        }
        may_be_there = {number for number, at in rig.left.items() if at <= cut}
        assert not refused & may_be_there, (seed, cut)
        if cut and entries[cut - 1].kind == JournalKind.HELD:
            command = read_sent(entries[cut - 1].payload)
            # A replace may wait behind its own order, and ends with it.
            assert refused & {command.new_client_order_id, command.client_order_id}, (seed, cut)
    half = snapshot(replay_of(entries[: len(entries) // 2]))
    assert snapshot(replay_of(entries[len(entries) // 2 :], half)) == snapshot(replay_of(entries))
    return kinds(rig)


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**32))
def test_wherever_the_journal_is_cut_only_what_has_not_left_is_refused(seed: int) -> None:
    check_cuts(seed)


@pytest.mark.prove
def test_in_many_lives_only_what_has_not_left_is_refused() -> None:
    found: Counter[str] = Counter()
    for seed in range(150):
        found += check_cuts(seed)
    assert found["HELD"] > 100 and found["RELEASED"] > 50, found
