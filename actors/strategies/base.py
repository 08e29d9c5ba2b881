"""What strategies share: which instruments they trade, and money to quantity."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from actors.errors import ActorError, SettingsError
from actors.runtime.actor import Actor
from actors.runtime.context import Context
from feeds.names import fits, is_pattern
from feeds.venues import get_adapter
from shm.enums import InstrumentStatus
from shm.errors import UnitsError
from shm.instruments import Instrument
from shm.units import floor_to_step, parse_units


def choose_instruments(context: Context, venue: str | None, wanted: str | Sequence[str]) -> list[Instrument]:
    """The instruments a strategy's settings mean.

    Args:
        context: gives the instrument table.
        venue: adapter name that limits the choice, None = all venues.
        wanted: "all", or canonical names or venue symbols, or patterns of them (`*-USDT-PERP`), which may
            mean nothing yet.

    Raises:
        ActorError: a name that no or several instruments have, or nothing to trade.
    """
    venue_id = None if venue is None else get_adapter(venue).venue_id
    rows = [
        row
        for row in context.instruments
        if row.status != InstrumentStatus.RETIRED and venue_id in (None, row.venue_id)
    ]
    if wanted == "all":
        if not rows:
            raise ActorError(
                f"actor {context.name}: the instrument table is empty (is the reference actor up?)"
            )
        return rows
    chosen: dict[int, Instrument] = {}
    for name in wanted:
        found = [row for row in rows if fits(row, [name])]
        if len(found) != 1 and not is_pattern(name):
            what = "unknown instrument" if not found else "several instruments are called"
            raise ActorError(f"actor {context.name}: {what} {name!r}")
        chosen.update((row.instrument_id, row) for row in found)
    return list(chosen.values())


def quantity_of(instrument: Instrument, quantity: str, notional: str, price_units: int) -> int:
    """Order quantity in units: a fixed one, or what a notional buys, on the lot grid and within bounds.

    Args:
        instrument: what is traded.
        quantity: decimal quantity in the venue's unit; "" = by notional.
        notional: decimal amount of the quote currency.
        price_units: price to value at, positive.

    Raises:
        SettingsError: not a decimal number, or finer than the instrument.
    """
    try:
        if quantity:
            units = parse_units(quantity, instrument.quantity_exponent)
        else:
            money_e8 = parse_units(notional, 8)
            scale = 10 ** (instrument.quantity_exponent + instrument.multiplier_exponent)
            if instrument.is_inverse:
                units = money_e8 * scale // (instrument.multiplier * 10**8)
            else:
                scale *= 10**instrument.price_exponent
                units = money_e8 * scale // (price_units * instrument.multiplier * 10**8)
    except UnitsError as error:
        raise SettingsError(f"{instrument.symbol}: order quantity: {error}") from error
    lot = max(instrument.lot_size, 1)
    units = max(floor_to_step(units, lot), lot, instrument.min_quantity_units)
    if instrument.max_quantity_units:
        units = min(units, instrument.max_quantity_units)
    return units


class Strategy(Actor):
    """Base of strategies: `instruments` is filled before the first handler runs.

    An instrument that the venue lists later, or lists again with other terms, joins `instruments` when
    "all", a pattern or a name in the settings means it; `on_listed` is where a strategy prepares for it. One
    that ends stays: its book says so (a STATUS record, DESYNC).
    """

    def __init__(self, context: Context, settings: Mapping[str, Any]) -> None:
        super().__init__(context, settings)
        self.instruments: dict[int, Instrument] = {}

    def venue(self) -> str | None:
        """Adapter name the choice of instruments is limited to."""
        venue = self.settings.get("venue")
        return None if venue is None else str(venue)

    def wanted(self) -> str | Sequence[str]:
        """Names or patterns of the instruments to trade, or "all"."""
        wanted: str | Sequence[str] = self.settings.get("instruments", "all")
        return wanted

    def subscriptions(self) -> Sequence[int]:
        """Ids of the chosen instruments."""
        rows = choose_instruments(self.context, self.venue(), self.wanted())
        self.instruments = {row.instrument_id: row for row in rows}
        return list(self.instruments)

    def follows(self, instrument: Instrument) -> bool:
        """Whether the settings mean an instrument that is new."""
        venue, wanted = self.venue(), self.wanted()
        if venue is not None and get_adapter(venue).venue_id != instrument.venue_id:
            return False
        return wanted == "all" or fits(instrument, wanted)

    def on_listed(self, instrument: Instrument) -> None:
        """Trade it from now on."""
        self.instruments[instrument.instrument_id] = instrument
