"""The failover drill: the worker with the gateway is killed under load, again and again, and takes up again.

Measured at the venue itself: from the SIGKILL to the first order of the worker's next incarnation. Counted
behind an ordered stop: client order ids used twice, orders of one side that the other does not know, fills,
positions and what rests.
"""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from random import Random
from statistics import median
from typing import Any, Final

import psutil

from engine.errors import ControlError, EngineError
from exec.client_ids import decode, tag_of
from exec.entries import read_sent
from exec.venues import PROTOCOL_OF
from profiles.machine import machine_facts
from shm.enums import IntentKind, JournalKind, ReportKind
from shm.instruments import Instrument
from shm.journal_reader import read_journal
from shm.records import ReportRecord
from tools.attach import ask, find_run
from tools.sentinel_drill import ENGINE, UP_S, DrillVenue

#: What the row of requirements asks for: updates a second of the market, and the time.
RATE: Final = 2_000.0
LIMIT_MS: Final = 500.0
BACK_S: Final = 30.0
LOOK_S: Final = 0.05
#: Between two kills, so that each meets an engine that trades: at least, and up to so much more.
PAUSE_S: Final = (1.0, 1.0)
GATEWAY: Final = "order_gateway"
_INCARNATION_SHIFT, _INCARNATION_MASK, _SLOT_SHIFT, _SLOT_MASK = 32, 0xFF, 40, 0x3F

HEAD: Final = """
name = "{instance}"
[engine]
restart_intensity = 1000000
[run]
seed = {seed}
[orders]
mode = "venue"
standby = {standby}
[sentinel]
stall_ms = 10_000
restart_s = 20.0
[risk]
max_order_notional = 50_000
max_position_notional = 250_000
max_exposure = 5_000_000
orders_per_s = 10
burst = 8
max_open_orders = 8
"""


@dataclass(slots=True)
class Books:
    """What the journal of a run proves, to be held against the venues' books."""

    sent: dict[int, set[int]] = field(default_factory=dict)
    fills: set[tuple[str, int]] = field(default_factory=set)
    positions: dict[str, Decimal] = field(default_factory=dict)


def read_books(directory: Path) -> Books:
    """Read every entry of a gateway's journal."""
    books = Books()
    rows: dict[int, Instrument] = {}
    for entry in read_journal(directory):
        if entry.kind == JournalKind.INSTRUMENT:
            row = Instrument.from_bytes(entry.payload)
            rows[row.instrument_id] = row
        elif entry.kind == JournalKind.SENT:
            command = read_sent(entry.payload)
            if command.kind == IntentKind.NEW:
                books.sent.setdefault(command.instrument_id, set()).add(command.client_order_id)
        elif entry.kind == JournalKind.REPORT:
            report = ReportRecord.from_bytes(entry.payload)
            if report.kind != ReportKind.FILL:
                continue
            row = rows[report.instrument_id]
            books.fills.add((row.symbol, report.trade_id))
            units = report.last_units if report.side == 1 else -report.last_units
            moved = Decimal(units).scaleb(-row.quantity_exponent)
            books.positions[row.symbol] = books.positions.get(row.symbol, Decimal(0)) + moved
    return books


class FailoverDrill:
    """One engine at one venue whose trading worker is killed.

    Args:
        venue: where it trades.
        folder: of configuration, state and output.
        standby: whether a second process stands by.
        seed: decides the moments.
    """

    def __init__(self, venue: DrillVenue, folder: Path, *, standby: bool, seed: int) -> None:
        self.venue = venue
        self.folder = folder
        self.standby = standby
        self.instance = f"drill-{os.getpid()}-{'warm' if standby else 'cold'}"
        self.log = folder / "engine.log"
        self.random = Random(seed)  # noqa: S311 (moments of a drill)
        self._seed = seed
        self.kills: list[tuple[int, int]] = []  # when (wall clock, ms), and the incarnation that is to come

    @contextmanager
    def engine(self) -> Iterator[subprocess.Popen[bytes]]:
        """The engine's process; nothing of it is left in the end."""
        config = self.folder / "drill.toml"
        head = HEAD.format(instance=self.instance, seed=self._seed, standby=str(self.standby).lower())
        config.write_text(head + self.venue.toml())
        with self.log.open("wb") as out:
            process = subprocess.Popen(
                [*ENGINE, "run", str(config), "--state", str(self.folder / "state"),
                 "--report", str(self.folder / "out")],
                env=os.environ | self.venue.environment(), stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                start_new_session=True,
            )  # fmt: skip
        family: list[psutil.Process] = []
        try:
            self.wait(
                lambda: process.poll() is not None or self.status().get("phase") == "running",
                UP_S,
                "the engine is up",
            )
            if process.poll() is not None:
                raise EngineError(f"the engine ended:\n{self.log.read_text(errors='replace')[-2_000:]}")
            yield process
        finally:
            if process.poll() is None:
                parent = psutil.Process(process.pid)
                family = [parent, *parent.children(recursive=True)]
                for one in family:
                    one.kill()
            process.wait()
            psutil.wait_procs(family, timeout=10)

    def status(self) -> dict[str, Any]:
        """What the engine says of itself, {} while it does not."""
        try:
            return dict(ask(find_run(self.instance, self.folder / "state"), "status", 5.0))
        except (ControlError, OSError):
            return {}

    def wait(self, condition: Any, limit_s: float, what: str) -> Any:
        """Look until it is true.

        Raises:
            EngineError: not within the limit; has the end of the engine's output.
        """
        give_up = time.monotonic() + limit_s
        while not (found := condition()):
            if time.monotonic() > give_up:
                tail = self.log.read_text(errors="replace")[-2_000:]
                raise EngineError(f"not in {limit_s:g} s: {what}; its output ends:\n{tail}")
            time.sleep(LOOK_S)
        return found

    def trader(self) -> dict[str, Any]:
        """The row of the worker that hosts the gateway."""
        rows = self.status().get("workers", [])
        return next((row for row in rows if any(a["role"] == GATEWAY for a in row["actors"])), {})

    def _is_ready(self, incarnation: int) -> dict[str, Any] | None:
        """The trader once this incarnation runs, its accounts are up and, if asked for, another stands by."""
        status = self.status()
        row: dict[str, Any] = next(
            (r for r in status.get("workers", []) if any(a["role"] == GATEWAY for a in r["actors"])), {}
        )
        if row.get("incarnation") != incarnation or row.get("state") != "RUNNING":
            return None
        notes = status.get("notes", {}).get("accounts", {})
        states = {state for note in notes.values() for state in note["states"].values()}
        stands = {one["worker"] for one in status.get("standbys", []) if one["state"] == "following"}
        return row if states == {"UP"} and (not self.standby or row["name"] in stands) else None

    def kill(self, incarnation: int) -> int:
        """SIGKILL the trader at a random moment; returns its next incarnation."""
        row = self.wait(lambda: self._is_ready(incarnation), BACK_S, f"incarnation {incarnation} trades")
        time.sleep(self.random.uniform(PAUSE_S[0], sum(PAUSE_S)))
        self.kills.append((time.time_ns() // 1_000_000, incarnation + 1))
        os.kill(row["pid"], signal.SIGKILL)
        return incarnation + 1

    def journal(self, slot: int) -> Path:
        """Folder of the gateway's journal."""
        return self.folder / "state" / self.instance / f"journal-{slot}"

    def back_ms(self, orders: Sequence[dict[str, Any]], slot: int) -> list[float]:
        """For each kill, ms until the venue had the first order of the next incarnation."""
        tag, first = tag_of(self.instance), dict[int, int]()
        for row in orders:
            client_id = decode(row["client_id"], tag)
            if client_id >> _SLOT_SHIFT & _SLOT_MASK == slot:
                incarnation = client_id >> _INCARNATION_SHIFT & _INCARNATION_MASK
                first[incarnation] = min(first.get(incarnation, row["created_ms"]), row["created_ms"])
        lost = [n for _, n in self.kills if n & _INCARNATION_MASK not in first]
        if lost:
            raise EngineError(f"incarnations {lost} placed no order")
        return [float(first[n & _INCARNATION_MASK] - at_ms) for at_ms, n in self.kills]

    def play(self, rounds: int) -> dict[str, Any]:
        """Kill `rounds` times, stop in order, and hold both books against each other.

        Raises:
            EngineError: the engine did not come up, trade, or stop.
        """
        with self.engine() as process:
            self.wait(self.trader, UP_S, "a gateway")
            slot, incarnation = self.trader()["slot"], 1
            for _ in range(rounds):
                incarnation = self.kill(incarnation)
            self.wait(lambda: self._is_ready(incarnation), BACK_S, f"incarnation {incarnation} trades")
            time.sleep(PAUSE_S[0])
            promoted = sum("by its standby" in line for line in self.status().get("events", []))
            process.terminate()
            if process.wait(timeout=UP_S):
                raise EngineError(f"the engine did not stop in order:\n{self.log.read_text()[-2_000:]}")
        orders = list(self.venue.ask("/sim/orders"))
        return {
            "standby": self.standby,
            "kills": rounds,
            "promotions": promoted,
            "quoting_ms": self.back_ms(orders, slot),
            **self._compare(orders, slot),
        }

    def _compare(self, orders: Sequence[dict[str, Any]], slot: int) -> dict[str, int]:
        tag, books = tag_of(self.instance), read_books(self.journal(slot))
        theirs = [decode(row["client_id"], tag) for row in orders]
        sent = set().union(*books.sent.values())
        traded = {(row["symbol"].rpartition("/")[2], row["trade_id"]) for row in self.venue.ask("/sim/fills")}
        held = {
            row["symbol"].rpartition("/")[2]: Decimal(row["position"])
            for row in self.venue.ask("/sim/positions")
        }
        ours = {symbol: units for symbol, units in books.positions.items() if units}
        return {
            "orders": len(orders),
            "duplicate_ids": int(self.venue.ask("/sim/statistics")["duplicates_seen"])
            + len(theirs) - len(set(theirs)),
            "unknown_to_us": len([one for one in theirs if one not in sent]),
            "fills_lost": len(traded - books.fills),
            "fills_invented": len(books.fills - traded),
            "positions_differ": int(ours != {symbol: units for symbol, units in held.items() if units}),
            "resting": sum(row["is_open"] for row in orders),
        }  # fmt: skip


#: What must be zero.
WRONGS: Final = (
    "duplicate_ids", "unknown_to_us", "fills_lost", "fills_invented", "positions_differ", "resting",
)  # fmt: skip


def run_failover(
    name: str, kills: int, *, rate: float = RATE, seed: int = 1, which: Sequence[bool] = (False, True)
) -> dict[str, Any]:
    """Play it without a standby and with one.

    Args:
        name: of the simulated venue.
        kills: in each run.
        rate: events a second of the market.
        seed: decides the moments.
        which: of the two to play.

    Raises:
        EngineError: venue or engine do not come up or end.
    """
    if name not in PROTOCOL_OF:
        raise EngineError(f"no such venue: {name}; there are: {', '.join(PROTOCOL_OF)}")
    results = []
    for standby in which:
        with ExitStack() as stack, tempfile.TemporaryDirectory(prefix="ringlane-drill-") as folder:
            venue = DrillVenue(name, stack, rate, ("--limits", "100"))
            results.append(FailoverDrill(venue, Path(folder), standby=standby, seed=seed).play(kills))
    warm = [row for row in results if row["standby"]]
    return {
        "drill": "failover",
        "machine": machine_facts(),
        "venue": name,
        "rate_per_s": rate,
        "limit_ms": LIMIT_MS,
        "results": results,
        "is_whole": not any(row[what] for row in results for what in WRONGS),
        "is_quick": all(median(row["quoting_ms"]) <= LIMIT_MS for row in warm),
    }
