"""The queue of one price, written out: market slices and our orders in a list, front first.

Trades eat from the front. When less is displayed than stands here, market quantity leaves from the tail (the
risk-averse assumption); when more, it joins at the tail. Slow and obvious; the twin of
`exec.simulator.queue_position`.
"""

from __future__ import annotations


class NaiveQueue:
    """One side and price: entries are ["market", quantity] or [order name, leaves]."""

    def __init__(self, displayed: int) -> None:
        self.entries: list[list[object]] = [["market", displayed]]

    def join(self, name: str, leaves: int) -> None:
        """One of our orders arrives at the tail."""
        self.entries.append([name, leaves])

    def displayed(self) -> int:
        """All market quantity, which is what the venue displays."""
        return sum(int(q) for who, q in self.entries if who == "market")  # type: ignore[call-overload]

    def show(self, displayed: int) -> None:
        """The displayed quantity is now this."""
        market = self.displayed()
        if displayed >= market:
            self.entries.append(["market", displayed - market])
            return
        gone = market - displayed
        for entry in reversed(self.entries):
            if entry[0] == "market":
                part = min(gone, int(entry[1]))  # type: ignore[call-overload]
                entry[1] = int(entry[1]) - part  # type: ignore[call-overload]
                gone -= part

    def trade(self, quantity: int) -> dict[str, int]:
        """A trade at the price; returns what each of our orders filled."""
        fills: dict[str, int] = {}
        for entry in self.entries:
            part = min(quantity, int(entry[1]))  # type: ignore[call-overload]
            entry[1] = int(entry[1]) - part  # type: ignore[call-overload]
            quantity -= part
            if entry[0] != "market" and part:
                fills[str(entry[0])] = part
        return fills

    def ahead(self, name: str) -> int:
        """Market quantity in front of one of our orders."""
        total = 0
        for who, quantity in self.entries:
            if who == name:
                return total
            if who == "market":
                total += int(quantity)  # type: ignore[call-overload]
        raise KeyError(name)
