"""The strategy of `ringlane bench orders`: it floods its gateway, or sends on time, and says what it saw.

An order is a post-only bid far below the market; once it is acknowledged it is canceled, and once it is
canceled it counts. So each order is two intents and two reports, nothing is ever filled, and any number of
them can be sent one after the other.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import orjson

from actors.runtime.context import Context
from actors.runtime.settings import read_settings
from actors.strategies.base import Strategy
from shm.enums import BookState, OrderFlags, ReportKind, Side
from shm.records import MarketRecord, ReportRecord
from tools.bench.floor import wait_until

FAR_TICKS = 100
WAKE_NS = 150_000
NOTIONAL = 20
PERCENTS = (50, 99, 99.9)
_LIVE = int(BookState.LIVE)
_NEW, _CANCELED = int(ReportKind.NEW), int(ReportKind.CANCELED)
_REFUSED = frozenset((int(ReportKind.DENIED), int(ReportKind.REJECTED)))


@dataclass(frozen=True, slots=True)
class FloodSettings:
    """Settings of the flood.

    Args:
        path: file the figures are written to.
        venue, instruments: what to trade; orders go to the first one.
        rate: orders a second, each counted from when it was due; 0 = as many as the gateway takes.
        window: orders under way at most, while no rate is given.
        warm: orders before the measured ones.
        count: measured orders.
        core: where this worker runs, -1 = where the engine has put it.
    """

    path: str
    venue: str = ""
    instruments: Any = "all"
    rate: int = 0
    window: int = 64
    warm: int = 500
    count: int = 10_000
    core: int = -1


@dataclass(slots=True)
class Times:
    """What each acknowledged order took, in ns, hop by hop."""

    due_to_report: list[int] = field(default_factory=list)
    decided_to_gated: list[int] = field(default_factory=list)
    gated_to_sent: list[int] = field(default_factory=list)
    decided_to_sent: list[int] = field(default_factory=list)
    sent_to_acknowledged: list[int] = field(default_factory=list)
    decided_to_acknowledged: list[int] = field(default_factory=list)
    reported_to_read: list[int] = field(default_factory=list)

    def add(self, due_ns: int, report: ReportRecord, now_ns: int) -> None:
        """Take an acknowledgment."""
        self.due_to_report.append(now_ns - due_ns)
        self.decided_to_gated.append(report.gate_ns - report.decide_ns)
        self.gated_to_sent.append(report.send_ns - report.gate_ns)
        self.decided_to_sent.append(report.send_ns - report.decide_ns)
        self.sent_to_acknowledged.append(report.ack_ns - report.send_ns)
        self.decided_to_acknowledged.append(report.ack_ns - report.decide_ns)
        self.reported_to_read.append(now_ns - report.report_ns)

    def figures(self) -> dict[str, dict[str, float]]:
        """Percentiles of each hop."""
        return {
            name: {
                f"p{percent:g}".replace(".", "_"): float(np.percentile(values, percent))
                for percent in PERCENTS
            }
            for name in self.__slots__
            if (values := getattr(self, name))
        }


def processor_s(pid: int) -> float:
    """Processor time a process has used, 0 of one that is gone."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return 0.0
    fields = stat.rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class OrderFlood(Strategy):
    """The actor; see the module."""

    role: ClassVar[str] = "order_flood"

    def __init__(self, context: Context, settings: Mapping[str, Any]) -> None:
        super().__init__(context, settings)
        self.config = read_settings(FloodSettings, settings, self.role)
        self.times = Times()
        self.refused: dict[int, int] = {}
        self._due: dict[int, int] = {}
        self._sent = self._done = self._acknowledged = 0
        self._under_way = 0
        self._first_ns = self._begin_ns = self._done_at_begin = 0
        self._processors: dict[str, float] = {}
        self._terms = (0, 0, 0)
        self._is_over = False

    # ---- sending --------------------------------------------------------------------------------

    def on_book(self, record: MarketRecord) -> None:
        """Keep the terms near the market; the first live book starts the flood."""
        if record.book_state != _LIVE or record.bid_price_units <= 0 or self._is_over:
            return
        row = self.instruments[record.instrument_id]
        price = record.bid_price_units - record.bid_price_units % row.tick_size - FAR_TICKS * row.tick_size
        scale = 10 ** (row.price_exponent + row.quantity_exponent)
        lots = -(-NOTIONAL * scale // (price * row.lot_size))
        units = max(lots * row.lot_size, row.min_quantity_units)
        if self._terms[0] and self._terms[0] != record.instrument_id:
            return
        is_first = not self._terms[1]
        self._terms = (record.instrument_id, price, units)
        if is_first:
            self._start()
        elif not self.config.rate:
            self._fill_window()

    def _start(self) -> None:
        config, context = self.config, self.context
        if config.core >= 0:
            # Engine placement on two cores puts strategies beside their gateway; this one is to load it.
            os.sched_setaffinity(0, {config.core})
        if not config.rate:
            self._fill_window()
            return
        self._first_ns = context.now_ns() + 10 * WAKE_NS
        context.call_at(self._first_ns - WAKE_NS, self._on_due)

    def _fill_window(self) -> None:
        while self._under_way < self.config.window and self._send(self.context.now_ns()):
            pass

    def _on_due(self) -> None:
        """Send the next one exactly on time; a late one is counted from its time all the same."""
        due_ns = self._first_ns + self._sent * 1_000_000_000 // self.config.rate
        wait_until(due_ns)
        while due_ns <= self.context.now_ns() and self._sent < self.config.warm + self.config.count:
            if not self._send(due_ns):
                break
            due_ns = self._first_ns + self._sent * 1_000_000_000 // self.config.rate
        if self._sent < self.config.warm + self.config.count:
            self.context.call_at(due_ns - WAKE_NS, self._on_due)

    def _send(self, due_ns: int) -> bool:
        config = self.config
        if config.rate and self._sent >= config.warm + config.count:
            return False
        instrument_id, price, units = self._terms
        order_id = self.context.new_order(instrument_id, Side.BUY, price, units, flags=OrderFlags.POST_ONLY)
        if order_id is None:
            return False
        self._due[order_id] = due_ns
        self._sent += 1
        self._under_way += 1
        return True

    # ---- reports --------------------------------------------------------------------------------

    def on_report(self, report: ReportRecord) -> None:
        """Cancel what was acknowledged, count what was canceled."""
        kind = report.kind
        if kind == _NEW:
            self._on_acknowledged(report)
        elif kind == _CANCELED:
            self._done += 1
            self._end_of(report)
        elif kind in _REFUSED:
            self.refused[report.reason] = self.refused.get(report.reason, 0) + 1
            self._end_of(report)

    def _on_acknowledged(self, report: ReportRecord) -> None:
        due_ns = self._due.get(report.client_order_id)
        if due_ns is None or self._is_over:
            return
        self._acknowledged += 1
        if self._acknowledged == self.config.warm:
            self._begin()
        elif self._acknowledged > self.config.warm:
            self.times.add(due_ns, report, self.context.now_ns())
        self.context.cancel(report.client_order_id)

    def _end_of(self, report: ReportRecord) -> None:
        if self._due.pop(report.client_order_id, None) is None:
            return
        self._under_way -= 1
        if self._is_over:
            return
        if self._done >= self.config.warm + self.config.count:
            self._finish()
        elif not self.config.rate:
            self._fill_window()
        elif not self._under_way and self._sent >= self.config.warm + self.config.count:
            self._finish()

    # ---- figures --------------------------------------------------------------------------------

    def _family(self) -> dict[str, float]:
        """Processor time of the gateway and of this worker."""
        host = self.context.host
        found = {"strategy": processor_s(os.getpid())}
        for gateway in host.spec.gateways:
            found["gateway"] = found.get("gateway", 0.0) + processor_s(host.control.slot(gateway).pid)
        return found

    def _begin(self) -> None:
        self._processors = self._family()
        self._begin_ns, self._done_at_begin = self.context.now_ns(), self._done

    def _finish(self) -> None:
        self._is_over = True
        seconds = max(self.context.now_ns() - self._begin_ns, 1) / 1e9
        now = self._family()
        document = {
            "orders": self._done - self._done_at_begin,
            "seconds": seconds,
            "refused": {str(reason): count for reason, count in self.refused.items()},
            "processors": {name: (now[name] - self._processors.get(name, 0.0)) / seconds for name in now},
            "times": self.times.figures(),
        }
        target = Path(self.config.path)
        part = target.with_suffix(".part")
        part.write_bytes(orjson.dumps(document))
        part.replace(target)
