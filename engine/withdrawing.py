"""Leaving a venue: cancel everything, see that nothing rests, make flat if told; for all who must do it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from engine.venue_client import VenueClient
from exec.order_protocol import Lane, OpenOrderWord, PositionWord
from exec.withdrawal import blind_cancels, cancels, closing_orders
from shm.clock import now_ns

FIRST_LOOK_S: Final = 0.01
LAST_LOOK_S: Final = 0.5
FLATTEN_LOOK_S: Final = 0.05
NAMED_MAX: Final = 5


@dataclass(slots=True)
class Outcome:
    """What was done at one account.

    Attributes:
        account: its name.
        is_empty: the venue said, after the cancels, that nothing rests.
        is_flat: no position is left; None = nobody asked.
        orders: how many orders rested; `foreign` of them not this instance's.
        took_ns: from the begin until the venue said so (or it was given up).
        rounds: how often what rests was asked.
        closed: positions that orders were sent for; `unknown`: symbols nobody can make an order for.
        error: the last thing that went wrong.
        is_gone: a simulated venue, which ended with its engine, and what rested there with it.
    """

    account: str
    is_empty: bool = False
    is_flat: bool | None = None
    orders: int = 0
    foreign: int = 0
    took_ns: int = 0
    rounds: int = 0
    closed: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    error: str = ""
    is_gone: bool = False

    def facts(self) -> dict[str, Any]:
        """For audit and people."""
        found: dict[str, Any] = {
            "account": self.account,
            "nothing_rests": self.is_empty,
            "orders": self.orders,
            "foreign": self.foreign,
            "took_ms": round(self.took_ns / 1e6, 1),
        }
        if self.is_flat is not None:
            found |= {"is_flat": self.is_flat, "closed": self.closed}
        if self.is_gone:
            found["is_gone"] = True
        if self.unknown:
            found["not_closed"] = self.unknown
        if self.error and not (self.is_empty and self.is_flat is not False):
            found["error"] = self.error
        return found


async def withdraw(
    client: VenueClient,
    *,
    resting: Sequence[int] = (),
    flatten: bool = False,
    take_id: Callable[[], int] | None = None,
    limit_s: float = 10.0,
    gives_up: Callable[[], bool] = lambda: False,
) -> Outcome:
    """Cancel everything an account has resting, its owner's manual orders included, until the venue has none.

    Args:
        client: of the account.
        resting: instruments known to have orders: canceled before the venue is asked.
        flatten: close positions by reduce-only market orders afterwards.
        take_id: client order ids for these.
        limit_s: how long it is tried.
        gives_up: asked when nobody listens at the venue: True = it is gone for good.
    """
    outcome = Outcome(client.name)
    began = now_ns()
    deadline = began + int(limit_s * 1e9)
    seen: set[str] = set()
    blind = blind_cancels(client.protocol, resting, client.take_id(len(resting) + 8), client.utc_ns())
    rows, _ = await asyncio.gather(client.open_orders(), client.ask_all(blind, Lane.CANCEL))
    pause = FIRST_LOOK_S
    while True:
        outcome.rounds += 1
        if rows is not None:
            _count(outcome, rows, seen)
            if not rows and (outcome.rounds > 1 or not blind):
                outcome.is_empty = True
                break
        elif client.is_unreachable and gives_up():
            outcome.is_gone = True
            break
        if now_ns() > deadline:
            break
        if rows:
            made = cancels(client.protocol, rows, client.take_id(len(rows) + 8), client.utc_ns())
            await client.ask_all(made, Lane.CANCEL)
        if outcome.rounds > 1 or rows is None:
            await asyncio.sleep(pause)
            pause = min(pause * 2, LAST_LOOK_S)
        rows = await client.open_orders()
    outcome.took_ns = now_ns() - began
    outcome.error = client.error
    if flatten and take_id is not None and not outcome.is_gone:
        await _flatten(client, outcome, take_id, deadline)
    return outcome


def _count(outcome: Outcome, rows: Iterable[OpenOrderWord], seen: set[str]) -> None:
    for row in rows:
        if row.venue_order_id not in seen:
            seen.add(row.venue_order_id)
            outcome.orders += 1
            outcome.foreign += not row.client_order_id


async def _flatten(client: VenueClient, outcome: Outcome, take_id: Callable[[], int], deadline: int) -> None:
    outcome.is_flat = False
    while True:
        held: list[PositionWord] | None = await client.positions()
        if held is not None:
            orders, unknown = closing_orders(held, client.directory, take_id)
            outcome.unknown = [word.symbol for word in unknown]
            if not orders:
                outcome.is_flat = not unknown
                break
            names = [word.symbol for word in held if word.position_units]
            outcome.closed += [name for name in names if name not in outcome.closed]
            await client.place(orders)
        if now_ns() > deadline:
            break
        await asyncio.sleep(FLATTEN_LOOK_S)
    outcome.error = client.error


def describe(outcomes: Sequence[Outcome]) -> str:
    """One line for people."""
    parts = []
    for one in outcomes:
        if one.is_gone:
            parts.append(f"{one.account}: the venue is gone")
            continue
        rest = "nothing rests" if one.is_empty else f"ORDERS MAY REST ({one.error or 'no answer'})"
        text = f"{one.account}: {rest} after {one.took_ns / 1e6:.0f} ms, {one.orders} orders"
        text += f" ({one.foreign} not ours)" if one.foreign else ""
        if one.is_flat is not None:
            text += ", flat" if one.is_flat else f", POSITIONS REMAIN ({one.error or 'no answer'})"
        if one.unknown:
            text += f", no order can be made for {', '.join(one.unknown[:NAMED_MAX])}"
        parts.append(text)
    return "; ".join(parts)
