"""What the outside screens have in common: the head line, numbers as text, tables that fit the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from rich.cells import cell_len
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from tools.outside.session import RunFacts, RunLook

NONE = "–"
BAD, WARN, GOOD, DIM = "bold red", "yellow", "green", "dim"
#: A supervisor that has not said anything for so long hangs.
SUPERVISOR_LATE_NS = 2_000_000_000
GAP = 2


class Cell(NamedTuple):
    """Text of a table cell and how it is painted."""

    text: str
    style: str = ""


@dataclass(frozen=True, slots=True)
class Column:
    """One column.

    Args:
        title: at its top.
        right: numbers stand to the right.
        least: characters kept for it, so that a picture does not jump when a number grows.
        rank: when the terminal is too narrow the columns of the highest rank are left out first; 0 never.
    """

    title: str
    right: bool = True
    least: int = 0
    rank: int = 0


def fit_columns(columns: Sequence[Column], rows: Sequence[Sequence[Cell]], width: int) -> list[int]:
    """Indices of the columns that are drawn in that many characters."""
    sizes = [
        max([column.least, cell_len(column.title), *(cell_len(row[index].text) for row in rows)])
        for index, column in enumerate(columns)
    ]
    kept = list(range(len(columns)))
    while sum(sizes[i] + GAP for i in kept) - GAP > width:
        last = max(kept, key=lambda i: (columns[i].rank, i))
        if columns[last].rank == 0:
            break
        kept.remove(last)
    return kept


def make_table(columns: Sequence[Column], rows: Sequence[Sequence[Cell]], width: int) -> Table:
    """A table without frames, without the columns that do not fit."""
    table = Table(box=None, header_style=DIM, pad_edge=False, padding=(0, GAP, 0, 0))
    kept = fit_columns(columns, rows, width)
    for index in kept:
        justify: Literal["left", "right"] = "right" if columns[index].right else "left"
        table.add_column(columns[index].title, justify=justify, no_wrap=True, min_width=columns[index].least)
    for row in rows:
        table.add_row(*(Text(row[index].text, style=row[index].style) for index in kept))
    return table


def head(look: RunLook[object], what: str, interval_s: float) -> Text:
    """The first line: which run, since when, and whether its supervisor lives."""
    facts = look.facts
    text = Text(no_wrap=True, overflow="ellipsis")
    text.append(facts.instance, style="bold")
    text.append(f"  epoch {facts.epoch}, generation {facts.generation}, ")
    text.append(facts.trading_state, style="" if facts.trading_state == "ACTIVE" else BAD)
    if facts.uptime_ns is not None:
        text.append(f", up {duration(facts.uptime_ns)}")
    text.append(f"  {what}, every {interval_s:g} s", style=DIM)
    if look.ended:
        text.append(f"  {look.ended}", style=BAD)
    elif facts.is_stopping:
        text.append("  stopping", style=WARN)
    elif facts.supervisor_age_ns is not None and facts.supervisor_age_ns > SUPERVISOR_LATE_NS:
        text.append(f"  supervisor silent for {duration(facts.supervisor_age_ns)}", style=BAD)
    return text


def page(look: RunLook[object], first: Text, body: RenderableType) -> RenderableType:
    """Head line, body, and a line per problem."""
    tail = [Text(text, style=WARN, no_wrap=True, overflow="ellipsis") for text in look.problems]
    return Group(first, body, *tail)


def page_lines(look: RunLook[object]) -> int:
    """Lines of a page that are not rows: head line, column titles, problems."""
    return 2 + len(look.problems)


def document(facts: RunFacts, look: RunLook[object], interval_s: float) -> dict[str, object]:
    """The head of a JSON document."""
    return {
        **facts.to_json(),
        "at_utc_ns": look.at_utc_ns,
        "interval_s": interval_s,
        "problems": list(look.problems),
    }


def count(value: int | None) -> str:
    """A count with thousands separated."""
    return NONE if value is None else f"{value:,}"


def rate(value: float | None) -> str:
    """A rate per second: one decimal below ten, and a slow one is never a zero."""
    if value is None:
        return NONE
    if 0 < value < 0.05:
        return "<0.1"
    return f"{value:,.0f}" if value >= 9.95 or value == 0 else f"{value:.1f}"


def duration(value_ns: int | None) -> str:
    """A time span in the unit that suits it, three digits or so: 12 µs, 3.4 ms, 5.0 s, 12 min."""
    if value_ns is None:
        return NONE
    if value_ns == 0:
        return "0"
    if value_ns < 1_000:
        return f"{value_ns} ns"
    for unit, size, limit in (("µs", 1e3, 1e6), ("ms", 1e6, 1e9), ("s", 1e9, 120e9)):
        if value_ns < limit * 0.9995:
            number = value_ns / size
            return f"{number:.1f} {unit}" if number < 9.95 else f"{number:.0f} {unit}"
    minutes = value_ns // 60_000_000_000
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"


def percent(share: float | None) -> str:
    """A share from 0 to 1 in percent."""
    if share is None:
        return NONE
    if 0 < share < 0.0005:
        return "<0.1%"
    return f"{share:.0%}" if share == 0 or share >= 0.0995 else f"{share:.1%}"


def grouped(text: str | None) -> str:
    """Decimal text with thousands separated."""
    if text is None:
        return NONE
    whole, dot, rest = text.partition(".")
    sign = "-" if whole.startswith("-") else ""
    return f"{sign}{int(whole.lstrip('-')):,}{dot}{rest}"
