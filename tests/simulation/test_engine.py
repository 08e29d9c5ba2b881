"""The whole engine on the virtual clock: trading, isolation, states, halt, generations, recovery."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest

from actors.errors import SettingsError, VirtualClockError
from actors.journals import DigestJournal
from actors.runtime.actor import Actor
from actors.runtime.context import Context, WorkingOrder
from actors.runtime.host import Host
from actors.runtime.spec import StartReason
from shm.enums import BookState, OrderFlags, ReportKind, SegmentKind, Side, TradingState
from shm.journal_reader import read_journal
from shm.positions import Position
from shm.records import MarketRecord, ReportRecord
from tests.simulation.kit import MAKER, STEP_NS, TRADE, Run


class Everything(Actor):
    """Subscribes to all instruments."""

    def subscriptions(self) -> list[int]:
        return [row.instrument_id for row in self.context.instruments]


class Noting(Everything):
    """Notes what it gets."""

    def __init__(self, context: Context, settings: Mapping[str, Any]) -> None:
        super().__init__(context, settings)
        self.books = 0
        self.trades = 0
        self.states: list[int] = []
        self.starts: list[str] = []

    def on_start(self, reason: str, state: bytes | None, positions: Mapping[int, Position],
                 working_orders: Mapping[int, WorkingOrder]) -> None:  # fmt: skip
        self.starts.append(reason)

    def on_book(self, record: MarketRecord) -> None:
        self.books += 1

    def on_trade(self, record: MarketRecord) -> None:
        self.trades += 1

    def on_status(self, record: MarketRecord) -> None:
        self.states.append(record.book_state)


def digest(run: Run) -> str:
    assert isinstance(run.gateway.journal, DigestJournal)
    return run.gateway.journal.digest


def test_the_maker_trades_and_the_books_of_its_money_agree() -> None:
    run = Run({"maker": MAKER})
    run.step(400)
    counters = run.counters()
    assert counters["fills"] > 20
    assert counters["orders.new"] > 20
    assert counters["orders.denied"] == 0
    assert counters["actor.errors"] == 0
    host = run.world.host(TRADE)
    for row in host.instruments:
        position = host.positions(TRADE).load(row.instrument_id)
        assert position is not None
        own = run.gateway.exposures.row(row.instrument_id).position
        assert position.quantity_units == own.quantity_units
        assert abs(position.quantity_units) <= 5 * MAKER["max_inventory"] + 5
        assert position.fills == own.fills > 0
    for working in host.bindings[1].context.working.values():
        order = run.gateway.oms.order(working.client_order_id)
        assert order is not None
        assert order.leaves_units == working.leaves_units


def test_the_maker_never_quotes_twice_on_a_side_nor_across_itself() -> None:
    run = Run({"maker": MAKER})
    for _ in range(150):
        run.step()
        for row in run.world.host(TRADE).instruments:
            orders = run.gateway.oms.open_by_instrument(row.instrument_id)
            bids = [o.price_units for o in orders if o.side == Side.BUY]
            asks = [o.price_units for o in orders if o.side == Side.SELL]
            assert len(bids) <= 1
            assert len(asks) <= 1
            if bids and asks:
                assert bids[0] < asks[0]


def test_equal_seeds_give_equal_histories_and_other_markets_do_not() -> None:
    def history(seed: int, latency: int) -> str:
        delays = {"entry_latency": f"{latency}us", "response_latency": f"{latency}us"}
        run = Run({"maker": MAKER}, seed=seed, gateway=delays)
        run.step(150)
        return digest(run)

    assert history(1, 0) == history(1, 0)
    assert history(1, 0) != history(2, 0)
    assert history(1, 3000) == history(1, 3000) != history(1, 0)


def test_a_cancel_requote_reaches_the_same_kind_of_book() -> None:
    run = Run({"maker": {**MAKER, "requote": "cancel"}})
    run.step(200)
    counters = run.counters()
    assert counters["orders.canceled"] > 10
    assert counters["orders.replaced"] == 0
    assert counters["fills"] > 5


def test_quotes_are_pulled_when_the_book_is_not_live() -> None:
    run = Run({"maker": MAKER, "noting": Noting})
    run.step(50)
    broken = next(iter(run.markets))
    row = run.world.host(TRADE).find_instrument(broken)
    assert run.gateway.oms.open_by_instrument(row.instrument_id)
    run.gap(broken)
    run.world.advance(run.world.clock.virtual_ns + STEP_NS)
    noting = run.actor("noting")
    assert isinstance(noting, Noting)
    assert noting.states[-1] != BookState.LIVE
    assert not run.gateway.oms.open_by_instrument(row.instrument_id)
    other = list(run.markets)[1]
    assert run.gateway.oms.open_by_instrument(run.world.host(TRADE).find_instrument(other).instrument_id)
    gap = run.feed.session.gaps[-1]
    assert gap.symbol == broken
    assert gap.previous_sequence == gap.expected + 5
    # Once re-proven it quotes again.
    run.step()
    run.feed.inject_snapshot(broken, run.markets[broken].snapshot())
    run.step(3)
    assert run.feed.session.states()[broken] is BookState.LIVE
    assert run.gateway.oms.open_by_instrument(row.instrument_id)


class Faulty(Everything):
    """Places one order far away, then raises at its 20th book, once."""

    raised: ClassVar[int] = 0

    def __init__(self, context: Context, settings: Mapping[str, Any]) -> None:
        super().__init__(context, settings)
        self.books = 0
        self.order: int | None = None

    def on_book(self, record: MarketRecord) -> None:
        self.books += 1
        if self.order is None:
            price = record.bid_price_units - 1000
            self.order = self.context.new_order(record.instrument_id, Side.BUY, price, 5)
        if self.books == 20 and not type(self).raised:
            type(self).raised += 1
            raise RuntimeError("bad arithmetic")


def test_a_book_in_quarantine_since_before_its_feed_began_is_not_live_for_a_moment() -> None:
    held = {"op": "operator", "number": 1, "do": "quarantine", "instrument_id": 0, "reason": "by hand"}
    run = Run({"noting": Noting}, symbols=["AAAUSDT"], operator=[held])
    run.step(50)
    noting = run.actor("noting")
    assert isinstance(noting, Noting)
    assert noting.states[-1] == BookState.STALE
    assert BookState.LIVE not in noting.states
    assert run.feed.session.suspects.release(0)
    run.step(2)
    assert noting.states[-1] == BookState.LIVE


def test_a_raising_strategy_loses_its_orders_and_comes_back_the_others_go_on() -> None:
    Faulty.raised = 0
    run = Run({"faulty": Faulty, "noting": Noting})
    first = run.actor("faulty")
    run.step(12)
    noting = run.actor("noting")
    assert isinstance(noting, Noting)
    assert run.counters()["actor.errors"] == 1
    assert run.gateway.oms.open_by_actor(3) == []
    before = noting.books
    run.step(2)
    assert noting.books > before
    assert [m["state"] for m in run.messages] == ["suspended"]
    assert "bad arithmetic" in run.messages[0]["error"]
    run.step(30)
    assert run.actor("faulty") is not first
    assert run.messages[-1]["state"] == "running"
    assert len(run.gateway.oms.open_by_actor(3)) == 1
    assert run.counters()["actor.restarts"] == 1
    faults = run.world.host(TRADE).metrics.faults()
    assert any("faulty.on_book: RuntimeError: bad arithmetic" in fault.text for fault in faults)


class Hopeless(Everything):
    """Raises at every book."""

    def on_book(self, record: MarketRecord) -> None:
        raise RuntimeError("always")


def test_a_strategy_that_always_raises_is_given_up() -> None:
    run = Run({"hopeless": Hopeless, "maker": MAKER})
    run.step(1500, trades=False)
    states = [m["state"] for m in run.messages if m["op"] == "actor" and m["name"] == "hopeless"]
    assert states == ["suspended"] * 3 + ["failed"]
    assert run.counters()["actor.errors"] == 4
    assert run.gateway.oms.open_by_actor(4)


class Slow(Everything):
    """An async handler that takes three steps for each book."""

    def __init__(self, context: Context, settings: Mapping[str, Any]) -> None:
        super().__init__(context, settings)
        self.begun: list[tuple[int, int]] = []
        self.running = 0
        self.running_max = 0

    async def on_book(self, record: MarketRecord) -> None:
        self.running += 1
        self.running_max = max(self.running_max, self.running)
        self.begun.append((record.instrument_id, record.last_sequence))
        await self.context.sleep(3 * STEP_NS)
        self.running -= 1


def test_an_async_handler_is_outstanding_once_and_gets_the_newest_book() -> None:
    run = Run({"slow": Slow, "noting": Noting})
    run.step(30)
    slow, noting = run.actor("slow"), run.actor("noting")
    assert isinstance(slow, Slow)
    assert isinstance(noting, Noting)
    assert slow.running_max == 1
    assert 5 <= len(slow.begun) < noting.books
    for instrument_id in {i for i, _ in slow.begun}:
        sequences = [s for i, s in slow.begun if i == instrument_id]
        assert sequences == sorted(set(sequences))


class Waiting(Everything):
    """Awaits what does not exist on the virtual clock."""

    async def on_book(self, record: MarketRecord) -> None:
        import asyncio

        await asyncio.sleep(0)


def test_only_the_context_may_be_awaited_on_the_virtual_clock() -> None:
    run = Run({"waiting": Waiting, "noting": Noting})
    run.step(2)
    assert run.counters()["actor.errors"] >= 1
    assert VirtualClockError.__name__ in run.messages[0]["error"]


class Timed(Everything):
    """Timers, randomness and time from the context."""

    def __init__(self, context: Context, settings: Mapping[str, Any]) -> None:
        super().__init__(context, settings)
        self.calls: list[tuple[int, float]] = []

    def on_start(self, *_: Any) -> None:
        self.begin = self.context.now_ns()
        self.end = self.context.call_every(7_000_000, self.note)

    def note(self) -> None:
        self.calls.append((self.context.now_ns() - self.begin, self.context.random.random()))
        if len(self.calls) == 5:
            self.end()


def test_timers_do_not_drift_and_randomness_has_a_seed() -> None:
    def calls(seed: int) -> list[tuple[int, float]]:
        run = Run({"timed": Timed}, seed=seed)
        run.step(10)
        timed = run.actor("timed")
        assert isinstance(timed, Timed)
        return timed.calls

    assert [t for t, _ in calls(1)] == [7_000_000 * n for n in range(1, 6)]
    assert calls(1) == calls(1)
    assert calls(1) != calls(2)


def test_halt_cancels_everything_and_only_cancels_pass() -> None:
    run = Run({"maker": MAKER})
    run.step(30)
    assert run.gateway.oms.open_count
    host = run.world.host(TRADE)
    assert host.control.set_halt(TradingState.HALTED, 1)
    host.on_halt()
    run.world.settle()
    assert run.gateway.oms.open_count == 0
    run.step(30)
    assert run.gateway.oms.open_count == 0
    assert run.counters()["orders.denied"] > 0
    assert run.counters()["gateway.mass_cancels"] >= 1


def test_a_generation_is_swapped_whole_or_not_at_all() -> None:
    run = Run({"maker": MAKER})
    run.step(5)
    host = run.world.host(TRADE)
    with pytest.raises(SettingsError, match="max_inventry"):
        host.apply_generation(2, {3: {**MAKER, "max_inventry": 1}})
    assert host.spec.generation == 1
    host.control.generation = 2
    host.apply_generation(2, {3: {**MAKER, "quantity": "0.007"}})
    run.step(100)
    generations = {o.generation for o in run.gateway.oms}
    assert generations == {1, 2}
    assert {o.order_units for o in run.gateway.oms if o.generation == 2} >= {7}
    assert host.slot.generation == 2


class Keeping(Noting):
    """Has a state, raises when told."""

    def __init__(self, context: Context, settings: Mapping[str, Any]) -> None:
        super().__init__(context, settings)
        self.loaded: tuple[int, bytes] | None = None
        self.shall_raise = False

    def on_book(self, record: MarketRecord) -> None:
        super().on_book(record)
        if self.shall_raise:
            raise RuntimeError("told to")

    def save_state(self) -> bytes:
        return str(self.books).encode()

    def load_state(self, version: int, state: bytes) -> None:
        self.loaded = (version, state)


def test_a_restarted_actor_gets_its_saved_state() -> None:
    run = Run({"keeping": Keeping})
    run.step(9)
    host = run.world.host(TRADE)
    host.save_states()
    keeping = run.actor("keeping")
    assert isinstance(keeping, Keeping)
    saved = keeping.books
    keeping.shall_raise = True
    run.step(40)
    reborn = run.actor("keeping")
    assert isinstance(reborn, Keeping)
    assert reborn is not keeping
    assert reborn.loaded == (1, str(saved).encode())
    assert reborn.starts == ["restart"]


def test_a_stop_leaves_no_order_and_a_closed_gateway() -> None:
    run = Run({"maker": MAKER}, gateway={"entry_latency": "2ms", "response_latency": "2ms"})
    run.step(50)
    assert run.gateway.oms.open_count
    gateway = run.gateway
    run.world.stop()
    assert gateway.oms.open_count == 0
    maker = run.world.host(TRADE).bindings[1].context
    assert maker.new_order(0, Side.BUY, 1, 1) is None


class Early(Everything):
    """Sends an order before on_start returned."""

    def on_start(self, *_: Any) -> None:
        self.context.new_order(0, Side.BUY, 1, 1)


def test_no_order_before_on_start_returned() -> None:
    run = Run({"early": Early, "maker": MAKER})
    run.step(20)
    assert "before on_start returned" in run.messages[0]["error"]
    assert run.gateway.oms.open_by_actor(3) == []
    assert run.gateway.oms.open_by_actor(4)


class Taker(Noting):
    """Buys once, immediate or cancel, then closes reduce-only when told."""

    def __init__(self, context: Context, settings: Mapping[str, Any]) -> None:
        super().__init__(context, settings)
        self.reports: list[ReportRecord] = []

    def on_report(self, report: ReportRecord) -> None:
        self.reports.append(report.copy())

    def take(self, side: Side, units: int, flags: int = 0) -> int | None:
        book = self.context.book(0)
        assert book is not None
        price = (book.asks if side == Side.BUY else book.bids)[-1][0]
        return self.context.new_order(0, side, price, units, time_in_force=2, flags=flags)


def test_reports_tell_the_whole_life_of_a_taker_order() -> None:
    run = Run({"taker": Taker})
    run.step(3)
    taker = run.actor("taker")
    assert isinstance(taker, Taker)
    order_id = taker.take(Side.BUY, 30)
    assert order_id is not None
    assert taker.context.working[order_id].leaves_units == 30
    run.world.settle()
    kinds = [r.kind for r in taker.reports]
    assert kinds[0] == ReportKind.NEW
    assert set(kinds[1:]) == {ReportKind.FILL}
    assert sum(r.last_units for r in taker.reports) == 30
    assert taker.context.working == {}
    position = taker.context.position(0)
    assert position is not None
    assert position.quantity_units == 30
    assert taker.take(Side.SELL, 50, OrderFlags.REDUCE_ONLY) is not None
    run.world.settle()
    assert taker.reports[-1].kind in (ReportKind.DENIED, ReportKind.CANCELED)


def rebirth(run: Run, spec_reason: StartReason = "restart") -> Host:
    """The trade worker dies without a word; its successor attaches to the same memory."""
    dead = run.world.host(TRADE)
    run.gateway.journal.close()  # in one process the dead one's lock must go
    spec = replace(dead.spec, incarnation=dead.spec.incarnation + 1, start_reason=spec_reason)
    for binding in dead.bindings:
        binding.is_stopped = True
        binding.deactivate()
        binding.context.cancel_timers()
    born = Host(spec, run.world.segments, run.world.clock, run.world.scheduler, run.world.clock.now_ns,
                run.make, has_bells=False)  # fmt: skip
    run.world.hosts = [h for h in run.world.hosts if h is not dead]
    run.world.hosts.append(born)
    run.world.run_coroutine(born.start())
    born.slot.incarnation = spec.incarnation
    run.world.settle()
    return born


def test_a_dead_trade_worker_is_recovered_from_its_journal(tmp_path: Path) -> None:
    run = Run(
        {"maker": MAKER},
        state_dir=str(tmp_path),
        gateway={"entry_latency": "1ms", "response_latency": "1ms"},
    )
    run.step(120)
    before = run.gateway
    held = {i: row.position.quantity_units for i, row in before.exposures}
    fees = {i: row.position.fees_e8 for i, row in before.exposures}
    resting = {o.root_client_order_id for o in before.oms.open_orders()}
    assert resting
    born = rebirth(run)
    after = run.gateway
    assert after is not before
    assert after.recovered.disagreements == []
    assert {i: row.position.quantity_units for i, row in after.exposures if i in held} == held
    assert {i: row.position.fees_e8 for i, row in after.exposures if i in fees} == fees
    assert born.metrics.counters()["gateway.recovered_orders"] == len(resting)
    run.step(15)  # the heartbeat cancels what the dead incarnation left
    left = {o.root_client_order_id for o in after.oms.open_orders()}
    assert not left & resting
    assert born.metrics.counters()["gateway.orphans_canceled"] + len(before.oms.open_orders()) >= 0
    run.step(100)
    assert after.oms.open_count
    ids = [e.payload[64:72] for e in read_journal(tmp_path / f"journal-{TRADE}", 7) if e.kind == 2]
    assert ids
    assert len(after.oms.open_by_actor(3)) <= 4


def test_intents_journaled_before_the_death_are_not_carried_out_twice(tmp_path: Path) -> None:
    run = Run({"maker": MAKER}, state_dir=str(tmp_path))
    run.step(60)
    consumed = run.world.host(TRADE).spsc(f"intents.{TRADE}.{TRADE}", SegmentKind.INTENT_RING).position
    born = rebirth(run)
    gateway = run.gateway
    assert gateway.recovered.consumed[TRADE] == consumed
    run.step(60)
    entries = [e for e in read_journal(tmp_path / f"journal-{TRADE}", 7) if e.kind == 2]
    sequences = [int.from_bytes(e.payload[256:264], "little") for e in entries]
    assert sequences == sorted(set(sequences))
    assert born.metrics.counters()["gateway.skipped"] == 0
