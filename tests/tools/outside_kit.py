"""A run that nobody runs: its segments made as the supervisor makes them, its clock and processes ours."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from actors.runtime.segments import SegmentMaker, Sizes, create_segments, plan_segments
from actors.runtime.spec import FeedRef, WorkerSpec
from shm.control import Control
from shm.enums import WorkerState
from shm.instruments import Instrument
from shm.segment import AnonymousSegments, RunName, Segment
from tools.outside.rates import Rates
from tools.outside.view import RunView
from tools.outside.workers import Machine, WorkerRow, read_workers

HOUSEKEEPING, FEED, TRADE = 1, 2, 3
HEARTBEAT_NS = 100_000_000
SECOND_NS = 1_000_000_000
NAMES = {HOUSEKEEPING: "housekeeping", FEED: "feed", TRADE: "trade"}
SMALL = Sizes(instruments=4, depth=8, streams=3, market_ring=8, order_ring=4, request_ring=4, blob_ring=4)


def specs() -> list[WorkerSpec]:
    shared: dict[str, Any] = {
        "feeds": [FeedRef(FEED, [1])],
        "gateways": [TRADE],
        "strategies": [TRADE],
        "reference_slot": HOUSEKEEPING,
        "instrument_capacity": SMALL.instruments,
    }
    return [WorkerSpec(slot=slot, name=name, role=name, **shared) for slot, name in NAMES.items()]


def make_segments(maker: SegmentMaker, epoch: int = 1) -> dict[str, Segment]:
    """Every segment of a small run, with its workers RUNNING."""
    made = create_segments(maker, plan_segments(specs(), SMALL, epoch=epoch))
    control = Control.attach(made["control"].payload)
    for slot, name in NAMES.items():
        view = control.slot(slot)
        view.role, view.state, view.pid, view.heartbeat_ns = name, WorkerState.RUNNING, 1000 + slot, SECOND_NS
    return made


class NamedMaker:
    """Makes named segments under /dev/shm and removes them at the end."""

    def __init__(self, run: RunName) -> None:
        self.run = run
        self.made: list[Segment] = []

    def create(self, short: str, kind: int, payload_bytes: int) -> Segment:
        segment = Segment.create(self.run, short, kind, payload_bytes)  # type: ignore[arg-type]
        self.made.append(segment)
        return segment

    def remove(self) -> None:
        for segment in self.made:
            segment.unlink()
            segment.close()


class FakeRun:
    """Segments, clock and processes of a run; move `now_ns` to let time pass."""

    def __init__(self, segments: AnonymousSegments | None = None) -> None:
        self.anonymous = AnonymousSegments() if segments is None else segments
        self.segments = make_segments(self.anonymous)
        self.now_ns = SECOND_NS
        self.cpu: dict[int, int] = {}
        self.dead: set[int] = set()
        self.machine = Machine(
            now_ns=lambda: self.now_ns,
            cpu_ns=self.cpu.get,
            exists=lambda pid: pid not in self.dead,
        )
        self.rates = Rates()
        self.view = RunView(self.anonymous, lambda: sorted(self.segments))
        self.control = Control.attach(self.segments["control"].payload)

    def payload(self, short: str) -> memoryview:
        return self.segments[short].payload

    def workers(self) -> dict[int, WorkerRow]:
        return read_workers(self.view.control, HEARTBEAT_NS, self.rates, self.machine)

    def beat(self, slots: Iterable[int] = NAMES) -> None:
        for slot in slots:
            self.control.slot(slot).heartbeat_ns = self.now_ns


def instrument(symbol: str, canonical: str = "", **fields: object) -> Instrument:
    values: dict[str, object] = {
        "venue_id": 1,
        "price_exponent": 2,
        "quantity_exponent": 3,
        "slab": FEED,
        "symbol": symbol,
        "canonical": canonical or f"{symbol[:-4]}-USDT-PERP",
    }
    return Instrument(**{**values, **fields})  # type: ignore[arg-type]
