"""Instruments by name: the venue's own symbol (`BTCUSDT`) or ours (`BTC-USDT-PERP`), the same in every
setting.

Ours is `BASE-QUOTE`, `BASE-QUOTE-PERP` or `BASE-QUOTE-YYMMDD`; a contract of a thousand X is called X, its
multiplier and its venue's symbol tell it apart. The names themselves are made by the adapters with the rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from feeds.errors import VenueError
from feeds.venues import get_adapter
from shm.enums import InstrumentStatus

if TYPE_CHECKING:
    from feeds.adapter import VenueAdapter
    from feeds.venues.rows import InstrumentList, OddRow
    from shm.instruments import Instrument

GONE = (InstrumentStatus.DELISTED, InstrumentStatus.RETIRED)


def resolve(text: str, rows: Iterable[Instrument], venue: str) -> Instrument:
    """Find the row that a name means.

    A symbol goes before a canonical name; of several rows of one canonical name the one that still trades is
    meant.

    Args:
        text: symbol or canonical name, as written.
        rows: of one venue.
        venue: its name, for errors.

    Raises:
        VenueError: no row has this name (with close matches, by both names), or several do.
    """
    known = list(rows)
    found = [row for row in known if row.symbol == text]
    found = found or [row for row in known if row.canonical == text]
    if len(found) > 1:
        found = [row for row in found if row.status not in GONE] or found
    if len(found) > 1:
        symbols = ", ".join(row.symbol for row in found)
        raise VenueError(f"{venue}: {text!r} is the name of several instruments, give a symbol: {symbols}")
    if not found:
        raise VenueError(f"{venue}: unknown instrument {text!r}{_hint(text, known)}")
    return found[0]


def _hint(text: str, rows: Sequence[Instrument]) -> str:
    """Close matches by either name, the other one beside it; what merely goes on (-PERP) is close."""
    wanted = text.upper()
    names: dict[str, Instrument] = {}
    for row in rows:
        names.setdefault(row.canonical, row)
        names[row.symbol] = row
    close = [name for name in names if name.upper() == wanted or name.upper().startswith(f"{wanted}-")]
    close += get_close_matches(wanted, [name for name in names if name], n=3, cutoff=0.6)
    shown: dict[str, str] = {}
    for name in close:
        row = names[name]
        shown.setdefault(row.symbol, f"{row.canonical} ({row.symbol})" if row.canonical else row.symbol)
    return f"; close matches: {', '.join(list(shown.values())[:3])}" if shown else ""


def canonical_of(venue: str, symbol: str) -> str:
    """Return the canonical name that a symbol has, as far as it says so by itself; else the symbol.

    Args:
        venue: adapter name; an unknown one has no names to tell.
        symbol: the venue's, or any other name.
    """
    try:
        return get_adapter(venue).plain_instrument(symbol, 0, 0, 1, 1).canonical or symbol
    except (VenueError, ValueError):
        return symbol


def names_meant(venue: str, names: Iterable[str]) -> list[str]:
    """Return these names, each followed by the canonical one it has (`canonical_of`)."""
    return list(dict.fromkeys(one for name in names for one in (name, canonical_of(venue, name))))


def names_beside(venue: str, wanted: Iterable[str], names: Sequence[str]) -> list[str]:
    """Return which of the names wanted can mean none of these instruments, by either name.

    What is left may: instrument data decides. Patterns are for that to judge, too.

    Args:
        venue: adapter name.
        wanted: names and patterns.
        names: of the instruments there are, by either name.
    """
    own, meant = set(names), set(names_meant(venue, names))
    return [
        name
        for name in wanted
        if not is_pattern(name) and name not in meant and canonical_of(venue, name) not in own
    ]


def is_pattern(name: str) -> bool:
    """Whether a name stands for all that are like it: `*`, `?` and `[…]` as in a shell."""
    return any(sign in name for sign in "*?[")


def fits(row: Instrument, names: Sequence[str]) -> bool:
    """Whether one of these names or patterns means an instrument, by symbol or canonical name."""
    return any(
        fnmatchcase(row.symbol, name) or fnmatchcase(row.canonical, name)
        if is_pattern(name)
        else name in (row.symbol, row.canonical)
        for name in names
    )


def odd_like(venue: str, odd: Iterable[OddRow], names: Sequence[str]) -> list[OddRow]:
    """Return which rows that are not as documented one of these names or patterns may mean; no names = all.

    Args:
        venue: adapter name.
        odd: of its instrument data; a row that does not say its symbol may be any.
        names: symbols, canonical names or patterns.
    """
    return [
        one for one in odd if not one.symbol or not names or _means(names_meant(venue, [one.symbol]), names)
    ]


def _means(own: Sequence[str], names: Sequence[str]) -> bool:
    return any(fnmatchcase(one, name) if is_pattern(name) else one == name for name in names for one in own)


def choose_traded(
    adapter: VenueAdapter, body: bytes, names: Sequence[str], tell: Callable[[OddRow], None] | None = None
) -> list[Instrument]:
    """Read the rows that names and patterns mean; a pattern means what trades now.

    Args:
        adapter: the venue.
        body: answer to its instrument requests.
        names: symbols, canonical names or patterns.
        tell: called with each row that a pattern may mean and that is not as documented; it is left out.

    Raises:
        VenueError: as `choose_instruments`, or patterns that nothing is like.
    """
    exact = [name for name in names if not is_pattern(name)]
    patterns = [name for name in names if is_pattern(name)]
    rows = {row.symbol: row for row in (choose_instruments(adapter, body, exact) if exact else [])}
    odd: list[OddRow] = []
    if patterns:
        found = adapter.read_list(body)
        for row in found.rows:
            if row.status == InstrumentStatus.TRADING and fits(row, patterns):
                rows.setdefault(row.symbol, row)
        odd = [one for one in odd_like(adapter.name, found.odd, patterns) if one.symbol not in rows]
    if not rows:
        left = f"; {len(odd)} rows are not as documented: {odd[0].text}" if odd else ""
        raise VenueError(f"{adapter.name}: nothing that it trades is like {', '.join(names)}{left}")
    if tell is not None:
        for one in odd:
            tell(one)
    return list(rows.values())


def choose_instruments(adapter: VenueAdapter, body: bytes, names: Sequence[str]) -> list[Instrument]:
    """Read from instrument data the rows that these names mean, in their order; no names = all the venue has.

    Args:
        adapter: the venue.
        body: answer to its instrument requests.
        names: symbols or canonical names.

    Raises:
        VenueError: the data is not as documented, or the row of a name is not; a name is unknown or means
            several, or two mean the same.
    """
    if not names:
        return adapter.parse_instruments(body, None)
    listed = adapter.listed_symbols(body)
    if listed.issuperset(names):  # only these rows are read: another one that is odd does no harm
        rows = adapter.parse_instruments(body, names)
    else:
        known = adapter.read_list(body)
        rows = [_resolve(name, known, adapter.name) for name in names]
    by_symbol: dict[str, str] = {}
    for name, row in zip(names, rows, strict=True):
        if row.symbol in by_symbol:
            other = by_symbol[row.symbol]
            raise VenueError(f"{adapter.name}: {other!r} and {name!r} are both {row.symbol}")
        by_symbol[row.symbol] = name
    return rows


def _resolve(name: str, known: InstrumentList, venue: str) -> Instrument:
    """The row a name means; one that is not as documented is refused for that, and not as unknown."""
    if not any(name in (row.symbol, row.canonical) for row in known.rows):
        for one in odd_like(venue, known.odd, [name]):
            if one.symbol and one.is_left_out:
                raise VenueError(one.text)
    return resolve(name, known.rows, venue)
