"""Symbols that come and go while a feed runs: who carries them, and what is sent for that."""

from __future__ import annotations

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.errors import ActorError
from actors.feed_groups import FeedGroups
from feeds.adapter import StreamSettings
from feeds.venues import get_adapter

NAMES = {
    "binance_usdm": [f"S{n}USDT" for n in range(8)],
    "okx": [f"S{n}-USDT-SWAP" for n in range(8)],
    "bybit_linear": [f"S{n}USDT" for n in range(8)],
    "bybit_spot": [f"S{n}USDT" for n in range(8)],
}
VENUES = sorted(NAMES)


def groups(venue: str, count: int, *, streams: int = 200, spare: int = 0, status: bool = False) -> FeedGroups:
    adapter = get_adapter(venue)
    wanted = StreamSettings(streams_per_connection=streams, with_status=status)
    return FeedGroups(adapter, wanted, adapter.connections(NAMES[venue][:count], wanted), 10, spare)


def carried(found: FeedGroups) -> set[str]:
    return {stream for group in found for stream in group.plan.streams}


def expected(venue: str, symbols: list[str], *, status: bool = False) -> set[str]:
    plans = get_adapter(venue).connections(symbols, StreamSettings(with_status=status))
    return {stream for plan in plans for stream in plan.streams}


@pytest.mark.parametrize("venue", VENUES)
def test_a_new_symbol_joins_the_connections_that_have_room(venue: str) -> None:
    found, names = groups(venue, 2, status=True), NAMES[venue]
    before = len(found.groups)
    stream, changes = found.add(names[2])
    assert (stream, len(found.groups)) == (10, before)
    assert carried(found) == expected(venue, names[:3], status=True)
    sent = b"".join(message for change in changes for message in change.messages)
    assert names[2].lower() in sent.decode().lower()
    assert names[0].lower() not in sent.decode().lower(), "what is subscribed already is not asked for again"


@pytest.mark.parametrize("venue", VENUES)
def test_a_new_socket_of_a_group_asks_for_exactly_what_it_carries_now(venue: str) -> None:
    found, names = groups(venue, 2), NAMES[venue]
    found.add(names[2])
    found.remove(names[0])
    wanted = StreamSettings()
    fresh = get_adapter(venue).connections(names[1:3], wanted)
    for group, plan in zip(found, fresh, strict=True):
        assert group.plan.subscribe == plan.subscribe
        assert (group.plan.symbols, group.plan.streams) == (plan.symbols, plan.streams)


@pytest.mark.parametrize("venue", VENUES)
def test_what_ends_a_symbol_names_its_streams_and_no_other(venue: str) -> None:
    found, names = groups(venue, 3), NAMES[venue]
    changes = found.remove(names[1])
    sent = [orjson.loads(message) for change in changes for message in change.messages]
    assert sent
    assert {str(one.get("method", one.get("op"))).lower() for one in sent} == {"unsubscribe"}
    texts = orjson.dumps(sent).decode().lower()
    assert names[1].lower() in texts
    assert names[0].lower() not in texts
    assert names[2].lower() not in texts


def test_a_full_connection_gets_no_more_and_a_spare_one_is_opened() -> None:
    found = groups("binance_usdm", 2, streams=4, spare=2)
    stream, changes = found.add("S2USDT")
    assert stream == 12
    assert [(c.is_new, c.group.stream) for c in changes] == [(True, 12), (True, 13)]
    found.add("S3USDT")
    before = carried(found)
    with pytest.raises(ActorError, match="S4USDT: no connection has room"):
        found.add("S4USDT")
    assert carried(found) == before


def test_a_symbol_that_finds_room_for_its_book_alone_leaves_nothing_behind() -> None:
    found = groups("binance_usdm", 2, streams=4, spare=1)
    before = [(group.stream, group.plan) for group in found]
    with pytest.raises(ActorError, match="no connection has room"):
        found.add("S2USDT")
    assert [(group.stream, group.plan) for group in found] == before
    assert found._free == [12]


def test_a_connection_without_symbols_is_closed_and_its_number_serves_again() -> None:
    found = groups("binance_usdm", 1)
    changes = found.remove("S0USDT")
    assert [change.is_over for change in changes] == [True, True]
    assert found.groups == []
    stream, changes = found.add("S0USDT", 10)
    assert (stream, [change.is_new for change in changes]) == (10, [True, True])


@settings(max_examples=40)
@given(st.sampled_from(VENUES), st.lists(st.integers(0, 7), max_size=25))
def test_whatever_comes_and_goes_exactly_the_wanted_streams_are_carried(venue: str, steps: list[int]) -> None:
    found, names = groups(venue, 3, streams=8, spare=12), NAMES[venue]
    wanted = dict.fromkeys(names[:3])
    for step in steps:
        name = names[step]
        if name in wanted:
            del wanted[name]
            found.remove(name)
        else:
            wanted[name] = None
            found.add(name)
        assert carried(found) == expected(venue, list(wanted))
        assert all(len(group.plan.streams) <= 8 for group in found)
        numbers = [group.stream for group in found]
        assert len(set(numbers)) == len(numbers)
