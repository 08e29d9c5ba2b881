"""Rounds of comparison in virtual time: answers refused, lost, late, in pages, or not to be paid for."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from exec.lifecycle import Event
from exec.order import Order
from exec.order_protocol import Answer, ControlWord, Lane, Request, RequestKind, Sign, Word
from exec.session import VenueReport
from exec.venue_commands import NoRates, SessionTimes
from exec.venue_doubts import DoubtBook, Verdict
from exec.venue_states import SessionState
from shm.enums import OrderStatus, Reason, ReportKind
from tests.exec.venue_rig import MS, ORDERS, PRIVATE, SECOND, Rig

QUICK = SessionTimes(compare_ns=2 * SECOND)
OPEN, HELD, TRADES = "/fapi/v1/openOrders", "/fapi/v3/positionRisk", "/fapi/v1/userTrades"


class Moody:
    """Refuses, or never answers, the next requests for a list; answers the others as the venue does."""

    def __init__(self, rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
        self.refuse: list[str] = []
        self.lose: list[str] = []
        self.asked: list[str] = []
        serve, on_rest = rig.venue._rest, rig.venue.on_rest

        def rest(method: str, path: str, params: dict[str, str]) -> object:
            if path in self.refuse:
                self.refuse.remove(path)
                return -1001, "Internal error; unable to process your request."
            return serve(method, path, params)

        def arrives(request: Request) -> None:
            path = request.path.partition("?")[0]
            self.asked.append(path)
            if path in self.lose:
                self.lose.remove(path)
            else:
                on_rest(request)

        monkeypatch.setattr(rig.venue, "_rest", rest)
        monkeypatch.setattr(rig.venue, "on_rest", arrives)


@pytest.mark.parametrize("path", [OPEN, HELD])
def test_a_refused_list_fails_its_own_round_and_none_behind_it(
    monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    rig = Rig(times=QUICK).up()
    moody = Moody(rig, monkeypatch)
    moody.refuse = [path]
    rig.run(30 * SECOND)
    # The refused round is asked anew after a second; none is taken for failed when its time limit ends.
    assert moody.asked.count(OPEN) == moody.asked.count(HELD) <= 30 // 2 + 1
    assert rig.session.counts.timeouts == 0
    assert rig.session.is_connected
    rig.agrees()


@pytest.mark.parametrize("how", ["lose", "refuse"])
def test_a_list_of_fills_that_never_comes_is_asked_for_anew(
    monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    rig = Rig(times=QUICK)
    rig.venue.positions["S0"] = -25  # a drift: the second round wants fills
    getattr(Moody(rig, monkeypatch), how).append(TRADES)
    rig.session.start(rig.now_ns)
    rig.run(10 * SECOND)
    assert rig.session.is_connected
    assert rig.ledger.position_units(0) == -25


def test_an_answer_to_a_round_of_the_connection_before_fails_no_round_of_this_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rig = Rig(times=QUICK).up()
    moody = Moody(rig, monkeypatch)
    rig.venue.script.rest_ns = 300 * MS
    rig.run(2 * SECOND)  # a round is under way
    moody.refuse = [OPEN, HELD]
    rig.cut(ORDERS)
    rig.run(10 * SECOND)
    states = [text for name, text in rig.events if name == "state"]
    assert states[-1].endswith("UP") and rig.session.counts.timeouts == 0
    rig.agrees()


def test_fills_that_come_in_pages_are_all_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first page settles nothing: its request is still known when the word comes that there are more."""
    rig = Rig(times=QUICK).up()
    order = rig.buy(10)
    rig.run(SECOND)
    rig.venue.script.mute_stream = True
    for _ in range(5):
        rig.venue.fill(rig.at_venue(order).client_id, 1)
    rig.venue.positions["S0"] += 3  # traded by hand as well: a drift that only fills could explain
    rig.venue.script.mute_stream = False
    decode, snapshot = rig.protocol.decode_rest, rig.protocol.snapshot
    pages: list[str] = []

    def paged(request: Request, status: int, headers: dict[str, str], body: bytes) -> Sequence[Word]:
        words = list(decode(request, status, headers, body))
        if request.kind is not RequestKind.FILLS or request.order_ids or len(pages) == 3:
            return words
        reports = [r for word in words if isinstance(word, Answer) for r in word.reports]
        mine = reports[len(pages) * 2 :][:2]
        more = ControlWord(Sign.MORE, request.request_id, f"page {len(pages) + 1}")
        end = ControlWord(Sign.SNAPSHOT_END, request.request_id)
        return [Answer(request.request_id, True, reports=mine), more if len(pages) < 2 else end]

    def asked(
        kind: RequestKind, request_id: int, utc_ns: int, *, since_utc_ns: int = 0, cursor: str = ""
    ) -> Sequence[Request]:
        pages.extend([cursor] if cursor else [])
        return snapshot(kind, request_id, utc_ns, since_utc_ns=since_utc_ns)

    monkeypatch.setattr(rig.protocol, "decode_rest", paged)
    monkeypatch.setattr(rig.protocol, "snapshot", asked)
    rig.run(20 * SECOND)
    assert pages == ["page 1", "page 2"]
    assert order.filled_units == 5
    assert rig.ledger.position_units(0) == rig.venue.positions["S0"] == 8
    assert not rig.session.comparison.wants_fills


class Handful(NoRates):
    """So many questions at once, one more every 40 ms; nothing that costs more is ever granted."""

    def __init__(self, most: int) -> None:
        self.most, self.left, self.last_ns = most, most, 0
        self.is_scarce = False

    def take(self, rates: tuple[tuple[str, int], ...], lane: int, instrument_id: int, now_ns: int) -> int:
        del instrument_id
        cost = sum(weight for _, weight in rates) if self.is_scarce else 0
        if lane != Lane.RECONCILE or not 0 < cost < 5:  # a list costs more than questions
            return 0
        gained = (now_ns - self.last_ns) // (40 * MS)
        self.left, self.last_ns = min(self.left + gained, self.most), self.last_ns + gained * 40 * MS
        if cost > self.most:
            return -1
        if cost > self.left:
            return self.last_ns + 40 * MS - now_ns
        self.left -= cost
        return 0


class Purse(NoRates):
    """So many units at once, and one more every 200 ms; a round costs more than one."""

    def __init__(self, most: int) -> None:
        self.most, self.left, self.last_ns = most, 0, 0

    def take(self, rates: tuple[tuple[str, int], ...], lane: int, instrument_id: int, now_ns: int) -> int:
        del instrument_id
        if lane != Lane.RECONCILE or not self.last_ns:
            return 0
        gained = (now_ns - self.last_ns) // (200 * MS)
        self.left, self.last_ns = min(self.left + gained, self.most), self.last_ns + gained * 200 * MS
        cost = len(rates) and sum(weight for _, weight in rates)
        if cost > self.most:
            return -1
        if cost > self.left:
            return self.last_ns + 200 * MS - now_ns
        self.left -= cost
        return 0


def test_a_round_that_can_be_paid_for_only_later_is_not_begun_in_parts() -> None:
    purse = Purse(60)
    rig = Rig(rates=purse)
    rig.venue.positions["S0"] = 7
    purse.last_ns = rig.now_ns
    rig.session.start(rig.now_ns)
    rig.run(90 * SECOND)
    assert rig.session.is_connected
    assert rig.ledger.position_units(0) == 7


def test_what_sockets_need_is_asked_for_once_all_of_it_can_be_paid_for() -> None:
    handful = Handful(2)
    handful.is_scarce, handful.left, handful.last_ns = True, 0, SECOND
    rig = Rig(rates=handful)
    rig.session.start(rig.now_ns)
    assert rig.venue.methods == []
    rig.run(200 * MS)
    assert rig.session.is_connected
    assert rig.venue.methods[:2] == ["GET /fapi/v1/time", "POST /fapi/v1/listenKey"]


def test_a_stream_that_is_lost_again_while_connecting_delays_nothing_for_good() -> None:
    rig = Rig().up()
    for _ in range(5):
        rig.cut(PRIVATE)
        rig.run(51 * MS)
        rig.cut(PRIVATE)
        rig.cut(ORDERS)
        rig.run(3 * MS)
    rig.run(2 * SECOND)
    assert rig.session.state is SessionState.UP


def test_an_order_that_a_cut_took_along_is_known_as_lost_as_soon_as_it_can_not_arrive_any_more() -> None:
    """Questions become rarer, but none is put off beyond the moment when "not found" becomes an answer."""
    rig = Rig().up()
    rig.venue.script.lose_requests = 1
    order, sent_ns = rig.buy(), rig.now_ns
    rig.run(1 * MS)
    rig.cut(ORDERS)
    rig.run(1_450 * MS)
    assert rig.status(order) is OrderStatus.UNKNOWN
    rig.run(sent_ns + 1_520 * MS - rig.now_ns)
    assert rig.status(order) is OrderStatus.REJECTED
    assert rig.session.state is SessionState.UP
    rig.agrees()


@pytest.mark.parametrize("is_lost", [False, True])
def test_a_replace_that_a_cut_took_along_is_not_received_only_once_it_can_not_arrive_any_more(
    is_lost: bool,
) -> None:
    """Old terms in an answer say nothing of an amendment that is still under way."""
    rig = Rig().up()
    order = rig.buy(10)
    rig.run(100 * MS)
    rig.venue.script.delay_requests_ns = 900 * MS
    rig.venue.script.lose_requests = int(is_lost)
    rig.replace(order, 20, 10_100)
    rig.run(1 * MS)
    rig.cut(ORDERS)
    rig.venue.script.delay_requests_ns = 0
    rig.run(700 * MS)
    assert rig.session.counts.questions >= 1
    assert order.is_pending_replace and ReportKind.REPLACE_REJECTED not in [r.kind for r in rig.reports]
    assert order.reserved_units == 20, "the worse of both terms is what it may come to"
    rig.run(SECOND)
    assert rig.session.state is SessionState.UP
    assert (order.status, order.price_units, order.order_units) == (
        (OrderStatus.NEW, 10_000, 10) if is_lost else (OrderStatus.NEW, 10_100, 20)
    )
    assert (ReportKind.REPLACE_REJECTED in [r.kind for r in rig.reports]) is is_lost
    assert "amended" not in [name for name, _ in rig.events]
    rig.agrees()


@pytest.mark.parametrize("most", [1, 2, 3])
def test_a_round_of_two_questions_ends_whether_both_can_be_paid_for_at_once_or_never(
    monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    """Some venues have to be asked in two places; the first answer waits for the second."""
    handful = Handful(most)
    rig = Rig(rates=handful).up()
    orders = [rig.buy(10, 10_000 + i) for i in range(2)]
    rig.run(SECOND)
    query = rig.protocol.query

    rates = (("question", 1),)

    def twice(order: Order, request_id: int, utc_ns: int) -> Sequence[Request]:
        made = [*query(order, request_id, utc_ns), *query(order, request_id + 1, utc_ns)]
        return [
            Request(r.request_id, r.kind, r.lane, r.way, r.order_ids, r.instrument_id, r.frame, rates=rates)
            for r in made
        ]

    monkeypatch.setattr(rig.protocol, "query", twice)
    handful.is_scarce, handful.last_ns = True, rig.now_ns
    rig.cut(ORDERS)
    rig.run(20 * SECOND)
    assert rig.session.is_connected
    assert [rig.status(order) for order in orders] == [OrderStatus.NEW] * 2
    assert rig.session.counts.questions == 4


def test_of_questions_sent_one_after_the_other_the_oldest_decides_whether_not_found_is_an_answer() -> None:
    book = DoubtBook(250 * MS, 5 * SECOND)
    rig = Rig().up()
    doubt = book.add(rig.buy(), 0, SECOND)
    book.asked(doubt, 1, SECOND - 1)
    assert book.answered(doubt, 1)
    book.asked(doubt, 2, SECOND + 1)
    assert book.answered(doubt, 2)
    doubt.reports.append(VenueReport(int(Event.NOT_FOUND), 1, 0, 0))
    doubt.filled_units = 0
    assert doubt.judge() is Verdict.ASK_AGAIN


class Narrow(NoRates):
    """Rates that hold everything back while it is told so: what had to wait leaves in batches, by REST."""

    def __init__(self) -> None:
        self.wait_ns = 0

    def take(self, rates: tuple[tuple[str, int], ...], lane: int, instrument_id: int, now_ns: int) -> int:
        del rates, lane, instrument_id, now_ns
        return self.wait_ns


def test_cancels_whose_batch_was_lost_go_out_again_without_waiting_for_the_batch() -> None:
    """What a cancel must not overtake is an order or a replace; another cancel it may."""
    rig = Rig().up()
    orders = [rig.buy(1, 10_000 + i) for i in range(8)]
    rig.run(SECOND)
    rig.cut(ORDERS)
    rig.run(1 * MS)
    for order in orders:
        rig.cancel(order)
    rig.venue.script.lose_rest = 1
    rig.run(100 * MS)  # the batch is lost, and questions find every order open
    assert rig.venue.script.lose_rest == 0
    assert [rig.status(order) for order in orders] == [OrderStatus.NEW] * 8
    for order in orders:
        rig.cancel(order)
    rig.run(20 * MS)
    assert [rig.status(order) for order in orders] == [OrderStatus.CANCELED] * 8
    rig.agrees()


def test_a_batch_that_was_lost_is_asked_about_when_it_can_not_arrive_any_more() -> None:
    narrow = Narrow()
    rig = Rig(rates=narrow).up()
    orders = [rig.buy(1, 10_000 + i) for i in range(8)]
    rig.run(SECOND)
    narrow.wait_ns = 20 * MS
    for order in orders:
        rig.cancel(order)
    rig.run(10 * MS)
    narrow.wait_ns, rig.venue.script.lose_rest = 0, 1
    rig.run(2_500 * MS)
    assert [rig.status(order) for order in orders] == [OrderStatus.NEW] * 8
    for order in orders:
        rig.cancel(order)
    rig.run(20 * MS)
    assert [rig.status(order) for order in orders] == [OrderStatus.CANCELED] * 8
    rig.agrees()


class Small(NoRates):
    """Orders are held back first; then two at once and one more every 40 ms: no batch is ever granted."""

    def __init__(self) -> None:
        self.is_open, self.left, self.last_ns = False, 2, 0

    def take(self, rates: tuple[tuple[str, int], ...], lane: int, instrument_id: int, now_ns: int) -> int:
        del instrument_id
        cost = max((weight for _, weight in rates), default=0)
        if lane != Lane.NEW:
            return 0
        if not self.is_open:
            self.last_ns = now_ns
            return 10 * MS
        gained = (now_ns - self.last_ns) // (40 * MS)
        self.left, self.last_ns = min(self.left + gained, 2), self.last_ns + gained * 40 * MS
        if cost > 2:
            return -1
        if cost > self.left:
            return self.last_ns + 40 * MS - now_ns
        self.left -= cost
        return 0


def test_of_a_batch_that_is_never_granted_what_left_is_neither_sent_again_nor_refused() -> None:
    small = Small()
    rig = Rig(rates=small).up()
    orders = [rig.buy(1, 10_000 + i) for i in range(8)]
    rig.run(5 * MS)
    assert rig.venue.orders == {}
    small.is_open = True
    rig.run(SECOND)
    sent = [order for order in orders if rig.status(order) is OrderStatus.NEW]
    assert 2 <= len(sent) < 8
    assert all(order in sent or order.reason == Reason.VENUE_LIMIT for order in orders)
    assert len(rig.venue.orders) == len(sent)
    assert rig.venue.methods.count("order.place") == len(sent)
    rig.agrees()
