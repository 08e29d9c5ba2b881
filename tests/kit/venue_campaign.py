"""Kill campaigns on an engine that trades at simulated venues, and what must hold against their own books."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

from exec.client_ids import decode, encode, tag_of
from exec.discrepancy import DiscrepancyKind, Repair
from exec.entries import read_discrepancy
from feeds.venues import venue_name
from shm.enums import JournalKind, OrderStatus, Reason, ReportKind, Side
from shm.instruments import Instrument
from shm.journal_reader import read_journal
from shm.records import ReportRecord
from tests.kit.account import REFUSALS, journal_folder
from tests.kit.campaign import session_of, session_processes
from tests.kit.engine_run import COMMAND, PATIENCE_S, PATIENT, ROOT, EngineRun, until
from tests.kit.trading_venue import TradingVenue

VENUES = ("binance_usdm", "okx", "bybit_linear")
SYMBOLS = {
    "binance_usdm": ["BTCUSDT", "ETHUSDT", "SYM000USDT"],
    "okx": ["BTC-USDT-SWAP", "ETH-USDT-SWAP"],
    "bybit_linear": ["BTCUSDT", "ETHUSDT", "SOLUSDT"],
}
INSTRUMENTS = {"binance_usdm": 3, "okx": 4, "bybit_linear": 3}
EPOCH_SHIFT, EPOCH_MASK = 46, (1 << 18) - 1  # where a client order id says its epoch (`exec.order`)
LOOK_S = 0.1

HEAD = """
name = "{name}"
[engine]
placement = "spread"
{patient}
[run]
seed = {seed}
[risk]
max_order_notional = 100_000
max_position_notional = 1_000_000
max_exposure = 10_000_000
orders_per_s = 5_000
burst = 1_000
max_open_orders = 200
max_intent_age_ms = 2_000
max_silence_ms = 10_000
[orders]
mode = "venue"
[sentinel]
stall_ms = 20_000
restart_s = 60.0
supervisor_s = 60.0
"""
STRATEGY = """
[[strategies]]
name = "{name}"
kind = "tests.kit.brawler:Brawling"
venue = "{venue}"
[strategies.settings]
hold = "{hold}"
pace_ms = {pace}
"""


class Resting(NamedTuple):
    """An open order, as either side states it."""

    venue: str
    symbol: str
    side: str
    price: Decimal
    quantity: Decimal
    filled: Decimal


class Traded(NamedTuple):
    """One fill, as either side states it."""

    venue: str
    symbol: str
    side: str
    price: Decimal
    quantity: Decimal
    is_maker: bool


def symbol_of(key: str) -> str:
    """A venue's own symbol of the name its books use."""
    return key.rpartition("/")[2]


@dataclass
class Ours:
    """What the journal of one epoch proves, read by nothing of the engine but its decoders."""

    instruments: dict[int, Instrument] = field(default_factory=dict)
    root: dict[int, int] = field(default_factory=dict)
    open: dict[int, ReportRecord] = field(default_factory=dict)
    status: dict[int, int] = field(default_factory=dict)
    unknown: set[int] = field(default_factory=set)
    fills: dict[int, list[Traded]] = field(default_factory=dict)
    trades: Counter[tuple[int, int]] = field(default_factory=Counter)
    rejected: dict[int, int] = field(default_factory=dict)
    kinds: Counter[str] = field(default_factory=Counter)
    positions: dict[tuple[str, str], Decimal] = field(default_factory=dict)
    found: Counter[str] = field(default_factory=Counter)
    drifts: int = 0
    ordered: set[int] = field(default_factory=set)  # instruments that had an order at the venue
    reasons: Counter[str] = field(default_factory=Counter)
    entries: int = 0

    def amount(self, report: ReportRecord, units: int, exponent: str = "quantity_exponent") -> Decimal:
        return Decimal(units).scaleb(-getattr(self.instruments[report.instrument_id], exponent))

    def place(self, instrument_id: int) -> tuple[str, str]:
        row = self.instruments[instrument_id]
        return venue_name(row.venue_id), row.symbol

    def move(self, instrument_id: int, side: int, units: int) -> None:
        place = self.place(instrument_id)
        amount = Decimal(units).scaleb(-self.instruments[instrument_id].quantity_exponent)
        self.positions[place] = self.positions.get(place, Decimal(0)) + (
            amount if side == Side.BUY else -amount
        )

    def take(self, report: ReportRecord) -> None:
        kind = ReportKind(report.kind)
        self.kinds[kind.name] += 1
        if report.reason:
            self.reasons[f"{kind.name} {Reason(report.reason).name}"] += 1
        if kind == ReportKind.REPLACED:
            self.root[report.client_order_id] = self.root.get(
                report.orig_client_order_id, report.orig_client_order_id
            )
        root = self.root.get(report.client_order_id, report.client_order_id)
        if kind == ReportKind.FILL:
            self.trades[report.instrument_id, report.trade_id] += 1
            traded = Traded(
                *self.place(report.instrument_id),
                Side(report.side).name.lower(),
                self.amount(report, report.last_price_units, "price_exponent"),
                self.amount(report, report.last_units),
                report.liquidity == 1,
            )
            self.fills.setdefault(root, []).append(traded)
            self.move(report.instrument_id, report.side, report.last_units)
        if kind in REFUSALS or not report.order_units:
            return
        self.status[root] = report.order_status
        if kind == ReportKind.REJECTED:
            self.rejected[root] = report.reason
        else:
            self.ordered.add(report.instrument_id)
        if report.leaves_units:
            self.open[root] = report
            (self.unknown.add if report.order_status == OrderStatus.UNKNOWN else self.unknown.discard)(root)
        else:
            self.open.pop(root, None)
            self.unknown.discard(root)

    def resting(self) -> dict[int, Resting]:
        return {
            root: Resting(
                *self.place(report.instrument_id),
                Side(report.side).name.lower(),
                self.amount(report, report.price_units, "price_exponent"),
                self.amount(report, report.order_units),
                self.amount(report, report.filled_units),
            )
            for root, report in self.open.items()
        }


def read_ours(run: EngineRun, epoch: int) -> Ours:
    """What the journal of an epoch says up to now."""
    ours = Ours()
    reader = read_journal(journal_folder(run), epoch)
    for entry in reader:
        ours.entries += 1
        if entry.kind == JournalKind.INSTRUMENT:
            row = Instrument.from_bytes(entry.payload)
            ours.instruments[row.instrument_id] = row
        elif entry.kind == JournalKind.REPORT:
            ours.take(ReportRecord.from_bytes(entry.payload))
        elif entry.kind == JournalKind.DISCREPANCY:
            found = read_discrepancy(entry.payload)
            ours.found[f"{DiscrepancyKind(found.kind).name} → {Repair(found.repair).name}"] += 1
            if found.repair == Repair.BOOK_DRIFT:
                ours.drifts += found.instrument_id in ours.ordered
                ours.move(found.instrument_id, found.side, found.units)
    assert reader.torn == [], f"epoch {epoch}: {reader.torn}"
    return ours


ADDED_UP = (
    "kills", "cuts", "comparisons", "found", "reports", "reasons", "drifts_within", "safe_after_kill_ms",
    "safe_after_start_ms", "safe_after_supervisor_ms", "hit_before_safe",
)  # fmt: skip


@dataclass
class Tally:
    """What a campaign adds up to."""

    kills: Counter[str] = field(default_factory=Counter)
    cuts: Counter[str] = field(default_factory=Counter)
    comparisons: int = 0
    found: Counter[str] = field(default_factory=Counter)
    reports: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    drifts_within: int = 0
    safe_after_kill_ms: list[float] = field(default_factory=list)
    safe_after_start_ms: list[float] = field(default_factory=list)
    safe_after_supervisor_ms: list[float] = field(default_factory=list)
    hit_before_safe: int = 0
    venues: dict[str, dict[str, int]] = field(default_factory=dict)

    @property
    def killed(self) -> int:
        return self.kills.total()

    def add(self, other: Tally) -> None:
        """Take in another campaign's."""
        for name in ADDED_UP:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for venue, numbers in other.venues.items():
            total = Counter(self.venues.get(venue, {}))
            total.update(numbers)
            self.venues[venue] = dict(total)

    def text(self) -> str:
        """Numbers for people."""

        def share(values: list[float]) -> str:
            if not values:
                return "none"
            ordered = sorted(values)
            p50, p99 = (ordered[min(len(ordered) - 1, int(len(ordered) * q))] for q in (0.5, 0.99))
            return f"p50 {p50:.0f} ms, p99 {p99:.0f} ms, max {ordered[-1]:.0f} ms of {len(ordered)}"

        hit = f"({self.hit_before_safe} hit again before that)"
        lines = [
            f"kills {self.killed}: {dict(self.kills)}; cuts {dict(self.cuts)}",
            f"comparisons with the venues' books: {self.comparisons}",
            f"SIGKILL of the gateway to safe to quote: {share(self.safe_after_kill_ms)} {hit}",
            f"  of that, from the gateway's own start: {share(self.safe_after_start_ms)}",
            f"start of a new run behind a killed supervisor to safe: {share(self.safe_after_supervisor_ms)}",
            f"venues: {self.venues}",
            f"reports: {dict(self.reports)}",
            f"reasons: {dict(self.reasons)}",
            f"discrepancies: {dict(self.found) or 'none'}",
            f"drifts booked behind an instrument's first order of an epoch: {self.drifts_within}",
        ]
        return "\n".join(lines)


class VenueCampaign:
    """One engine and its venues; processes are killed, lines cut, and books compared.

    Args:
        folder: temporary folder.
        seed: decides victims and moments.
        environment: `monkeypatch.setenv`, or anything like it.
        venues: names of the venues to trade at.
        pace_ms: of the strategies.
        rate: events a second of each market.
        options: further ones of each venue.
    """

    def __init__(
        self,
        folder: Path,
        seed: int,
        environment: Any = os.environ.__setitem__,
        venues: Sequence[str] = VENUES,
        pace_ms: int = 80,
        rate: float = 150.0,
        options: Sequence[str] = (),
    ) -> None:
        self.random = random.Random(seed)
        self.seed = seed
        self.folder = folder
        self.hold = folder / "hold"
        self.name = f"vk{os.getpid()}-{seed & 0xFFFF}"
        self.tag = tag_of(self.name)
        self.tally = Tally()
        self.epochs: list[int] = []
        self.run: EngineRun | None = None
        self.is_forgotten = False  # a venue has lost its memory: its list of fills is not whole
        self.venues: list[TradingVenue] = []
        try:
            for name in venues:
                arguments = (
                    "--instruments",
                    str(INSTRUMENTS[name]),
                    "--rate",
                    f"{rate:g}",
                    "--seed",
                    str(seed & 0xFFFF),
                )
                venue = TradingVenue(name, *arguments, *options)
                self.venues.append(venue)
                for key, value in venue.environment().items():
                    environment(key, value)
            self.text = self._config(seed, pace_ms)
            self._start()
        except BaseException:
            self.close()
            raise

    def _config(self, seed: int, pace_ms: int) -> str:
        parts = [HEAD.format(name=self.name, patient=PATIENT, seed=seed & 0xFFFF)]
        parts += [venue.section(SYMBOLS[venue.name]) for venue in self.venues]
        parts += [
            STRATEGY.format(name=f"brawl-{v.name.split('_')[0]}", venue=v.name, hold=self.hold, pace=pace_ms)
            for v in self.venues
        ]
        return "".join(parts)

    def _start(self) -> None:
        self.run = EngineRun(self.folder, self.text, name=self.name)
        epoch = int(self.run.wait_running()["epoch"])
        assert not self.epochs or epoch > self.epochs[-1], "a new run has a new epoch"
        self.epochs.append(epoch)

    @property
    def engine(self) -> EngineRun:
        assert self.run is not None
        return self.run

    def poll(self, condition: Any, what: str, timeout_s: float = PATIENCE_S) -> Any:
        """Wait for a condition; looks seldom, because each look costs the machine what the engine needs."""
        give_up = time.monotonic() + timeout_s
        while True:
            value = condition()
            if value:
                return value
            assert self.engine.process.poll() is None, f"the engine ended:\n{self.engine.text()[-4000:]}"
            if time.monotonic() > give_up:
                raise AssertionError(
                    f"never in {timeout_s:g} s: {what}\n{getattr(condition, 'told', '')}\n{self.story()}"
                )
            time.sleep(LOOK_S)

    def story(self) -> str:
        """What there is to know when something went wrong."""
        events = "\n".join(self.engine.status().get("events", [])[-40:])
        return f"seed {self.seed}\n{self.tally.text()}\n{self.engine.text()[-3000:]}\n{events}"

    # ---- how it stands --------------------------------------------------------------------------

    def account(self) -> dict[str, Any]:
        """The gateway's own word about its accounts."""
        notes = self.engine.status().get("notes", {}).get("accounts", {})
        return dict(next(iter(notes.values()), {}))

    def wait_safe(self, after_ns: int = 0) -> dict[str, Any]:
        """Wait until the gateway that began after a moment may quote at every account."""

        def safe() -> dict[str, Any] | None:
            # A note outlives who gave it: that of a gateway that is gone says nothing of the one to come.
            life = self.workers().get("gateway", {}).get("incarnation", 0)
            now = safe.told = self.account()  # type: ignore[attr-defined]
            is_new = now.get("began_ns", 0) > after_ns and now.get("safe_ns", 0)
            is_its = now.get("incarnation", 0) == life
            return now if is_its and is_new and set(now["states"].values()) == {"UP"} else None

        found: dict[str, Any] = self.poll(safe, "every account is UP")
        return found

    def traded(self) -> int:
        return sum(venue.statistics()["orders"] for venue in self.venues)

    def wait_trading(self) -> None:
        """Wait until every venue takes orders again."""
        before = {venue.name: venue.statistics()["orders"] for venue in self.venues}
        self.poll(
            lambda: all(v.statistics()["orders"] > before[v.name] for v in self.venues),
            "orders at every venue",
        )

    # ---- what is done to it ---------------------------------------------------------------------

    def workers(self) -> dict[str, dict[str, Any]]:
        """Its rows by name; a supervisor that is too busy to answer in time is asked again."""
        rows = self.poll(lambda: self.engine.status().get("workers"), "the supervisor tells its workers")
        return {row["name"]: row for row in rows}

    def victim(self, rows: Iterable[str]) -> str:
        """The gateway every second time, else any."""
        names = sorted(rows)
        return "gateway" if self.random.random() < 0.5 else self.random.choice(names)

    def kill(self) -> None:
        """SIGKILL one worker, now and then two, at a random moment; mostly wait until it is safe again."""
        before = self.workers()
        names = {self.victim(before) for _ in range(2 if self.random.random() < 0.2 else 1)}
        time.sleep(self.random.uniform(0, 0.25))  # the random moment itself, not a synchronization
        hit, now = [], time.monotonic_ns()
        for name in sorted(names):
            pid = before[name]["pid"]
            with contextlib.suppress(ProcessLookupError):
                if session_of(pid) == self.engine.process.pid:
                    os.kill(pid, signal.SIGKILL)
                    hit.append(name)
        self.tally.kills.update(hit)
        if self.random.random() < 0.3:
            self.tally.hit_before_safe += "gateway" in hit
            return  # the next one hits while these come up
        self.poll(
            lambda: (
                (rows := self.workers())
                and all(rows[n]["incarnation"] > before[n]["incarnation"] for n in hit)
            ),
            f"{hit} come back",
        )
        if "gateway" in hit:
            account = self.wait_safe(now)
            self.tally.safe_after_kill_ms.append((account["safe_ns"] - now) / 1e6)
            self.tally.safe_after_start_ms.append((account["safe_ns"] - account["began_ns"]) / 1e6)
        else:
            self.wait_safe()

    def cut(self) -> None:
        """Have one venue cut connections, order and private ones among them."""
        venue = self.random.choice(self.venues)
        how = self.random.choice(("disconnect", "disconnect_storm", "ack_disconnect"))
        when = "now: " if how != "ack_disconnect" else "after 1 orders: "
        venue.faults(when + how)
        self.tally.cuts[f"{venue.name} {how}"] += 1

    def kill_supervisor(self) -> None:
        """SIGKILL the supervisor, half the time the gateway first; everybody leaves; then a new run."""
        rows = self.workers()
        if self.random.random() < 0.5 and "gateway" in rows:
            with contextlib.suppress(ProcessLookupError):
                os.kill(rows["gateway"]["pid"], signal.SIGKILL)
                self.tally.kills["gateway"] += 1
        self.engine.signal(signal.SIGKILL)
        self.engine.wait_ended()
        self.tally.kills["supervisor"] += 1
        session = self.engine.process.pid
        until(lambda: not session_processes(session), "workers follow their supervisor")
        self.add_up(self.epochs[-1])
        started_ns = time.monotonic_ns()
        self._start()
        account = self.wait_safe(started_ns)
        self.tally.safe_after_supervisor_ms.append((account["safe_ns"] - started_ns) / 1e6)

    # ---- what must hold -------------------------------------------------------------------------

    def theirs(self) -> dict[str, tuple[int, Resting]]:
        """Everything that rests at the venues, by client id."""
        found: dict[str, tuple[int, Resting]] = {}
        for venue in self.venues:
            for row in venue.orders(is_open=True):
                symbol, side = symbol_of(row["symbol"]), row["side"]
                numbers = (Decimal(row[name]) for name in ("price", "quantity", "filled"))
                resting = Resting(venue.name, symbol, side, *numbers)
                found[f"{venue.name}/{row['client_id']}"] = (decode(row["client_id"], self.tag), resting)
        return found

    def their_positions(self) -> dict[tuple[str, str], Decimal]:
        return {
            (venue.name, symbol_of(key)): quantity
            for venue in self.venues
            for key, quantity in venue.positions().items()
        }

    def differences(self) -> list[str]:
        """How our view and the venues' differ right now; while orders move they may, for a moment."""
        theirs, positions = self.theirs(), self.their_positions()
        fills = self.their_fills()
        ours = read_ours(self.engine, self.epochs[-1])
        mine, found = ours.resting(), []
        listed = set()
        for text, (root, resting) in theirs.items():
            listed.add(root)
            if root not in mine:
                found.append(f"orphan at the venue: {text} {resting}")
            elif mine[root] != resting:
                found.append(f"terms of {text}: ours {mine[root]}, theirs {resting}")
        found += [
            f"dropped by the venue: {root:#x} {row}" for root, row in mine.items() if root not in listed
        ]
        found += [f"still UNKNOWN: {root:#x}" for root in ours.unknown]
        held = {place: quantity for place, quantity in ours.positions.items() if quantity}
        if held != positions:
            found.append(f"positions: ours {held}, theirs {positions}")
        for root in () if self.is_forgotten else fills.keys() | ours.fills.keys():
            here, there = sorted(ours.fills.get(root, [])), sorted(fills.get(root, []))
            if here != there and root >> EPOCH_SHIFT == self.epochs[-1] & EPOCH_MASK:
                found.append(f"fills of {encode(root, self.tag)}: ours {here}, theirs {there}")
        return found

    def compare(self) -> None:
        """Stop the strategies and wait until both views are equal; then check what must never happen."""
        self.hold.write_text("")
        self.wait_safe()

        def equal() -> bool:
            found = self.differences()
            equal.told = "\n".join(found)  # type: ignore[attr-defined]
            return not found

        self.poll(equal, "both views are equal")
        self.check_history()
        self.tally.comparisons += 1
        self.hold.unlink()

    def check_history(self) -> None:
        """No id twice, no accepted order rejected here, no fill booked twice."""
        ours = read_ours(self.engine, self.epochs[-1])
        for venue in self.venues:
            twice = venue.statistics()["duplicates"]
            assert not any(twice.values()), f"{venue.name} accepted an id twice: {twice} (seed {self.seed})"
            for row in venue.orders():
                root = decode(row["client_id"], self.tag)
                assert root not in ours.rejected or row["status"].lower() == "rejected", (
                    f"{venue.name} had accepted {row}, and it was REJECTED here: {ours.rejected[root]} "
                    f"(seed {self.seed})"
                )
        again = [trade for trade, count in ours.trades.items() if count > 1]
        assert not again, f"fills booked twice: {again} (seed {self.seed})"

    def their_fills(self) -> dict[int, list[Traded]]:
        """Every fill of an order of the newest epoch, by the id the venue knows the order by."""
        found: dict[int, list[Traded]] = {}
        epoch = self.epochs[-1] & EPOCH_MASK
        for venue in self.venues:
            fills = venue.fills()
            ids = {row["order_id"]: decode(row["client_id"], self.tag) for row in venue.orders()}
            for row in fills:
                root = ids.get(row["order_id"], 0)
                if root >> EPOCH_SHIFT == epoch:
                    price, quantity = Decimal(row["price"]), Decimal(row["quantity"])
                    place = (venue.name, symbol_of(row["symbol"]))
                    traded = Traded(*place, row["side"], price, quantity, row["is_maker"])
                    found.setdefault(root, []).append(traded)
        return found

    def add_up(self, epoch: int) -> None:
        ours = read_ours(self.engine, epoch)
        self.tally.found += ours.found
        self.tally.drifts_within += ours.drifts
        self.tally.reports += ours.kinds
        self.tally.reasons += ours.reasons

    def stop(self) -> None:
        """End in order: nothing rests anywhere, positions are the venues', every journal verifies."""
        self.compare()
        if self.random.random() < 0.3:
            # The stop finds nobody who knows the orders: a successor has to.
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.workers()["gateway"]["pid"], signal.SIGKILL)
                self.tally.kills["gateway"] += 1
        self.engine.signal(signal.SIGTERM)
        assert self.engine.wait_ended() == 0, self.engine.text()[-6000:]
        self.add_up(self.epochs[-1])
        assert self.theirs() == {}, f"orders rest after the end (seed {self.seed})"
        ours = read_ours(self.engine, self.epochs[-1])
        assert ours.open == {} and not ours.unknown, f"(seed {self.seed})"
        held = {place: quantity for place, quantity in ours.positions.items() if quantity}
        assert held == self.their_positions(), f"(seed {self.seed})"
        assert self.differences() == [], f"(seed {self.seed})"
        self.check_history()
        verified = subprocess.run(
            [*COMMAND, "journal", "verify", str(journal_folder(self.engine))],
            cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE_S,
        )  # fmt: skip
        assert verified.returncode == 0, verified.stdout + verified.stderr
        for venue in self.venues:
            numbers = venue.statistics()
            names = ("orders", "orders_refused", "fills", "duplicates_seen")
            self.tally.venues[venue.name] = {name: numbers[name] for name in names}

    def close(self) -> None:
        """End whatever is left, by id."""
        if self.run is not None:
            for pid in session_processes(self.run.process.pid):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self.run.process.wait(timeout=PATIENCE_S)
        for venue in self.venues:
            venue.close()
        for leftover in Path("/dev/shm").glob(f"ringlane.{self.name}.*"):
            leftover.unlink()
