"""What the asks of OKX and Bybit have in common: fields of an order, and what cancels and amends do."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from tools.venues.trading.terms import AccountEvent, Refusal, VenueOrder, What, Why

if TYPE_CHECKING:
    from tools.venues.trading.desk import VenueTrading

#: What one order of a job does when it arrives (ns of the simulation): an order, a refusal or an error.
Item = Callable[[int], object]
Arg = dict[str, object]
Find = Callable[[], VenueOrder | None]


def fails(error: Exception) -> Item:
    """The item of an order that is wrong in itself: its answer is the error."""
    return lambda _now_ns: error


def text_of(arg: Arg, name: str, wrong: Callable[[str], Exception]) -> str:
    """A text field, "" when absent or null; raises what `wrong` makes of its name when it is no text."""
    value = arg.get(name)
    if value is None or value == "":
        return ""
    if not isinstance(value, str):
        raise wrong(name)
    return value


def cancel_item(trading: VenueTrading, find: Find) -> Item:
    """Cancel what `find` finds, which may raise at once what is wrong with the request.

    The order is looked for when the cancel arrives: it may be on its way before it.
    """
    find()

    def item(now_ns: int) -> object:
        order = find()
        return Refusal(Why.UNKNOWN_ORDER) if order is None else trading.desk.exchange.cancel(order, now_ns)

    return item


def amend(trading: VenueTrading, order: VenueOrder, price_units: int, units: int, now_ns: int) -> object:
    """Amend an order, 0 = as it was; the same terms again are told like any other amendment."""
    price, quantity = price_units or order.price_units, units or order.units
    result = trading.desk.exchange.amend(order, price, quantity, now_ns)
    if isinstance(result, Refusal) and result.why is Why.UNCHANGED:
        trading.on_event(AccountEvent(What.AMENDED, order.account, order, None, order.updated_ms))
        return order
    return result
