"""Trades by hand while no gateway runs: the next one books each once, at its own price and fee."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from exec.discrepancy import DiscrepancyKind, Repair
from exec.entries import EntryWriter, read_agreed, read_discrepancy
from exec.keys import Keys
from exec.oms import Oms
from exec.recovery import recover
from exec.venue_session import VenueSession
from exec.venue_sessions import VenueSessions, resume_venues
from exec.venues import make_protocol
from risk.exposure import ExposureBook
from shm.enums import JournalKind, ReportKind
from shm.records import ReportRecord
from tests.exec.scene import EPOCH, Entry, MemoryJournal
from tests.tools.trading.pair_kit import BUY, KEY, ORDERS, PRIVATE, SECOND, SELL, TAG, UTC0, Pair
from tests.tools.trading.scenes import ALL_SCENES, DERIVATIVE, Scene
from tools.venues.trading.accounts import Account
from tools.venues.trading.terms import Fill, Terms, VenueOrder

OPTIONS = {"binance_usdm": {"symbols": ["BTCUSDT"]}}


class Life:
    """A gateway at a simulated venue, whose process ends and begins again; the venue goes on."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.pair: Pair = scene.make()
        self.journal = MemoryJournal()
        self.start()

    def _wire(self) -> None:
        """A process: empty orders and books over what the journal holds."""
        pair = self.pair
        pair.events, pair.reports = [], []
        pair.entries = EntryWriter(self.journal)
        pair.ledger = ExposureBook(pair.rows.row)
        pair.oms = Oms(EPOCH, pair.ledger, self._on_report, terminal_capacity=1_000)
        name = pair.protocol.name
        pair.protocol = make_protocol(
            name, Keys(KEY.api_key, KEY.secret, KEY.passphrase), TAG, pair.rows,
            order_url="ws://venue", private_url="ws://venue", **OPTIONS.get(name, {}),
        )  # fmt: skip
        pair.session = VenueSession(
            pair.protocol,
            pair.oms,
            pair,
            utc_ns=lambda: UTC0 + pair.now_ns,
            venue_of=lambda i: pair.rows.row(i).venue_id,
            entries=pair.entries,
            on_event=lambda event, text: pair.events.append((event, text)),
        )
        self.recovered = recover(list(self.journal.entries), pair.oms, now_ns=pair.now_ns)

    def _on_report(self, report: ReportRecord) -> None:
        pair = self.pair
        pair.entries.report(report, pair.now_ns)
        pair.reports.append(ReportRecord.from_bytes(report.to_bytes()))

    def start(self, *, cut: int | None = None) -> None:
        """Begin, on the journal as it is or cut there."""
        pair = self.pair
        if cut is not None:
            del self.journal.entries[cut:]
        pair.may_connect = True
        self._wire()
        sessions = VenueSessions(pair.oms, [pair.session])
        resume_venues(sessions, pair.oms, self.recovered, pair.entries, lambda: pair.now_ns, pair.now_ns)
        pair.run(2 * SECOND)
        assert pair.session.is_connected, pair.events

    def die(self) -> None:
        """SIGKILL: sockets end, what was on them is lost, timers and callbacks are gone."""
        pair = self.pair
        pair.may_connect = False
        for channel in (ORDERS, PRIVATE):
            wire = pair.wires.pop(channel, None)
            if wire is not None:
                wire.is_open = False
                pair.trading.on_leave(wire)
        pair._addresses.clear()
        pair._queue.clear()

    def pass_time(self, for_ns: int = SECOND) -> None:
        """While no process runs."""
        self.pair.now_ns += for_ns
        self.pair.desk.run(self.pair.now_ns)

    def by_hand(self, side: int, units: int) -> list[Fill]:
        """A market order of another client of the account; its fills."""
        placed = self.pair.exchange.place(
            "main",
            Terms(self.scene.key, int(side), units, 0, order_type=2, source="manual"),
            self.pair.now_ns,
        )
        assert isinstance(placed, VenueOrder) and placed.filled == units, placed
        return list(placed.fills)

    # ---- what is known of it ---------------------------------------------------------------------

    @property
    def account(self) -> Account:
        return self.pair.exchange.accounts["main"]

    def found(self) -> list[tuple[str, str]]:
        """Discrepancies of the whole journal."""
        rows = [read_discrepancy(e.payload) for e in self.entries(JournalKind.DISCREPANCY)]
        return [(DiscrepancyKind(row.kind).name, Repair(row.repair).name) for row in rows]

    def entries(self, kind: JournalKind) -> list[Entry]:
        return [entry for entry in self.journal.entries if entry.kind == kind]

    def booked(self) -> list[tuple[int, int, int, int]]:
        """(side, price, units, fee) of the journal's fills of nobody's orders; no strategy has them."""
        reports = [ReportRecord.from_bytes(e.payload) for e in self.entries(JournalKind.REPORT)]
        fills = [r for r in reports if r.kind == ReportKind.FILL and not r.client_order_id]
        assert not any(r.actor_id for r in fills)
        return [(r.side, r.last_price_units, r.last_units, r.fee_units) for r in fills]

    def agrees(self) -> None:
        """Position, every fill and every fee are the venue's, and each is booked once."""
        self.pair.agree()
        position = self.pair.ledger.row(DERIVATIVE).position
        assert position.fills == len(self.account.fills)
        assert position.fees_e8 == sum(fill.fee_e8 for fill in self.account.fills)


def said(fills: list[Fill]) -> list[tuple[int, int, int, int]]:
    return [(fill.side, fill.price_units, fill.units, fill.fee_e8) for fill in fills]


@pytest.fixture(params=ALL_SCENES)
def life(request: pytest.FixtureRequest) -> Iterator[Life]:
    made = Life(ALL_SCENES[request.param])
    yield made
    made.pair.run(5 * SECOND)
    made.agrees()


EXTERNAL = ("EXTERNAL_FILL", "BOOK_FILL")


def test_what_was_traded_by_hand_meanwhile_is_booked_as_it_was(life: Life) -> None:
    life.pair.placed(BUY, 100, life.scene.ask)  # ours, booked before
    life.die()
    life.pass_time()
    made = life.by_hand(SELL, 1_300) + life.by_hand(BUY, 40)  # two levels of the book, then one
    assert len({fill.price_units for fill in made}) == 3
    life.pass_time()
    life.start()
    assert sorted(life.booked()) == sorted(said(made))
    assert life.found() == [EXTERNAL] * len(made)  # and no drift
    assert life.pair.session.counts.external_fills == len(made)


def test_what_was_bought_and_sold_again_leaves_no_position_and_is_booked_all_the_same(life: Life) -> None:
    life.die()
    life.pass_time()
    made = life.by_hand(BUY, 50) + life.by_hand(SELL, 50)
    life.start()
    assert sorted(life.booked()) == sorted(said(made))
    position = life.pair.ledger.row(DERIVATIVE).position
    assert position.quantity_units == 0 and position.realized_product < 0 < position.fees_e8


def test_a_restart_behind_it_and_the_stream_book_nothing_again(life: Life) -> None:
    life.die()
    life.pass_time()
    made = life.by_hand(BUY, 70)
    life.start()
    for _ in range(2):
        life.die()
        life.pass_time()
        life.start()
    told = life.by_hand(BUY, 30)  # now the private stream says so
    life.pair.run()
    life.die()
    life.start()
    assert sorted(life.booked()) == sorted(said(made + told))
    assert life.found() == [EXTERNAL] * len(made)


def test_killed_behind_any_record_of_the_repair_it_is_booked_once(life: Life) -> None:
    life.die()
    life.pass_time()
    before = len(life.journal.entries)
    made = life.by_hand(BUY, 1_100)
    assert len(made) == 2
    life.start()
    for cut in range(len(life.journal.entries) - 1, before - 1, -1):
        life.die()
        life.start(cut=cut)
        assert sorted(life.booked()) == sorted(said(made))
        life.agrees()


def test_our_own_order_that_filled_meanwhile_is_ours_and_no_external_fill(life: Life) -> None:
    order = life.pair.placed(SELL, 100, life.scene.ask)
    life.die()
    life.pair.port.trade(life.scene.key, life.scene.ask, 1_060, True)
    life.pair.desk.on_market()
    life.pass_time()
    made = life.by_hand(BUY, 20)
    life.start()
    mine = life.pair.oms.order(order.client_order_id)
    assert mine is not None and mine.filled_units == 60
    assert sorted(life.booked()) == sorted(said(made))


@pytest.mark.parametrize("name", ALL_SCENES)
def test_what_the_list_does_not_name_is_a_drift_and_not_booked_again_when_it_does(name: str) -> None:
    life = Life(ALL_SCENES[name])
    life.die()
    life.pass_time()
    hidden, shown = life.by_hand(BUY, 30), life.by_hand(BUY, 20)
    life.account.fills[:] = shown
    life.start()
    assert life.booked() == said(shown)
    assert life.found().count(EXTERNAL) == 1 and life.found()[-1] == ("POSITION_DRIFT", "BOOK_DRIFT")
    life.die()
    life.account.fills[:] = hidden + shown
    life.start()
    assert life.booked() == said(shown)
    life.pair.agree()


def test_more_fills_than_a_page_holds_are_all_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a list goes by symbol: our own fills may fill the first pages."""
    monkeypatch.setattr("exec.venues.binance_usdm.protocol.FILLS_PAGE", 3)
    life = Life(ALL_SCENES["binance_usdm"])
    for _ in range(7):
        life.pair.placed(BUY, 10, life.scene.ask)
    life.die()
    life.pass_time()
    made = life.by_hand(SELL, 25)
    life.start()
    assert sum(path.startswith("GET /fapi/v1/userTrades") for path in life.pair.paths) == 3
    assert life.booked() == said(made) and life.found() == [EXTERNAL]
    life.agrees()


def test_an_agreement_is_journaled_by_the_venues_time_and_nothing_before_a_first_one_is_asked_for() -> None:
    made = Life(ALL_SCENES["okx"])
    account, utc_ns = read_agreed(made.entries(JournalKind.AGREED)[-1].payload)
    assert account == 2 and UTC0 <= utc_ns <= UTC0 + made.pair.now_ns
    assert not any(path.startswith("GET /api/v5/trade/fills") for path in made.pair.paths)
    made.die()
    made.start()
    assert made.recovered.agreed == {account: utc_ns}
    assert any(path.startswith("GET /api/v5/trade/fills") for path in made.pair.paths)
