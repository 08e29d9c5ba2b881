"""The sentinel: a process of its own session that cancels everything when the engine can not.

It holds its own connections to every venue account, keeps the venues' dead-man timers from running out only
while the engine is well, and acts when the engine hangs, is gone, or the halt word says HALTED: the word is
raised first, so that an engine that wakes up finds its gate closed; then everything that rests is canceled,
manual orders included, until the venue says that nothing is left; then positions are closed if so configured.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import orjson

from actors.runtime import spec as names
from actors.runtime.link import Link
from actors.runtime.settings import read_settings
from actors.runtime.spec import WorkerSpec
from actors.venue_account import VenueAccount
from engine.dead_man import DeadMan
from engine.halts import note, raise_state
from engine.sentinel_watch import EngineWatch, WatchLimits
from engine.venue_client import VenueClient, make_ids
from engine.withdrawing import Outcome, describe, withdraw
from exec.client_ids import tag_of
from exec.order import make_client_order_id
from exec.venue_sessions import TableDirectory
from feeds.venues import VENUE_ID
from shm.clock import now_ns, utc_ns
from shm.control import Control
from shm.enums import Reason, SegmentKind, TradingState
from shm.errors import AuditError
from shm.instruments import InstrumentTable
from shm.metrics import Metrics
from shm.positions import PositionTable
from shm.rate_ledger import RateLedger
from shm.segment import SegmentSource

TICK_S: Final = 0.02
LOCK_LOOK_S: Final = 0.02
START_S: Final = 3.0
DISARM_S: Final = 1.0
GUARD_LOOK_S: Final = 0.25
CLOCK_NS: Final = 30_000_000_000
FAULT_SENTINEL: Final = 2300
LOCK_NAME: Final = "sentinel.lock"
NOTE_NAME: Final = "sentinel.json"


@dataclass(frozen=True, slots=True)
class SentinelSettings:
    """Settings of the sentinel.

    Args:
        accounts: objects {"account": `VenueAccount`, "rest_url": text, "is_simulated": bool}.
        stall_ns, restart_ns, supervisor_ns: see `WatchLimits`.
        dead_man_s: of the venues' timers, 0 = they are not used.
        flatten: close positions, too.
        outlive_s: how long it stays behind an engine that ended badly, at most.
    """

    accounts: list[dict[str, Any]] = field(default_factory=list)
    stall_ns: int = 500_000_000
    restart_ns: int = 5_000_000_000
    supervisor_ns: int = 10_000_000_000
    dead_man_s: float = 30.0
    flatten: bool = False
    outlive_s: float = 10.0


class Sentinel:
    """The process from its spec to its exit code.

    Args:
        spec: its descriptors are inherited.
        segments: opens the run's segments.
    """

    def __init__(self, spec: WorkerSpec, segments: SegmentSource) -> None:
        self._spec = spec
        self._settings = read_settings(SentinelSettings, spec.sentinel, "sentinel")
        self._open = {
            short: segments.open(short, kind)
            for short, kind in (
                (names.control_name(), SegmentKind.CONTROL),
                (names.instruments_name(), SegmentKind.INSTRUMENTS),
                (names.rates_name(), SegmentKind.RATES),
                (names.metrics_name(spec.slot), SegmentKind.METRICS),
                *((names.positions_name(g), SegmentKind.POSITIONS) for g in spec.gateways),
            )
        }
        self.control = Control.attach(self._payload(names.control_name()))
        self._slot = self.control.slot(spec.slot)
        self._metrics = Metrics.attach(self._payload(names.metrics_name(spec.slot)))
        self._instruments = InstrumentTable.attach(self._payload(names.instruments_name()))
        self._positions = [
            PositionTable.attach(self._payload(names.positions_name(g)), spec.instrument_capacity)
            for g in spec.gateways
        ]
        limits = WatchLimits(self._settings.stall_ns, self._settings.restart_ns, self._settings.supervisor_ns)
        self._watch = EngineWatch(self.control, spec.gateways, limits)
        self._take_id = make_ids(make_client_order_id(spec.epoch, spec.slot, spec.incarnation, 0))
        self._clients: list[VenueClient] = []
        self._simulated: set[str] = set()
        self._dead_men: list[DeadMan] = []
        self._link: Link
        self._supervisor_gone_ns = 0
        self._leaves = False
        self._acted_on: tuple[str, int] | None = None
        self._acting: asyncio.Task[None] | None = None
        self._withdrawals = self._metrics.counter("sentinel.withdrawals")
        self._orders = self._metrics.counter("sentinel.orders_canceled")
        self._timers_set = self._metrics.counter("sentinel.timers_set")

    def _payload(self, short: str) -> memoryview:
        return self._open[short].payload

    # ---- life -----------------------------------------------------------------------------------

    async def run(self) -> int:
        """Stand by until nobody needs it; returns the exit code."""
        loop = asyncio.get_running_loop()
        self._link = Link(loop, self._spec.link_fd, self._on_message, lambda: None)
        if self._spec.supervisor_pidfd >= 0:
            loop.add_reader(self._spec.supervisor_pidfd, self._on_supervisor_gone)
        self._beat()
        lock = await self._lock()
        self._make_clients()
        await self._meet_venues()
        self._write_note()
        self._slot.generation = self._spec.generation
        self._beat()
        self._link.send({
            "op": "ready", "slot": self._spec.slot, "incarnation": self._spec.incarnation,
            "generation": self._spec.generation, "machine": self._spec.machine.facts,
        })  # fmt: skip
        try:
            await self._stand_by()
        finally:
            for dead_man in self._dead_men:
                await dead_man.close()
            for client in self._clients:
                await client.close()
            os.close(lock)
        return 0

    def _beat(self) -> None:
        self._slot.heartbeat_ns = now_ns()

    async def _lock(self) -> int:
        """One sentinel an instance: that of a run that ended badly may still be canceling."""
        fd = os.open(Path(self._spec.state_dir) / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return fd
            except BlockingIOError:
                self._beat()
                await asyncio.sleep(LOCK_LOOK_S)

    def _make_clients(self) -> None:
        ledger = RateLedger.attach(self._payload(names.rates_name()))
        directory = TableDirectory(self._instruments)
        for row in self._settings.accounts:
            account = read_settings(VenueAccount, row["account"], "sentinel.accounts")
            rates = account.make_rates(ledger, utc_ns)
            tag = tag_of(self._spec.instance)
            client = VenueClient(account, row["rest_url"], tag=tag, directory=directory, rates=rates)
            self._clients.append(client)
            if row["is_simulated"]:
                self._simulated.add(account.name)
            if self._settings.dead_man_s:
                self._dead_men.append(
                    DeadMan(client, self._settings.dead_man_s, self._tell, self._timers_set.inc)
                )

    async def _meet_venues(self) -> None:
        """Connect and measure clocks; a venue that does not answer is told and met later."""
        with suppress(TimeoutError):
            async with asyncio.timeout(START_S):
                await asyncio.gather(*(client.sync_time() for client in self._clients))
        for client in self._clients:
            if not client.requests or client.failures:
                self._tell(f"{client.name}: no answer at the start: {client.error}")

    def _write_note(self) -> None:
        """Leave what `ringlane halt` needs to act without us: addresses, and where the keys are."""
        path = Path(self._spec.state_dir) / NOTE_NAME
        temporary = path.with_suffix(".new")
        temporary.write_bytes(orjson.dumps({"instance": self._spec.instance, **self._spec.sentinel}))
        temporary.chmod(0o600)
        os.replace(temporary, path)

    async def _stand_by(self) -> None:
        clock_due = now_ns() + CLOCK_NS
        syncing: asyncio.Task[Any] | None = None
        while True:
            now = now_ns()
            self._beat()
            self._watch.look(now)
            if self._acting is not None and self._acting.done():
                self._acting.result()
                self._acting = None
            if self._acting is None and self._is_over(now):
                break
            cause = self._cause(now)
            if cause and self._acting is None:
                self._act_once(cause)
            if not cause and self._watch.is_well(now):
                self._keep_venues_waiting(now)
            elif cause:
                for dead_man in self._dead_men:
                    dead_man.let_go()
            if now > clock_due:
                clock_due = now + CLOCK_NS
                syncing = asyncio.ensure_future(self._sync_clocks())
            await asyncio.sleep(TICK_S)
        if syncing is not None:
            syncing.cancel()
        if self._leaves and self._supervisor_gone_ns == 0:
            await self._disarm()
            self._link.send({"op": "stopped", "phase": "exit"})

    async def _sync_clocks(self) -> None:
        await asyncio.gather(*(client.sync_time() for client in self._clients))

    # ---- the supervisor -------------------------------------------------------------------------

    def _on_message(self, message: Mapping[str, Any]) -> None:
        op = message.get("op")
        if op == "generation":
            self._slot.generation = int(message["number"])
            self._link.send({"op": "generation", "number": message["number"]})
        elif op == "stop":
            self._leaves = True

    def _on_supervisor_gone(self) -> None:
        asyncio.get_running_loop().remove_reader(self._spec.supervisor_pidfd)  # a pidfd stays readable
        self._link.close()
        self._supervisor_gone_ns = now_ns()

    def _is_over(self, now: int) -> bool:
        if self._supervisor_gone_ns:
            if not self._watch.has_traded:
                return True
            limit_ns = int(self._settings.outlive_s * 1e9)
            return self._acted_on == ("gone", 0) or now - self._supervisor_gone_ns > limit_ns
        return self._leaves and (self._has_acted() or self._is_clean())

    def _has_acted(self) -> bool:
        return self._acted_on is not None and self._acted_on[0] in ("stop", "halt")

    def _is_clean(self) -> bool:
        """Whether the ordered stop left nothing: every gateway ended so, and counts no open order."""
        return self._watch.has_stopped() and not self._resting()

    def _resting(self) -> dict[int, None]:
        """Instruments with working orders, by the gateways' own account."""
        found: dict[int, None] = {}
        for table in self._positions:
            for instrument_id in range(len(self._instruments)):
                held = table.load(instrument_id)
                if held is not None and (held.open_buy_units or held.open_sell_units):
                    found[instrument_id] = None
        return found

    # ---- acting ---------------------------------------------------------------------------------

    def _cause(self, now: int) -> str:
        gone = bool(self._supervisor_gone_ns)
        cause = self._watch.cause(now, supervisor_gone=gone)
        if not cause and self._leaves and not self._is_clean():
            cause = "the ordered stop left orders"
        return cause

    def _act_once(self, cause: str) -> None:
        """Begin to act, unless it was done for this very cause."""
        key = ("gone", 0) if self._supervisor_gone_ns else ("halt", self.control.halt_count)
        if self._leaves and not self._supervisor_gone_ns:
            key = ("stop", 0)
        if key == self._acted_on:
            return
        if not cause.startswith(TradingState.HALTED.name) and key[0] != "stop":
            self._halt(cause)
        self._acted_on = key if key[0] != "halt" else ("halt", self.control.halt_count)
        self._acting = asyncio.ensure_future(self._act(cause))

    def _halt(self, cause: str) -> None:
        """Close every gate first: an engine that wakes up must not trade on."""
        try:
            raise_state(
                self.control, self._spec.state_dir, TradingState.HALTED, Reason.SENTINEL, "sentinel", cause
            )
        except (OSError, AuditError) as error:
            self._tell(f"halted, but not audited: {error}")

    async def _act(self, cause: str) -> None:
        self._withdrawals.inc(1)
        self._tell(f"{cause}: canceling everything at {len(self._clients)} accounts")
        began, count = now_ns(), self.control.halt_count  # a halt that comes meanwhile is not done by this
        outcomes = await self._withdraw_all(self._settings.outlive_s)
        self._report(cause, outcomes, count)
        await self._guard(began, outcomes)

    async def _withdraw_all(self, limit_s: float) -> list[Outcome]:
        resting = self._resting()
        return list(
            await asyncio.gather(
                *(
                    withdraw(
                        client,
                        resting=self._of_account(client, resting),
                        flatten=self._settings.flatten,
                        take_id=self._take_id,
                        limit_s=limit_s,
                        gives_up=lambda client=client: self._gives_up(client),  # type: ignore[misc]
                    )
                    for client in self._clients
                )
            )
        )

    def _gives_up(self, client: VenueClient) -> bool:
        """A simulated venue ends with its engine, and what rested there with it."""
        return bool(self._supervisor_gone_ns) and client.name in self._simulated

    def _of_account(self, client: VenueClient, resting: Mapping[int, None]) -> list[int]:
        venues = {VENUE_ID[name] for name in client.account.venues}
        return [i for i in resting if self._instruments.get(i).venue_id in venues]

    def _report(self, cause: str, outcomes: list[Outcome], count: int) -> None:
        self._orders.inc(sum(outcome.orders for outcome in outcomes))
        self._tell(describe(outcomes))
        accounts = [outcome.facts() for outcome in outcomes]
        try:
            note(
                self._spec.state_dir, "withdrawn", "sentinel", cause,
                epoch=self._spec.epoch, count=count, accounts=accounts,
            )  # fmt: skip
        except (OSError, AuditError) as error:
            self._tell(f"withdrawn, but not audited: {error}")

    async def _guard(self, began: int, outcomes: list[Outcome]) -> None:
        """Until no request from before can be valid any more, cancel what still arrives."""
        gone = {outcome.account for outcome in outcomes if outcome.is_gone}
        life_s = max((client.protocol.request_life_s for client in self._clients), default=0.0)
        until = began + int(life_s * 1e9)
        clients = [client for client in self._clients if client.name not in gone]
        while clients and now_ns() < until and not (self._leaves and self._is_clean()):
            await asyncio.sleep(min(GUARD_LOOK_S, max(until - now_ns(), 0) / 1e9))
            for client in clients:
                if await client.open_orders():
                    self._tell(describe([await withdraw(client, limit_s=self._settings.outlive_s)]))

    # ---- the venues' timers ---------------------------------------------------------------------

    def _keep_venues_waiting(self, now: int) -> None:
        for dead_man in self._dead_men:
            dead_man.hold()
        if any(dead_man.is_due(now) for dead_man in self._dead_men):
            resting = self._resting()
            for dead_man in self._dead_men:
                ids = self._of_account(dead_man.client, resting)
                dead_man.keep(now, {self._instruments.get(i).symbol for i in ids})

    async def _disarm(self) -> None:
        """An ordered stop: what rests now was placed by hand, and no timer of ours shall take it."""
        with suppress(TimeoutError):
            async with asyncio.timeout(DISARM_S):
                await asyncio.gather(*(dead_man.disarm() for dead_man in self._dead_men))

    def _tell(self, text: str) -> None:
        self._metrics.fault(FAULT_SENTINEL, text, utc_ns())
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime())
        sys.stderr.write(f"{stamp}Z {text}\n")
        sys.stderr.flush()
        self._link.send({"op": "sentinel", "text": text})


def run_sentinel(spec: WorkerSpec, segments: SegmentSource) -> int:
    """Be the sentinel of a run until it may go; returns the exit code.

    Args:
        spec: with the settings in `sentinel`; signals are ignored already (`engine.child`).
        segments: opens the run's segments.
    """
    # A session of its own: what ends the engine's terminal or process group does not end this.
    with suppress(PermissionError):
        os.setsid()
    return asyncio.run(Sentinel(spec, segments).run())
