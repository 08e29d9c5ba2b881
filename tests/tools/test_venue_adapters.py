"""The feed's adapters against the simulated venues: books become LIVE, follow, end as the venue's own."""

from __future__ import annotations

from typing import Any
from unittest.mock import patch

import pytest

from feeds.adapter import HttpRequest, StreamSettings, VenueAdapter, join_answers
from feeds.venues import FAMILIES, get_adapters
from shm.instruments import Instrument
from tests.kit import feed_rig
from tests.tools.venue_kit import Listener, connect, get, with_venue
from tools.venues.run import VenueRun
from tools.venues.synthetic_source import SyntheticSettings, SyntheticSource

#: (venue, depth stream, its view, an option)
CASES = [
    ("okx", "books", 0, {}),
    ("okx", "books-l2-tbt", 3, {"with_checksum": True}),
    ("okx", "books50-l2-tbt", 4, {"every_change": True}),
    ("okx", "books5", 1, {}),
    ("bybit_linear", "orderbook.50", 1, {}),
    ("bybit_linear", "orderbook.200", 2, {"every_change": True}),
    ("bybit_linear", "orderbook.1", 0, {}),
    ("bybit_spot", "orderbook.200", 2, {}),
    ("bybit", "orderbook.1000", 3, {}),
]


async def read_instruments(run: VenueRun, adapter: VenueAdapter) -> list[Instrument]:
    bodies: list[bytes] = []
    for first in adapter.instruments_requests():
        request = first
        while True:
            status, _, body = await get(run, request.path)
            assert status == 200, body
            bodies.append(body)
            following = adapter.next_page(request, body)
            if following is None:
                break
            request = following
    return adapter.parse_instruments(join_answers(bodies), None)


async def follow(
    run: VenueRun, adapter: VenueAdapter, depth: str, **more: Any
) -> tuple[feed_rig.Rig, list[Listener]]:
    """Connect as the adapter plans; the rig that the frames will be given to."""
    rows = await read_instruments(run, adapter)
    settings = StreamSettings(depth_stream=depth, with_liquidations=True, with_status=True)
    plans = adapter.connections([row.symbol for row in rows], settings)
    streams = {s: n for n, plan in enumerate(plans) if plan.carries_depth for s in plan.symbols}
    decoder = adapter.configure(adapter.make_decoder(), settings)
    with (
        patch.object(feed_rig, "get_adapter", return_value=adapter),
        patch.object(adapter, "make_decoder", return_value=decoder),
    ):
        rig = feed_rig.Rig(rows, streams=streams, **more)
    listeners = []
    for number, plan in enumerate(plans):
        listener = await connect(run, plan.url_path)
        assert listener.transport is not None
        listeners.append(listener)
        rig.session.on_connected(number, rig.now_ns)
        for message in plan.subscribe:
            listener.send(message)
    return rig, listeners


def compare(run: VenueRun, rig: feed_rig.Rig, view: int) -> None:
    source = run.source
    assert isinstance(source, SyntheticSource)
    for row in rig.rows:
        key = (
            row.symbol
            if row.symbol in source.symbols
            else f"{rig.adapter.name.partition('_')[2]}/{row.symbol}"
        )
        index = list(source.symbols).index(key)
        update, sequence, bids, asks = source.market_views().view_state(index, view)
        assert rig.state(row.symbol) == "LIVE"
        assert rig.core.book(row.instrument_id) == (bids, asks), row.symbol
        proven = sequence if rig.adapter.name == "okx" else update
        assert rig.core.proven_sequence(row.instrument_id) == proven
    counts = rig.session.statistics()
    wanted = (
        "gaps",
        "rejected",
        "control_errors",
        "unknown_symbols",
        "crossed",
        "bad_levels",
        "checksum_errors",
    )
    assert not rig.session.take_rejections()
    assert {name: counts[name] for name in wanted} == dict.fromkeys(wanted, 0)


@pytest.mark.parametrize(("venue", "depth", "view", "options"), CASES)
def test_books_become_live_and_end_as_the_venues_own(
    venue: str, depth: str, view: int, options: dict[str, bool]
) -> None:
    async def test(run: VenueRun) -> None:
        assert isinstance(run.source, SyntheticSource)
        followed = [await follow(run, adapter, depth) for adapter in get_adapters(venue)]
        await run.source_done()
        for rig, listeners in followed:
            for number, listener in enumerate(listeners):
                # the answer to a last message lies behind all that the venue sent
                await listener.drain(rig.adapter.ping)
                for frame in listener.frames:
                    rig.frame(frame, number, after_ns=1000)
            compare(run, rig, view)
            kinds = rig.core.statistics()
            assert kinds["checksums"] > 0 or "with_checksum" not in options

    clients = 6 if venue == "bybit" else 3
    settings = SyntheticSettings(8, 40_000.0, 11, update_limit=6000)
    with_venue(settings, test, name=venue, clients_wanted=clients, unlimited_connects=True, **options)


def test_a_resubscription_heals_a_book_that_lost_an_update() -> None:
    async def test(run: VenueRun) -> None:
        assert isinstance(run.source, SyntheticSource)
        (adapter,) = get_adapters("okx")
        asked: list[int] = []
        rig, listeners = await follow(run, adapter, "books-l2-tbt", request_resubscribe=asked.append)
        feed = listeners[0]
        await feed.until(lambda one: sum(b'"update"' in frame for frame in one.frames) > 40)
        updates = [place for place, frame in enumerate(feed.frames) if b'"update"' in frame]
        for place, frame in enumerate(list(feed.frames)):
            if place != updates[5]:
                rig.frame(frame, 0, after_ns=1000)
        taken = len(feed.frames)
        assert rig.session.statistics()["gaps"] == 1
        assert len(asked) == 1
        symbol = rig.rows[asked[0]].symbol
        assert rig.state(symbol) != "LIVE"
        for message in adapter.resubscribe(symbol, StreamSettings(depth_stream="books-l2-tbt")):
            feed.send(message)
        await run.source_done()
        await feed.drain(adapter.ping)
        for frame in feed.frames[taken:]:
            rig.frame(frame, 0, after_ns=1000)
        index = list(run.source.symbols).index(symbol)
        _, _, bids, asks = run.source.market_views().view_state(index, 3)
        assert rig.state(symbol) == "LIVE"
        assert rig.core.book(rig.number(symbol)) == (bids, asks)

    settings = SyntheticSettings(3, 20_000.0, 11, update_limit=20_000)
    with_venue(settings, test, name="okx", unlimited_connects=True)


def test_canonical_names_and_contract_values_reach_the_instruments() -> None:
    async def test(run: VenueRun) -> None:
        rows = {row.canonical: row for row in await read_instruments(run, get_adapters("okx")[0])}
        swap, coin = rows["BTC-USDT-PERP"], rows["BTC-USD-PERP"]
        assert (swap.multiplier, swap.multiplier_exponent, swap.settle) == (1, 2, "USDT")
        assert (coin.multiplier, coin.is_inverse, coin.settle) == (100, True, "BTC")
        assert rows["ELON-USDT"].price_exponent == 11

    with_venue(SyntheticSettings(8, 0.0, 1), test, name="okx")


def test_all_pages_of_instruments_are_read() -> None:
    async def test(run: VenueRun) -> None:
        (adapter,) = get_adapters("bybit_linear")
        small = HttpRequest("GET", "/v5/market/instruments-info?category=linear&limit=40", 1)
        found: list[str] = []
        request = small
        pages = 0
        while True:
            _, _, body = await get(run, request.path)
            pages += 1
            found += [row.symbol for row in adapter.parse_instruments(join_answers([body]), None)]
            following = adapter.next_page(request, body)
            if following is None:
                break
            cursor = following.path.partition("&cursor=")[2]
            request = HttpRequest("GET", f"{small.path}&cursor={cursor}", 1)
        assert pages == 3
        assert found == run.ready["symbols"]

    with_venue(SyntheticSettings(100, 0.0, 1), test, name="bybit_linear")


def test_every_venue_of_a_family_is_served_by_its_simulated_venue() -> None:
    for family, names in FAMILIES.items():
        served = with_venue(SyntheticSettings(2, 0.0, 1), _nothing, name=family)
        assert {item.category for item in served.source.instruments()} == {n.partition("_")[2] for n in names}


async def _nothing(run: VenueRun) -> None:
    assert run.ready["ready"]
