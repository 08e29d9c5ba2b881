"""Instruments that an operator keeps out of trading: told to their feed, and remembered for its heirs."""

from __future__ import annotations

import asyncio
import difflib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from engine.errors import EngineError
from feeds.errors import VenueError
from feeds.names import GONE
from feeds.venues import get_adapter
from shm.enums import WorkerState

if TYPE_CHECKING:
    from engine.config import Config
    from engine.processes import Child
    from shm.instruments import Instrument, InstrumentTable

ANSWER_S = 5.0
HINTS = 3


class Holds:
    """The quarantines of a run that were asked for by hand.

    Args:
        event: keeps one line of what happened.
    """

    def __init__(self, event: Callable[[str], None]) -> None:
        self._event = event
        self._held: dict[int, tuple[int, dict[str, Any]]] = {}  # instrument → (slot of its feed, message)
        self._given: dict[int, dict[int, dict[str, Any]]] = {}  # by slot: what a process that begins knows
        self._asked: dict[int, asyncio.Future[Mapping[str, Any]]] = {}
        self._number = 0

    async def change(
        self,
        act: str,
        name: str,
        reason: str,
        table: InstrumentTable,
        config: Config,
        workers: Mapping[str, Child],
    ) -> dict[str, Any]:
        """Put an instrument into quarantine, or let it go; returns what its feed says of it.

        Args:
            act: "quarantine" or "release".
            name: canonical name or symbol, `VENUE:name` of one venue.
            reason: the operator's, for the log.
            table: instruments of the run.
            config: says which venues there are.
            workers: of the run.

        Raises:
            EngineError: no such instrument, several, or its feed does not answer.
        """
        venue, row = find_instrument(name, table, config)
        child = next((one for one in workers.values() if one.slot == row.slab), None)
        self._number += 1
        message = {
            "op": "operator", "number": self._number, "do": act, "instrument_id": row.instrument_id,
            "reason": reason[:200],
        }  # fmt: skip
        if act == "quarantine":
            self._held[row.instrument_id] = (row.slab, message)
        else:
            self._held.pop(row.instrument_id, None)
        is_up = child is not None and child.lifecycle.state is WorkerState.RUNNING
        if child is None or child.link is None or not is_up or not child.link.send(message):
            raise EngineError(f"the feed of {venue}:{row.symbol} is not up; it will be told when it is")
        answer = await self._answer(self._number, child.name)
        if "error" in answer:
            raise EngineError(f"{venue}:{row.symbol}: {answer['error']}")
        self._event(f"{venue}:{row.symbol}: {act} by hand: {reason or 'no reason given'}")
        return {"venue": venue, "symbol": row.symbol, "canonical": row.canonical, **answer["result"]}

    async def _answer(self, number: int, feed: str) -> Mapping[str, Any]:
        asked = self._asked[number] = asyncio.get_running_loop().create_future()
        try:
            return await asyncio.wait_for(asked, ANSWER_S)
        except TimeoutError as error:
            raise EngineError(f"{feed} does not answer in {ANSWER_S:g} s") from error
        finally:
            del self._asked[number]

    def on_answer(self, message: Mapping[str, Any]) -> None:
        """Take what a worker says to an operator's command."""
        asked = self._asked.get(int(message.get("number", 0)))
        if asked is not None and not asked.done():
            asked.set_result(message)

    def on_begin(self, slot: int) -> list[dict[str, Any]]:
        """Return what a process that begins in a slot must know before its first frame."""
        given = {number: message for number, (feed, message) in self._held.items() if feed == slot}
        self._given[slot] = given
        return list(given.values())

    def on_ready(self, child: Child) -> None:
        """Tell a feed that came up what has changed since it began."""
        given = self._given.pop(child.slot, {})
        held = {number: message for number, (feed, message) in self._held.items() if feed == child.slot}
        told = [{**message, "do": "release"} for number, message in given.items() if number not in held]
        told += [message for number, message in held.items() if number not in given]
        if child.link is not None:
            for message in told:
                child.link.send(message)


def find_instrument(name: str, table: InstrumentTable, config: Config) -> tuple[str, Instrument]:
    """The one instrument in use that a name means, and the name of its venue.

    Raises:
        EngineError: there is none, or several; they are named.
    """
    wanted, _, rest = name.partition(":")
    text = rest or name
    venues: dict[int, str] = {}
    for venue, settings in config.venues.items():
        try:
            venues[get_adapter(settings.adapter).venue_id] = venue
        except VenueError:
            continue
    rows = [
        row
        for row in table
        if text in (row.symbol, row.canonical)
        and row.status not in GONE
        and (not rest or venues.get(row.venue_id) == wanted)
    ]
    if len(rows) == 1:
        return venues.get(rows[0].venue_id, ""), rows[0]
    if not rows:
        used = [row for row in table if row.status not in GONE]
        raise EngineError(f"no instrument {name!r} in this run{_hint(name, used, venues)}")
    several = ", ".join(f"{venues.get(row.venue_id, '')}:{row.symbol}" for row in rows)
    raise EngineError(f"{name!r} means several instruments: {several}")


def _hint(name: str, rows: list[Instrument], venues: Mapping[int, str]) -> str:
    """The instruments that a name may have been meant for; some of all if it is like none."""
    wanted = name.upper()
    named: dict[str, str] = {}  # every name, in capitals → what its instrument is best called
    for row in rows:
        venue = f"{venues.get(row.venue_id, '')}:" if ":" in name else ""
        for text in (row.canonical, row.symbol):
            named.setdefault(f"{venue}{text}".upper(), f"{venue}{row.canonical or row.symbol}")
    close = [text for text in named if text.startswith(wanted)] or difflib.get_close_matches(wanted, named)
    if close:
        meant = list(dict.fromkeys(named[text] for text in close))
        return f"; did you mean {' or '.join(meant[:HINTS])}?"
    known = list(dict.fromkeys(named.values()))
    more = f" and {len(known) - HINTS} more" if len(known) > HINTS else ""
    return f"; there are: {', '.join(known[:HINTS]) or 'none'}{more}"
