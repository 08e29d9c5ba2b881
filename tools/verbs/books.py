"""`ringlane books`: the live books of the running engine, refreshing like `top`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol, TypeVar

import typer
from rich.console import Group, RenderableType
from rich.text import Text

from engine.run_file import RunNote
from tools.live import Options, Show, Window
from tools.outside import draw
from tools.outside.books import BUSY, BookReader, BookRow, Level, NoSuchBookError, SideTotals, sort_books
from tools.outside.draw import BAD, DIM, GOOD, NONE, WARN, Cell, Column
from tools.outside.merged import MergedReader, MergedRow
from tools.outside.merged_view import make_show as make_merged_show
from tools.outside.options import Count, Interval, Name, Once, State, begin, make_options
from tools.outside.rates import Rates
from tools.outside.screens import show_session
from tools.outside.session import Reader, RunLook, Session
from tools.outside.view import RunView
from tools.outside.workers import Machine
from tools.quarantine import ACTS, change

Row = TypeVar("Row")
Sort = Literal["name", "rate", "age", "spread", "state"]

DEPTH = 5
LADDER_DEPTH = 10
DEPTH_MAX = 4096
#: Lines of a ladder that are not levels: head, state, sequence, trades, titles and two empty ones.
LADDER_HEAD = 7
BAR = 12

COLUMNS = (
    Column("instrument", right=False),
    Column("venue", right=False, rank=8),
    Column("state", right=False, least=7),
    Column("reason", right=False, rank=6),
    Column("bid size", least=9, rank=5),
    Column("bid", least=9),
    Column("ask", least=9),
    Column("ask size", least=9, rank=5),
    Column("bps", least=6, rank=2),
    Column("data age", least=8),
    Column("silence", least=7, rank=3),
    Column("sequence", least=12, rank=7),
    Column("gaps", rank=4),
    Column("resyncs", rank=4),
    Column("upd/s", least=6),
    Column("trades/s", rank=3),
)


def state_style(state: str) -> str:
    """How a book's state is painted."""
    return {"LIVE": GOOD, "SYNCING": WARN, "STALE": BAD, "DESYNC": BAD}.get(state, DIM)


def book_line(row: BookRow) -> list[Cell]:
    """Cells of one book."""
    crossed = BAD if row.spread_bps is not None and row.spread_bps <= 0 else ""
    return [
        Cell(row.instrument),
        Cell(row.venue, DIM),
        Cell(row.state, state_style(row.state)),
        Cell("" if row.reason == "NONE" else row.reason, DIM),
        Cell(draw.grouped(row.bid_quantity)),
        Cell(draw.grouped(row.bid), crossed),
        Cell(draw.grouped(row.ask), crossed),
        Cell(draw.grouped(row.ask_quantity)),
        Cell(NONE if row.spread_bps is None else f"{row.spread_bps:.2f}", crossed),
        Cell(draw.duration(row.data_age_ns)),
        Cell(draw.duration(row.silence_ns)),
        Cell(NONE if row.last_sequence is None else str(row.last_sequence)),
        Cell(draw.count(row.gaps), WARN if row.gaps else ""),
        Cell(draw.count(row.resyncs), WARN if row.resyncs else ""),
        Cell(draw.rate(row.updates_per_s)),
        Cell(draw.rate(row.trades_per_s)),
    ]


def _bar(level: Level | None, *, to_left: bool) -> str:
    """A bar of the level's share of all that is shown, in half characters."""
    halves = 0 if level is None else round(level.share * BAR * 2)
    whole = "█" * (halves // 2)
    return f"{'▐' * (halves % 2)}{whole}" if to_left else f"{whole}{'▌' * (halves % 2)}"


def ladder_table(row: BookRow, window: Window) -> RenderableType:
    """Both sides of one book, best level first."""
    columns = (
        Column("share", least=BAR, rank=2),
        Column("total", rank=1),
        Column("size"),
        Column("bid"),
        Column("ask"),
        Column("size"),
        Column("total", rank=1),
        Column("share", right=False, least=BAR, rank=2),
    )
    lines = []
    for index in range(max(len(row.bids), len(row.asks))):
        bid = row.bids[index] if index < len(row.bids) else None
        ask = row.asks[index] if index < len(row.asks) else None
        left = ["", "", ""] if bid is None else [bid.total, bid.quantity, bid.price]
        right = ["", "", ""] if ask is None else [ask.price, ask.quantity, ask.total]
        cells = [Cell(draw.grouped(text) if text else "") for text in (*left, *right)]
        cells[2], cells[3] = Cell(cells[2].text, GOOD), Cell(cells[3].text, BAD)
        lines.append([Cell(_bar(bid, to_left=True), GOOD), *cells, Cell(_bar(ask, to_left=False), BAD)])
    return draw.make_table(columns, window.cut(lines), window.width)


def _side(title: str, totals: SideTotals | None) -> str:
    if totals is None:
        return f"{title} {NONE}"
    return (
        f"{title} {totals.count:,} trades, {draw.grouped(totals.quantity)} "
        f"= {draw.grouped(totals.notional.partition('.')[0])}"
    )


def ladder_lines(row: BookRow) -> list[Text]:
    """What stands above a ladder."""
    first = Text(no_wrap=True, overflow="ellipsis")
    first.append(row.instrument, style="bold").append(f"  {row.venue} {row.symbol}  ", style=DIM)
    first.append(row.state, style=state_style(row.state))
    if row.reason and row.reason != "NONE":
        first.append(f" {row.reason}", style=DIM)
    if row.spread_bps is not None:
        first.append(f"  spread {row.spread_bps:.2f} bps")
    first.append(f"  last trade {draw.grouped(row.last_price)}")
    figures = (
        f"data age {draw.duration(row.data_age_ns)}  silence {draw.duration(row.silence_ns)}  "
        f"{draw.rate(row.updates_per_s)} updates/s  {draw.rate(row.trades_per_s)} trades/s"
    )
    proof = (
        f"sequence {NONE if row.last_sequence is None else row.last_sequence}  "
        f"epoch {draw.count(row.epoch)}  "
        f"live_id {draw.count(row.live_id)}  gaps {draw.count(row.gaps)}  resyncs {draw.count(row.resyncs)}"
    )
    trades = f"{_side('bought', row.buys)}    {_side('sold', row.sells)}"
    return [first, *(Text(text, no_wrap=True, overflow="ellipsis") for text in (figures, proof, trades))]


def picture(
    look: RunLook[BookRow], window: Window, options: Options, sort: str, as_ladder: bool
) -> RenderableType:
    """One look as a table, or as a ladder if it is of one book."""
    body: RenderableType
    if as_ladder and len(look.rows) == 1:
        row = look.rows[0]
        body = Group(Text(""), *ladder_lines(row), Text(""), ladder_table(row, window))
        what = "1 book"
    else:
        rows = sort_books(list(look.rows), sort)
        body = draw.make_table(COLUMNS, [book_line(row) for row in window.cut(rows)], window.width)
        off = sum(row.state not in ("LIVE", BUSY) for row in rows)
        what = f"{len(rows)} books" + (f", {off} not LIVE" if off else "")
    return draw.page(look, draw.head(look, what, options.interval_s), body)


def make_show(
    look: Callable[[], RunLook[BookRow]], options: Options, sort: str, *, as_ladder: bool
) -> Show[RunLook[BookRow]]:
    """What the verb shows of a session's looks."""

    def is_ladder(seen: RunLook[BookRow]) -> bool:
        return as_ladder and len(seen.rows) == 1

    def row_count(seen: RunLook[BookRow]) -> int:
        row = seen.rows[0] if is_ladder(seen) else None
        return len(seen.rows) if row is None else max(len(row.bids), len(row.asks))

    def to_json(seen: RunLook[BookRow]) -> dict[str, Any]:
        rows = [asdict(row) for row in sort_books(list(seen.rows), sort)]
        return {**draw.document(seen.facts, seen, options.interval_s), "books": rows}

    return Show(
        look=look,
        draw=lambda seen, window: picture(seen, window, options, sort, as_ladder),
        head_lines=lambda seen: draw.page_lines(seen) + (LADDER_HEAD - 1 if is_ladder(seen) else 0),
        row_count=row_count,
        to_json=to_json,
        ended=lambda seen: seen.ended,
    )


class Chooser(Protocol[Row]):
    """A reader whose rows are chosen by name."""

    def choose(self) -> object:
        """Choose; raises NoSuchBookError when nothing is called that."""

    def look(self) -> list[Row]:
        """Read what is chosen."""


def begin_chosen(
    name: str | None, state: Path | None, make_chooser: Callable[[RunView, Rates], Chooser[Row]]
) -> Session[Row]:
    """A session over what is chosen by name; whether there is such a thing is asked at the first look only.

    Raises:
        typer.BadParameter: there is none.
    """
    checked = False

    def make(view: RunView, rates: Rates, _note: RunNote) -> Reader[Row]:
        nonlocal checked
        chooser = make_chooser(view, rates)
        if not checked:
            checked = True
            try:
                chooser.choose()
            except NoSuchBookError as error:
                raise typer.BadParameter(str(error)) from None
        return lambda _workers: chooser.look()

    return begin(name, state, make)


def begin_books(name: str | None, state: Path | None, patterns: list[str], depth: int) -> Session[BookRow]:
    """A session over the chosen books; raises typer.BadParameter when no book fits a pattern."""
    machine = Machine()
    return begin_chosen(name, state, lambda view, rates: BookReader(view, rates, machine, patterns, depth))


def begin_merged(name: str | None, state: Path | None, canonical: str, depth: int) -> Session[MergedRow]:
    """A session over the merged view of one instrument; raises typer.BadParameter when there is none."""
    machine = Machine()
    return begin_chosen(name, state, lambda view, _rates: MergedReader(view, machine, canonical, depth))


def books(
    patterns: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[PATTERN]... | quarantine INSTRUMENT... | release INSTRUMENT...",
            help="canonical name or symbol, its beginning, or a shell pattern; VENUE:… for one venue's",
            show_default=False,
        ),
    ] = None,
    name: Name = None,
    state: State = None,
    once: Once = False,
    interval: Interval = 1.0,
    count: Count = None,
    depth: Annotated[
        int | None, typer.Option(min=1, max=DEPTH_MAX, help="levels of a ladder (10) and of --json (5)")
    ] = None,
    sort: Annotated[
        Sort, typer.Option(help="name, or first the fastest, oldest, widest, or those not LIVE")
    ] = "name",
    merged: Annotated[
        str,
        typer.Option(
            help="one instrument over all venues: canonical name, as BTC-USDT-PERP", show_default=False
        ),
    ] = "",
    json: Annotated[
        bool, typer.Option("--json", help="print one JSON object per look (default: one look)")
    ] = False,
    reason: Annotated[str, typer.Option(help="of a quarantine or release, for the run's log")] = "",
) -> int:
    """Show the live books of the running engine: state, top of book, age, gaps, rates; one book as a ladder.

    --merged shows one instrument over all venues: levels by price in units that all share, who stands at
    each, each venue's own best and age; only LIVE books take part, and venues may cross one another.

    `books quarantine INSTRUMENT` keeps a book from being LIVE until `books release INSTRUMENT`, also over a
    restart of its feed: no new order cites it, cancels go on. Both are kept in the run's log with --reason.

    Else it looks only: its mappings are read-only and the engine is asked nothing. BUSY means that the book
    was being written at every try. On a terminal it refreshes until q; else it prints once. Exit codes: 0;
    1 no engine, it ended, or it refused; 2 a wrong option or no such book.
    """
    if patterns and patterns[0] in ACTS:
        return change(patterns[0], patterns[1:], reason, name, state, json=json)
    if reason:
        raise typer.BadParameter("--reason is for books quarantine and books release")
    options = make_options(once, interval, json, count)
    wanted = DEPTH if json else LADDER_DEPTH
    if merged:
        if patterns:
            raise typer.BadParameter("--merged shows one instrument: leave out the patterns")
        view = begin_merged(name, state, merged, depth or wanted)
        return show_session(view, lambda look: make_merged_show(look, options), options)
    session = begin_books(name, state, patterns or [], depth or wanted)
    is_one = bool(patterns)
    return show_session(session, lambda look: make_show(look, options, sort, as_ladder=is_one), options)
