"""The orders of the slippage bench: one after the other at fixed times, whatever became of the one before."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from actors.errors import SettingsError
from actors.execution import Execution
from actors.runtime.context import Context
from actors.runtime.settings import read_settings
from actors.strategies.base import Strategy, quantity_of
from exec.slippage import Style
from exec.style_switch import StyleSwitch
from shm.enums import Side
from shm.records import MarketRecord, ReportRecord

STYLES = ("switch", "aggressive", "passive")


@dataclass(frozen=True, slots=True)
class ParentOrderSettings:
    """Settings of the orders.

    Args:
        style: "switch", or always the same.
        interval_ns: between two orders of an instrument; buys and sells in turn.
        offset_ns: of the first order.
        patience_ns: of passive ones, shorter than the interval: orders of ours never meet.
        notional: decimal amount of the quote currency.
    """

    venue: str | None = None
    instruments: str | list[str] = "all"
    style: str = "switch"
    interval_ns: int = 1_000_000_000
    offset_ns: int = 0
    patience_ns: int = 700_000_000
    notional: str = "500"

    def __post_init__(self) -> None:
        if self.style not in STYLES:
            raise SettingsError(f"style {self.style!r} is not one of {', '.join(STYLES)}")
        if not 0 < self.patience_ns < self.interval_ns or self.offset_ns < 0:
            raise SettingsError("patience must be positive and below the interval, the offset not negative")


class ParentOrders(Strategy):
    """The actor; see the module."""

    role: ClassVar[str] = "parent_orders"

    def __init__(self, context: Context, settings: Mapping[str, Any]) -> None:
        super().__init__(context, settings)
        self.config = read_settings(ParentOrderSettings, settings, self.role)
        fixed = None if self.config.style == "switch" else Style[self.config.style.upper()]
        self.execution = Execution(context, StyleSwitch(fixed=fixed), patience_ns=self.config.patience_ns)
        self._numbers: dict[int, int] = {}

    @classmethod
    def check_settings(cls, settings: Mapping[str, Any]) -> None:
        """Raise SettingsError for what ParentOrderSettings does not allow."""
        read_settings(ParentOrderSettings, settings, cls.role)

    def on_start(self, *_: Any) -> None:
        """Begin with the first order's time."""
        self.context.call_later(self.config.offset_ns, self._begin)

    def _begin(self) -> None:
        self.context.call_every(self.config.interval_ns, self._order_all)

    def on_book(self, record: MarketRecord) -> None:
        """Books are looked at when an order is due."""

    def _order_all(self) -> None:
        for instrument_id in self.instruments:
            self._order(instrument_id)

    def _order(self, instrument_id: int) -> None:
        book = self.context.book(instrument_id)
        if book is None or not book.bids:
            return
        # The number goes up whether or not the order goes out: every style decides at the same moments.
        number = self._numbers[instrument_id] = self._numbers.get(instrument_id, 0) + 1
        units = quantity_of(self.instruments[instrument_id], "", self.config.notional, book.bids[0][0])
        self.execution.work(instrument_id, Side.BUY if number % 2 else Side.SELL, units)

    def on_report(self, report: ReportRecord) -> None:
        """Reports are the execution's."""
        self.execution.on_report(report)

    def on_stop(self) -> None:
        """Tell what was measured."""
        self.execution.tell()
