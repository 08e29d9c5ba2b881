"""From a configuration to worker specs and segments."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

import pytest

from engine.checking import check_config
from engine.config import Config, parse_config
from engine.errors import ConfigError, TopologyError
from engine.topology import (
    RunIdentity,
    Topology,
    VenueUrls,
    build_topology,
    generation_settings,
    risk_limits,
)
from risk.limits import Limits

TEXT = """\
[venues.one]
adapter = "aa"
priority = 2
[venues.one.simulated]
[venues.two]
adapter = "bb"
websocket_url = "wss://host/ws"
rest_url = "https://host"
symbols = ["XXX"]
[[strategies]]
name = "maker"
kind = "market_maker"
venue = "one"
instruments = ["BBB"]
settings = { edge_bps = 1.0 }
[[strategies]]
name = "taker"
kind = "pkg.mod:Taker"
venue = "two"
"""
URLS = {
    "one": VenueUrls("ws://127.0.0.1:1", "http://127.0.0.1:2", "/ca.pem", ("AAA", "BBB")),
    "two": VenueUrls("wss://host/ws", "https://host"),
}
WHO = RunIdentity("demo", 7, "/state", 42)


def make(
    text: str = TEXT, urls: dict[str, VenueUrls] | None = None, allowed: Sequence[int] = (0, 1)
) -> tuple[Config, Topology]:
    config = parse_config(text, "x.toml")
    return config, build_topology(config, URLS if urls is None else urls, WHO, allowed)


def test_default_placement_is_three_workers() -> None:
    _, topology = make()
    assert topology.placement == "default: housekeeping@- feed@0 trade@1, others on 0"
    assert [(w.slot, w.name, w.core, w.nice) for w in topology.workers] == [
        (1, "housekeeping", None, 5),
        (2, "feed", 0, 0),
        (3, "trade", 1, 0),
    ]
    trade = topology.workers[2]
    assert [a.role for a in trade.actors] == ["order_gateway", "market_maker", "pkg.mod:Taker"]
    assert (trade.gateways, trade.strategies, trade.reference_slot) == ([3], [3], 1)
    assert [(f.slot, f.priorities) for f in trade.feeds] == [(2, [1, 2])]
    assert trade.instrument_capacity == 16
    assert (trade.instance, trade.epoch, trade.supervisor_pid) == ("demo", 7, 42)


def test_spread_placement_is_one_process_per_role() -> None:
    _, topology = make(TEXT + '[engine]\nplacement = "spread"\n', allowed=range(8))
    assert [w.name for w in topology.workers] == [
        "housekeeping",
        "feed-one",
        "feed-two",
        "gateway",
        "strategy",
    ]
    assert [(f.slot, f.priorities) for f in topology.workers[0].feeds] == [(2, [2]), (3, [1])]
    cores = [w.core for w in topology.workers[1:]]
    assert len(set(cores)) == 4


def test_segments_cover_every_ring_both_ways() -> None:
    _, topology = make()
    names = {s.short for s in topology.segments}
    assert names == {
        "control", "instruments", "rates", "books.2", "md.2.1", "md.2.2", "requests.2.1", "blobs.1.2",
        "positions.3",
        "intents.3.3", "reports.3.3", "metrics.1", "metrics.2", "metrics.3", "state.1", "state.2", "state.3",
    }  # fmt: skip
    market = next(s for s in topology.segments if s.short == "md.2.1")
    assert market.payload_bytes >= 65_536 * 128


def test_every_segment_can_be_formatted() -> None:
    _, topology = make()
    for plan in topology.segments:
        if plan.payload_bytes < 1 << 20:
            plan.format(memoryview(bytearray(plan.payload_bytes)))


def test_actor_settings_name_addresses_and_slots() -> None:
    config, topology = make()
    reference, feed = topology.workers[0].actors[0], topology.workers[1].actors
    assert [row["feed_slot"] for row in reference.settings["venues"]] == [2, 2]
    assert reference.settings["venues"][0]["rest_url"] == "http://127.0.0.1:2"
    assert feed[0].settings["websocket_url"] == "ws://127.0.0.1:1"
    assert feed[0].settings["symbols"] == ["AAA", "BBB"]
    assert feed[0].settings["ca_file"] == "/ca.pem"
    assert topology.workers[2].actors[1].settings == {"venue": "aa", "instruments": ["BBB"], "edge_bps": 1.0}
    ids = [a.actor_id for w in topology.workers for a in w.actors]
    assert ids == [1, 2, 3, 4, 5, 6, 7, 8]
    again = generation_settings(config, topology.workers)
    assert again == {w.slot: {str(a.actor_id): a.settings for a in w.actors} for w in topology.workers}


def test_limits_are_exact_and_complete() -> None:
    risk = parse_config(TEXT + '[risk]\nmax_exposure = "12.5"\nmax_silence_ms = 3\n', "x").risk
    limits = risk_limits(risk)
    assert set(limits) == {f.name for f in fields(Limits)}
    assert limits["max_exposure_e8"] == 1_250_000_000
    assert limits["max_silence_ns"] == 3_000_000
    Limits(**limits)


def test_two_venues_of_one_namespace_are_refused() -> None:
    with pytest.raises(TopologyError, match=r"venues\.two and venues\.one both use adapter aa"):
        make(TEXT.replace('"bb"', '"aa"'))


def test_strategy_on_a_symbol_the_venue_lacks_is_refused() -> None:
    with pytest.raises(TopologyError, match=r"strategy maker: venues\.one has no CCC"):
        make(TEXT.replace('["BBB"]', '["CCC"]'))


@pytest.mark.parametrize("symbols", ['["BTC-USDT-SWAP"]', '["BTC-USDT-PERP"]', "[]"])
@pytest.mark.parametrize("name", ["BTC-USDT-SWAP", "BTC-USDT-PERP"])
def test_a_strategy_may_name_what_the_venue_has_by_either_name(name: str, symbols: str) -> None:
    text = CHECKED.replace("binance_usdm", "okx").replace("ANY", name)
    text = text.replace('adapter = "okx"', f'adapter = "okx"\nsymbols = {symbols}')
    urls = {"one": VenueUrls("ws://h", "http://h", None, ("BTC-USDT-SWAP",), URLS["one"].orders)}
    make(text, urls)
    like = r"BTC-USDT-PREP.*BTC-USDT-PERP"
    with pytest.raises((TopologyError, ConfigError), match=like):
        make(text.replace(f'instruments = ["{name}"]', 'instruments = ["BTC-USDT-PREP"]'), urls)


def test_venue_without_the_configured_symbol_is_refused() -> None:
    with pytest.raises(TopologyError, match=r"venues\.one does not trade BBB"):
        make(
            TEXT.replace("priority = 2", 'priority = 2\nsymbols = ["BBB"]'),
            URLS | {"one": VenueUrls("ws://h:1", "http://h:2", None, ("AAA",))},
        )


def test_infrastructure_is_not_a_strategy() -> None:
    with pytest.raises(TopologyError, match='"reference" is not a kind of strategy'):
        make(TEXT.replace('"market_maker"', '"reference"'))


def test_more_workers_than_slots_are_refused() -> None:
    venues = "".join(f'[venues.v{i}]\nadapter = "a{i}"\n[venues.v{i}.simulated]\n' for i in range(60))
    urls = {f"v{i}": VenueUrls("ws://h:1", "http://h:2", None, ("A",)) for i in range(60)}
    with pytest.raises(TopologyError, match="67 worker slots are needed"):
        make('[engine]\nplacement = "spread"\n' + venues, urls)


CHECKED = """\
[venues.one]
adapter = "binance_usdm"
[venues.one.simulated]
instruments = 3
[[strategies]]
name = "maker"
kind = "market_maker"
venue = "one"
instruments = ["ANY"]
[strategies.settings]
"""


def test_check_tells_the_placement_without_starting_anything() -> None:
    assert check_config(parse_config(CHECKED, "x")).startswith("default: housekeeping@-")


def test_check_names_settings_a_role_would_refuse() -> None:
    with pytest.raises(ConfigError, match=r"x: strategies\[0\]\.settings: .*unknown setting 'edgy'"):
        check_config(parse_config(CHECKED + "edgy = 1\n", "x"), "x")


def test_check_names_an_unknown_kind() -> None:
    with pytest.raises(ConfigError, match=r"strategies\[0\]\.kind: unknown role 'market_mkr'"):
        check_config(parse_config(CHECKED.replace("market_maker", "market_mkr"), "x"))


def test_check_names_an_unknown_adapter() -> None:
    with pytest.raises(ConfigError, match=r"venues\.one\.adapter: unknown venue 'nowhere'; known venues: "):
        check_config(parse_config(CHECKED.replace("binance_usdm", "nowhere"), "x"))


@pytest.mark.parametrize("key", ["depth_stream", "trade_stream"])
def test_check_names_a_stream_that_the_venue_does_not_have(key: str) -> None:
    text = CHECKED.replace('adapter = "binance_usdm"', f'adapter = "binance_usdm"\n{key} = "books"')
    with pytest.raises(ConfigError, match=rf"venues\.one\.{key}: binance_usdm: no {key[:5]} stream 'books'"):
        check_config(parse_config(text, "x"))


def test_check_names_a_missing_capture() -> None:
    text = CHECKED.replace("instruments = 3", 'capture = ["/no/such.gz"]')
    with pytest.raises(ConfigError, match=r"venues\.one\.simulated\.capture: there is no file /no/such\.gz"):
        check_config(parse_config(text, "x"))


def test_what_is_found_late_is_named_by_its_line_too(tmp_path: Path) -> None:
    file = tmp_path / "x.toml"
    file.write_text(CHECKED.replace("binance_usdm", "nowhere"))
    line = next(i for i, text in enumerate(file.read_text().splitlines(), 1) if "nowhere" in text)
    with pytest.raises(ConfigError, match=rf"x\.toml:{line}: venues\.one\.adapter: unknown venue 'nowhere'"):
        check_config(parse_config(file.read_text(), str(file)), str(file))
