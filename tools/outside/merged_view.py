"""How the merged view of one instrument is drawn: its venues, then its levels with who stands at each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from tools.live import Options, Show, Window
from tools.outside import draw
from tools.outside.draw import BAD, DIM, GOOD, WARN, Cell, Column
from tools.outside.merged import LegRow, MergedRow
from tools.outside.session import RunLook

BAR = 12

LEGS = (
    Column(""),
    Column("venue", right=False),
    Column("symbol", right=False, rank=4),
    Column("state", right=False, least=7),
    Column("part", right=False, least=8),
    Column("bid size", least=9, rank=3),
    Column("bid", least=9),
    Column("ask", least=9),
    Column("ask size", least=9, rank=3),
    Column("data age", least=8, rank=1),
    Column("silence", least=7, rank=2),
)
LEVELS = (
    Column("share", least=BAR, rank=3),
    Column("total", rank=2),
    Column("venues"),
    Column("size"),
    Column("bid"),
    Column("ask"),
    Column("size"),
    Column("venues", right=False),
    Column("total", rank=2),
    Column("share", right=False, least=BAR, rank=3),
)


def leg_line(leg: LegRow) -> list[Cell]:
    """Cells of one venue."""
    is_in = leg.standing == "IN"
    return [
        Cell(leg.letter, "bold" if is_in else DIM),
        Cell(leg.venue),
        Cell(leg.symbol, DIM),
        Cell(leg.state, GOOD if leg.state == "LIVE" else BAD),
        Cell("in" if is_in else leg.standing.lower().replace("_", " "), GOOD if is_in else BAD),
        Cell(draw.grouped(leg.bid_quantity)),
        Cell(draw.grouped(leg.bid)),
        Cell(draw.grouped(leg.ask)),
        Cell(draw.grouped(leg.ask_quantity)),
        Cell(draw.duration(leg.data_age_ns)),
        Cell(draw.duration(leg.silence_ns)),
    ]


def level_lines(row: MergedRow) -> list[list[Cell]]:
    """Cells of all levels; what a book too short can not tell is dim."""
    lines = []
    for index in range(max(len(row.bids), len(row.asks))):
        left, right = [Cell("")] * 5, [Cell("")] * 5
        if index < len(row.bids):
            one, style = row.bids[index], GOOD if index < row.bids_whole else DIM
            bar = "█" * round(one.share * BAR)
            cells = (
                bar,
                draw.grouped(one.total),
                one.letters,
                draw.grouped(one.quantity),
                draw.grouped(one.price),
            )
            left = [Cell(text, style if place in (0, 4) else "") for place, text in enumerate(cells)]
        if index < len(row.asks):
            one, style = row.asks[index], BAD if index < row.asks_whole else DIM
            bar = "█" * round(one.share * BAR)
            cells = (
                draw.grouped(one.price),
                draw.grouped(one.quantity),
                one.letters,
                draw.grouped(one.total),
                bar,
            )
            right = [Cell(text, style if place in (0, 4) else "") for place, text in enumerate(cells)]
        lines.append([*left, *right])
    return lines


def title(row: MergedRow) -> Text:
    """What stands above: the instrument, its spread over all venues, and whether they cross."""
    text = Text(no_wrap=True, overflow="ellipsis")
    text.append(row.instrument, style="bold")
    text.append(f"  {len(row.venues)} of {len(row.legs)} venues")
    if row.bid is not None and row.ask is not None:
        text.append(f"  bid {draw.grouped(row.bid)}  ask {draw.grouped(row.ask)}")
    if row.spread_bps is not None:
        text.append(f"  spread {row.spread_bps:.2f} bps", style=BAD if row.is_crossed else "")
    if row.is_crossed:
        text.append("  venues cross one another", style=WARN)
    elif row.is_locked:
        text.append("  venues lock one another", style=WARN)
    return text


def picture(look: RunLook[MergedRow], window: Window, options: Options) -> RenderableType:
    """One look."""
    first = draw.head(look, "merged", options.interval_s)
    if not look.rows:
        return draw.page(look, first, Text("its books can not be read yet", style=WARN))
    row = look.rows[0]
    legs = draw.make_table(LEGS, [leg_line(leg) for leg in row.legs], window.width)
    levels = draw.make_table(LEVELS, window.cut(level_lines(row)), window.width)
    return draw.page(look, first, Group(Text(""), title(row), Text(""), legs, Text(""), levels))


def head_lines(look: RunLook[MergedRow]) -> int:
    """Lines of the picture that are not levels."""
    if not look.rows:
        return draw.page_lines(look)
    # Two empty lines, the title, another empty one, titles and lines of the venues.
    return draw.page_lines(look) + 5 + len(look.rows[0].legs)


def make_show(look: Callable[[], RunLook[MergedRow]], options: Options) -> Show[RunLook[MergedRow]]:
    """What the verb shows of a session's looks."""

    def to_json(seen: RunLook[MergedRow]) -> dict[str, Any]:
        row = asdict(seen.rows[0]) if seen.rows else None
        return {**draw.document(seen.facts, seen, options.interval_s), "merged": row}

    return Show(
        look=look,
        draw=lambda seen, window: picture(seen, window, options),
        head_lines=head_lines,
        row_count=lambda seen: max(len(seen.rows[0].bids), len(seen.rows[0].asks)) if seen.rows else 0,
        to_json=to_json,
        ended=lambda seen: seen.ended,
    )
