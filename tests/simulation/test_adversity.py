"""What goes wrong around the gateway: silence, dead feeds, a full journal, bad strategies; virtual time."""

from __future__ import annotations

import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest

from actors.errors import ActorError, SettingsError
from actors.roles import role_class
from actors.runtime.actor import Actor
from actors.runtime.context import Context
from actors.runtime.settings import check_role_settings
from exec.report import counters_of
from shm.enums import BookState, IntentKind, JournalKind, Side, TradingState, WorkerState
from shm.errors import JournalFull
from shm.journal_reader import read_journal
from shm.records import IntentRecord, MarketRecord, ReportRecord
from tests.simulation.kit import FEED, MAKER, STEP_NS, TRADE, Run
from tests.simulation.test_engine import Everything, Noting, rebirth


class Ticking(Everything):
    """Bids far away every 5 ms by a timer, whatever the book says."""

    def on_start(self, *_: Any) -> None:
        self.context.call_every(5_000_000, self.bid)

    def bid(self) -> None:
        book = self.context.book(0)
        assert book is not None
        price = book.bids[-1][0]
        self.context.new_order(0, Side.BUY, price, 5)


def denied(run: Run) -> dict[str, int]:
    return {k.removeprefix("denied."): v for k, v in run.counters().items() if k.startswith("denied.") and v}


def silence(run: Run, steps: int) -> None:
    for _ in range(steps):
        run.world.advance(run.world.clock.virtual_ns + STEP_NS)
        run.world.settle()


def test_no_order_passes_on_a_stream_that_fell_silent() -> None:
    run = Run({"ticking": Ticking}, gateway={"limits": {"max_silence_ns": 300_000_000}})
    run.step(5)
    silence(run, 25)
    assert denied(run) == {}
    silence(run, 20)
    assert denied(run).keys() <= {"BOOK_SILENT", "BOOK_NOT_LIVE"}
    refused = sum(denied(run).values())
    assert refused >= 10
    sent = run.counters()["orders.new"]
    silence(run, 20)
    assert run.counters()["orders.new"] == sent
    assert sum(denied(run).values()) == refused + 40 == run.counters()["orders.denied"]


def test_no_order_passes_on_data_that_is_too_old_though_the_stream_lives() -> None:
    run = Run({"ticking": Ticking}, gateway={"limits": {"max_data_age_ns": 100_000_000}})
    run.step(5)
    second = list(run.markets)[1]
    for _ in range(30):
        silence(run, 1)
        run.feed.inject(run.markets[second].depth(), run.world.clock.virtual_ns)
    assert denied(run).keys() == {"BOOK_OLD"}


def test_a_dead_feed_is_told_to_strategies_and_refused_by_the_gate_until_its_books_are_proven_again() -> None:
    run = Run({"maker": MAKER, "ticking": Ticking, "noting": Noting})
    run.step(30)
    noting = run.actor("noting")
    assert isinstance(noting, Noting)
    slot = run.world.host(FEED).slot
    for state in (WorkerState.FAILED, WorkerState.STARTING, WorkerState.STALLED):
        slot.state = int(state)
        silence(run, 25)
        assert noting.states[-1] == BookState.STALE
        assert not run.gateway.oms.open_by_actor(3), "quotes rest on books that nobody publishes"
    assert denied(run).keys() == {"PUBLISHER_DEAD"}
    assert denied(run)["PUBLISHER_DEAD"] > 50
    slot.state = int(WorkerState.RUNNING)
    run.step(20)
    assert noting.states[-1] == BookState.LIVE
    assert run.gateway.oms.open_by_actor(3)


def test_certificates_of_another_life_or_epoch_do_not_pass() -> None:
    run = Run({"noting": Noting})
    run.step(5)
    now = run.world.clock.virtual_ns
    epoch, live_id, sequence = run.actor("noting").context.certificate(0)
    book = run.actor("noting").context.book(0)
    assert book is not None

    def verdict(cited: tuple[int, int, int], **fields: int) -> str:
        values = {
            "kind": IntentKind.NEW, "side": Side.BUY, "order_type": 1, "time_in_force": 1, "epoch": 7,
            "generation": 1, "client_order_id": 99, "price_units": book.bids[0][0], "quantity_units": 5,
            "decide_ns": now,
        } | fields  # fmt: skip
        intent = IntentRecord(**values)
        intent.add_certificate(0, *cited)
        return run.gateway.gate.check(intent, now).name

    assert verdict((epoch, live_id, sequence)) == "NONE"
    assert verdict((epoch + 1, live_id, sequence)) == "BOOK_EPOCH"
    assert verdict((epoch, live_id - 1, sequence)) == "BOOK_LIVE_ID"
    assert verdict((epoch, live_id, sequence), epoch=6) == "WRONG_EPOCH"
    # Decided just now, but on a record that others have followed for longer than an intent may be old.
    old = now - 100_000_001
    assert verdict((epoch, live_id, sequence - 3), publish_ns=old) == "INTENT_OLD"
    assert verdict((epoch, live_id, sequence - 3), publish_ns=old + 1) == "NONE"
    assert verdict((epoch, live_id, sequence), publish_ns=old) == "NONE"


def test_the_gate_has_a_verdict_for_any_bytes() -> None:
    run = Run({"maker": MAKER})
    run.step(20)
    chance = random.Random(5)
    real = [o.client_order_id for o in run.gateway.oms.open_orders()]
    for _ in range(3000):
        intent = IntentRecord.from_bytes(chance.randbytes(256))
        if chance.random() < 0.7:
            intent.kind = chance.randint(0, 6)
            intent.instrument_id = chance.choice([0, 1, 2, 0xFFFFFFFF])
            intent.side = chance.randint(0, 3)
            intent.epoch, intent.generation = 7, chance.choice([0, 1, 2])
            intent.orig_client_order_id = chance.choice([0, *real])
        if chance.random() < 0.5:
            intent.price_units, intent.quantity_units = chance.choice([0, 5_999_990]), chance.randint(-1, 9)
            intent.order_type, intent.time_in_force = chance.randint(0, 3), chance.randint(0, 4)
            intent.decide_ns, intent.flags = run.world.clock.virtual_ns, chance.choice([0, 1, 2, 0xFFFF])
        run.gateway.gate.check(intent, run.world.clock.virtual_ns)


def test_a_full_journal_denies_new_orders_and_lets_cancels_pass(tmp_path: Path) -> None:
    run = Run({"maker": MAKER}, state_dir=str(tmp_path))
    run.step(30)
    gateway = run.gateway
    whole = gateway.journal
    assert gateway.oms.open_count

    class Full:
        """A journal without room."""

        sequence = 0

        def append(self, kind: int, payload: bytes, now_ns: int) -> int:
            raise JournalFull("no room: 1 bytes needed, 0 free", tmp_path, 0)

        def prepare(self, ahead_bytes: int) -> None:
            raise JournalFull("no room: 1 bytes needed, 0 free", tmp_path, 0)

    gateway.journal = gateway.entries.journal = Full()  # type: ignore[assignment]
    silence(run, 11)
    sent = run.counters()["orders.new"]
    run.step(30)
    assert denied(run)["JOURNAL"] > 0
    assert run.counters()["orders.new"] == sent
    assert gateway.oms.open_count == 0, "what can not be journaled must not rest"
    texts = [m["text"] for m in run.messages if m["op"] == "journal"]
    assert len(texts) == 1
    assert "no room: 1 bytes needed" in texts[0]
    gateway.journal = gateway.entries.journal = whole
    run.step(150)  # a maker that was refused pauses for up to 1.3 s
    assert [m["text"] for m in run.messages if m["op"] == "journal"][1] == "has room again: new orders pass"
    assert gateway.oms.open_count


def test_counts_after_a_death_are_those_of_the_journal(tmp_path: Path) -> None:
    run = Run({"maker": MAKER, "ticking": Ticking}, state_dir=str(tmp_path))
    run.step(60)
    before = {k: v for k, v in run.counters().items() if k.startswith(("orders.", "fills", "denied."))}
    run.world.host(TRADE).metrics.counter("fills").set(1)  # died between journal and counter
    run.world.host(TRADE).metrics.counter("orders.new").inc(5)
    rebirth(run)
    reports: list[ReportRecord] = []

    def counted() -> dict[str, int]:
        reports[:] = [
            ReportRecord.from_bytes(e.payload)
            for e in read_journal(tmp_path / f"journal-{TRADE}", 7)
            if e.kind == JournalKind.REPORT
        ]
        total: dict[str, int] = {}
        for report in reports:
            for name in counters_of(report):
                total[name] = total.get(name, 0) + 1
        return total

    run.step(20)
    after = run.counters()
    assert {k: v for k, v in after.items() if k in before and v} == counted()
    assert all(after[k] >= before[k] for k in before)


def test_a_journal_of_its_own_epoch_is_refused_by_a_run_that_only_begins(tmp_path: Path) -> None:
    run = Run({"maker": MAKER}, state_dir=str(tmp_path))
    run.step(10)
    run.gateway.journal.close()
    with pytest.raises(ActorError, match="entries of epoch 7, which only begins"):
        Run({"maker": MAKER}, state_dir=str(tmp_path))


def test_reloads_give_no_new_burst() -> None:
    run = Run({"ticking": Ticking}, gateway={"limits": {"orders_per_s": 10, "burst": 5}})
    settings = {"limits": {"orders_per_s": 10, "burst": 5}}
    run.step(10)
    for generation in range(2, 12):
        run.world.host(TRADE).control.generation = generation
        run.world.host(TRADE).apply_generation(generation, {2: settings})
        run.step(10)
    # 1.1 s: the burst once, then ten a second.
    assert run.counters()["orders.new"] <= 5 + 11
    assert denied(run).keys() == {"ORDER_RATE"}


def test_halt_twice_and_a_restarted_worker_stays_halted(tmp_path: Path) -> None:
    run = Run({"maker": MAKER}, state_dir=str(tmp_path))
    run.step(30)
    host = run.world.host(TRADE)
    for _ in range(2):
        host.control.set_halt(TradingState.HALTED, 1)
        host.on_halt()
        run.step(5)
        assert run.gateway.oms.open_count == 0
    sent = run.counters()["orders.new"]
    rebirth(run)
    run.step(60)
    assert run.gateway.oms.open_count == 0
    assert run.counters()["orders.new"] == sent
    assert denied(run)["HALTED"] > 0


class Flood(Everything):
    """Fills the ring with orders, then wants to cancel."""

    def flood(self) -> tuple[int, int | None]:
        sent = 0
        while self.context.new_order(0, Side.BUY, 10, 5) is not None:
            sent += 1
        return sent, self.context.mass_cancel()


def test_a_flood_of_orders_leaves_room_for_cancels() -> None:
    run = Run({"flood": Flood})
    run.step(3)
    flood = run.actor("flood")
    assert isinstance(flood, Flood)
    sent, cancel = flood.flood()
    assert sent > 100
    assert cancel is not None
    assert run.counters()["intents.refused"] == 1


class Parallel(Everything):
    """An async scan of 100 ms; one of three raises at the end of its second."""

    spans: ClassVar[dict[str, list[tuple[int, int]]]] = {}

    def __init__(self, context: Context, settings: Mapping[str, Any]) -> None:
        super().__init__(context, settings)
        self.spans.setdefault(context.name, [])

    def subscriptions(self) -> list[int]:
        return [0]

    async def on_book(self, record: MarketRecord) -> None:
        begin = self.context.now_ns()
        await self.context.sleep(100_000_000)
        spans = self.spans[self.context.name]
        spans.append((begin, self.context.now_ns()))
        if self.context.name == "two" and len(spans) == 2:
            raise RuntimeError("second scan")


def test_three_scans_of_100_ms_run_side_by_side_and_one_that_raises_stops_no_other() -> None:
    Parallel.spans.clear()
    run = Run({"one": Parallel, "two": Parallel, "three": Parallel})
    run.step(60)
    one, two, three = (Parallel.spans[name] for name in ("one", "two", "three"))
    for a, b, c in zip(one[:2], two[:2], three[:2], strict=True):
        begin, end = min(a[0], b[0], c[0]), max(a[1], b[1], c[1])
        assert end - begin < 2 * 100_000_000, "one cycle is about 100 ms, not 300"
    assert len(one) == len(three) >= 5
    assert run.counters()["actor.errors"] == 1
    assert len(two) < len(one)
    assert len(two) > 2, "it came back"


class Ghost(Everything):
    """Waits in one handler and raises in another; after the wait it would send an order."""

    ghosts: ClassVar[int] = 0

    async def on_book(self, record: MarketRecord) -> None:
        await self.context.sleep(400_000_000)
        type(self).ghosts += 1
        self.context.new_order(0, Side.BUY, 10, 5)

    def on_trade(self, record: MarketRecord) -> None:
        raise RuntimeError("on purpose")


def test_a_suspended_actors_coroutines_end_with_it() -> None:
    Ghost.ghosts = 0
    run = Run({"ghost": Ghost})
    run.step(1, trades=False)
    run.step(1)
    assert run.counters()["actor.suspended"] == 1
    silence(run, 45)  # 450 ms: the old coroutine was due, that of its successor is not
    assert Ghost.ghosts == 0


class Picky(Actor):
    """Its check does not raise what it should."""

    @classmethod
    def check_settings(cls, settings: Mapping[str, Any]) -> None:
        raise KeyError("edge")


def test_whatever_a_users_class_or_module_raises_is_a_refusal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SettingsError, match=r"Picky\.check_settings: KeyError: 'edge'"):
        check_role_settings(Picky, {})
    (tmp_path / "broken_role.py").write_text("1 / 0\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ActorError, match="importing broken_role: ZeroDivisionError"):
        role_class("broken_role:Thing")
