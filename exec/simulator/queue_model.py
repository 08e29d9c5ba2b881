"""How a resting order advances in the queue of its price: the models to choose from, in exact integers.

Source: hftbacktest's published models (docs/order_fill.rst "Queue Models", hftbacktest/src/backtest/models/
queue.rs), after Rigtorp, "Estimating order queue position", 2013. Theirs are floating point; here a quotient
is rounded so that the order never stands further in front than the formula says.

- `no_queue`: nothing is ever ahead. An upper bound of what could have filled.
- `risk_averse`: only trades advance the order; cancels happen behind it. A lower bound.
- `probability`: a decrease of the displayed quantity that trades do not explain happens in front of the order
  with the probability 1 - p, where p follows from the quantities `front` and `back` of it:

  power:n    f(back) / (f(back) + f(front))    f(x) = x ** n
  power2:n   f(back) / f(back + front)         f(x) = x ** n
  power3:n   1 - f(front / (front + back))     f(x) = x ** n
  log        f(back) / (f(back) + f(front))    f(x) = log(1 + x), x in whole coins or contracts
  log2       f(back) / f(back + front)         f(x) = log(1 + x)

Ours in addition: of our own orders at one price the later never overtakes the earlier, and what changed while
the price was out of sight advances nobody (but no more can be ahead than is displayed then).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache

from exec.errors import SimulatorError
from exec.simulator.queue_position import RestingOrder, advance, join, shrink

POWER_MAX = 16
KINDS = "no_queue, risk_averse, probability or probability:SHAPE (power:N, power2:N, power3:N, log or log2)"
_LOG_BITS = 48
_MANTISSA_BITS = 128

#: (front, back, change, units of one whole coin or contract) → how much of a decrease happened in front.
Share = Callable[[int, int, int, int], int]


class QueueModel:
    """The risk-averse model, and the base of the others."""

    name = "risk_averse"

    def join(self, order: RestingOrder, displayed: int | None, whole_units: int) -> None:  # noqa: ARG002
        """Let an order stand at the end of the queue.

        Args:
            order: it begins to rest.
            displayed: quantity at its price, None = out of sight.
            whole_units: quantity units of one coin or contract.
        """
        order.ahead = join(displayed)

    def show(self, order: RestingOrder, displayed: int | None) -> None:
        """Take over what a book update displays at the order's price, None = out of sight."""
        order.ahead = shrink(order.ahead, displayed)

    def trade(self, orders: Sequence[RestingOrder], traded: int) -> list[int]:
        """Advance our orders at one price, in order of arrival, by a trade there; returns what each fills."""
        return advance(orders, traded)

    def take(self, order: RestingOrder, units: int) -> None:
        """Learn that an order of ours took so much from what is displayed at this one's price."""
        if order.ahead is not None:
            order.ahead = max(0, order.ahead - units)

    def keep_turns(self, orders: Sequence[RestingOrder]) -> None:  # noqa: B027
        """Keep the order of arrival among ours of one side, best price first; by trades alone it is kept."""


class NoQueue(QueueModel):
    """Nothing is ahead: each trade at the price is ours first."""

    name = "no_queue"

    def join(self, order: RestingOrder, displayed: int | None, whole_units: int) -> None:  # noqa: ARG002
        """Stand in front."""
        order.ahead = 0

    def show(self, order: RestingOrder, displayed: int | None) -> None:  # noqa: ARG002
        """Stay in front."""
        order.ahead = 0


class ProbabilityQueue(QueueModel):
    """Decreases that trades do not explain happen before and behind the order.

    Args:
        name: as it is written in a configuration.
        share: how much of a decrease happens in front, rounded down.
    """

    def __init__(self, name: str, share: Share) -> None:
        self.name = name
        self._share = share

    def join(self, order: RestingOrder, displayed: int | None, whole_units: int) -> None:
        """Stand behind what is displayed."""
        order.ahead = order.shown = displayed
        order.traded = 0
        order.whole_units = whole_units

    def show(self, order: RestingOrder, displayed: int | None) -> None:
        """Share out what left the price since the last update, beyond the trades seen meanwhile."""
        ahead, shown = order.ahead, order.shown
        if displayed is not None and ahead is not None and shown is not None:
            if displayed == shown:
                return
            change = shown - displayed - order.traded
            if change > 0 and ahead:
                ahead -= self._share(ahead, shown - ahead, change, order.whole_units)
            order.ahead = max(0, min(ahead, displayed))
        else:
            order.ahead = shrink(ahead, displayed)
        order.shown = displayed
        order.traded = 0

    def trade(self, orders: Sequence[RestingOrder], traded: int) -> list[int]:
        """As the base, and remember the trade: the next book shows it too."""
        for order in orders:
            order.traded += traded
        return advance(orders, traded)

    def take(self, order: RestingOrder, units: int) -> None:
        """As the base, and remember it like a trade."""
        order.traded += units
        super().take(order, units)

    def keep_turns(self, orders: Sequence[RestingOrder]) -> None:
        """What is ahead of an earlier order is ahead of a later one at its price."""
        before: RestingOrder | None = None
        for order in orders:
            if before is not None and before.price == order.price:
                if before.ahead is None or order.ahead is None:
                    continue
                order.ahead = max(order.ahead, before.ahead)
            before = order


def parse_queue_model(text: str) -> QueueModel:
    """Return the model a text describes.

    Raises:
        SimulatorError: it describes none; the message says what there is.
    """
    if text in ("", QueueModel.name):
        return QueueModel()
    if text == NoQueue.name:
        return NoQueue()
    kind, _, shape = text.partition(":")
    shape = shape or "power:1"
    if kind == "probability":
        name, _, number = shape.partition(":")
        if name in _POWERS and number.isascii() and number.isdigit() and 1 <= int(number) <= POWER_MAX:
            return ProbabilityQueue(text, _POWERS[name](int(number)))
        if shape in _LOGARITHMS:
            return ProbabilityQueue(text, _LOGARITHMS[shape])
    raise SimulatorError(f"queue model {text!r} is not known (N is 1 to {POWER_MAX}): {KINDS}")


# ---- shapes: the part of a decrease that happens in front, change * (1 - p), rounded down ---------------


def _power(n: int) -> Share:
    def share(front: int, back: int, change: int, _whole: int) -> int:
        in_front: int = front**n
        behind: int = back**n
        return change * in_front // (in_front + behind)

    return share


def _power2(n: int) -> Share:
    def share(front: int, back: int, change: int, _whole: int) -> int:
        whole: int = (front + back) ** n
        behind: int = back**n
        return change * (whole - behind) // whole

    return share


def _power3(n: int) -> Share:
    def share(front: int, back: int, change: int, _whole: int) -> int:
        part: int = change * front**n // (front + back) ** n
        return part

    return share


def _log(front: int, back: int, change: int, whole: int) -> int:
    in_front, behind = _log_least(front, whole), _log_most(back, whole)
    return change * in_front // (in_front + behind)


def _log2(front: int, back: int, change: int, whole: int) -> int:
    in_all, behind = _log_least(front + back, whole), _log_most(back, whole)
    return change * max(0, in_all - behind) // in_all if in_all else 0


_POWERS: dict[str, Callable[[int], Share]] = {"power": _power, "power2": _power2, "power3": _power3}
_LOGARITHMS: dict[str, Share] = {"log": _log, "log2": _log2}


def _log_least(units: int, whole: int) -> int:
    """A lower bound of log2(1 + units / whole) * 2**48, not negative."""
    return max(0, _log_floor(whole + units) - _log_floor(whole) - 1)


def _log_most(units: int, whole: int) -> int:
    """An upper bound of the same, positive."""
    return _log_floor(whole + units) + 1 - _log_floor(whole)


@lru_cache(maxsize=4096)
def _log_floor(number: int) -> int:
    """log2(number) * 2**48 rounded down, bit by bit: the same on every machine.

    Source: Knuth, The Art of Computer Programming 1, section 1.2.2: each squaring gives one bit.
    """
    length = number.bit_length() - 1
    mantissa = (number << _MANTISSA_BITS) >> length
    result = length
    for _ in range(_LOG_BITS):
        mantissa = mantissa * mantissa >> _MANTISSA_BITS
        carry = mantissa >> (_MANTISSA_BITS + 1)
        mantissa >>= carry
        result = result << 1 | carry
    return result
