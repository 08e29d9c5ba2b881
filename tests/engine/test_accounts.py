"""Accounts of a run: where keys come from, who gets them, and who never sees them."""

from __future__ import annotations

import orjson
import pytest

from actors.account_ports import pack_answer, pack_request, unpack_answer, unpack_request
from actors.runtime.spec import WorkerSpec
from engine.accounts import VENUE_KEYS, OrderUrls, SimulatedKeys, account_rows, variable
from engine.config import Config, parse_config
from engine.errors import ConfigError, TopologyError
from exec.order_protocol import Lane, Request, RequestKind, Way

SIMULATED = """
[venues.{name}]
adapter = "{adapter}"
[venues.{name}.simulated]
instruments = 1
"""
REAL = """
[venues.{name}]
adapter = "{adapter}"
websocket_url = "wss://a"
rest_url = "https://b"
symbols = ["S"]
[venues.{name}.account]
api_key = {{ env = "KEY" }}
secret = {{ file = "{secret}" }}
"""
ORDERS = '[orders]\nmode = "{mode}"\n'
URLS = OrderUrls("ws://o", "ws://p", "http://r")


def simulated(mode: str = "venue", *venues: str) -> Config:
    texts = [
        SIMULATED.format(name=name.replace("_", "-"), adapter=name) for name in venues or ("binance_usdm",)
    ]
    return parse_config("".join(texts) + ORDERS.format(mode=mode), "x")


def test_a_real_venue_without_an_account_is_a_mistake_named_before_the_start() -> None:
    text = REAL.split("[venues.{name}.account]")[0].format(name="one", adapter="okx") + ORDERS.format(
        mode="venue"
    )
    with pytest.raises(ConfigError, match=r"orders.mode = .venue. needs an account here") as caught:
        parse_config(text, "x")
    assert [problem.line for problem in caught.value.problems] == [2]
    parse_config(text.replace('"venue"', '"paper"'), "x")


def test_a_simulated_venue_that_does_not_trade_is_a_mistake() -> None:
    text = SIMULATED.format(name="one", adapter="okx") + "trade = false\n" + ORDERS.format(mode="venue")
    with pytest.raises(ConfigError, match="needs a venue that trades"):
        parse_config(text, "x")


def test_a_key_written_into_the_file_is_refused() -> None:
    text = REAL.format(name="one", adapter="okx", secret="s").replace('{ env = "KEY" }', '"0123456789"')
    with pytest.raises(ConfigError) as caught:
        parse_config(text, "x")
    assert "a secret must not be in the file" in str(caught.value)


def test_random_keys_go_to_the_venue_and_to_the_worker_that_signs_alone() -> None:
    keys = SimulatedKeys(simulated())
    theirs = orjson.loads(keys.of_venue("binance-usdm")[VENUE_KEYS])
    ours = keys.of_worker(WorkerSpec(3, "trade", "trade", gateways=[3]))
    assert theirs[0]["account"] == "main"
    for part in ("api_key", "secret", "passphrase"):
        assert theirs[0][part] == ours[variable("binance-usdm", part)]
        assert theirs[0][part] not in repr(keys)
    assert keys.of_worker(WorkerSpec(2, "feed", "feed", gateways=[3])) == {}
    assert keys.of_venue("other") == {}
    assert SimulatedKeys(simulated()).of_venue("binance-usdm") != keys.of_venue("binance-usdm")
    assert SimulatedKeys(simulated("paper")).of_venue("binance-usdm") == {}


def test_accounts_are_told_to_the_gateway_with_places_of_keys_and_to_the_sender_without() -> None:
    config = simulated()
    signing, sending = account_rows(config, {"binance-usdm": URLS}, {"binance-usdm": ["S"]})
    assert signing[0]["protocol"] == "binance_usdm" and signing[0]["venues"] == ["binance_usdm"]
    assert signing[0]["api_key"] == {"env": "RINGLANE_ACCOUNT_BINANCE_USDM_API_KEY"}
    assert (signing[0]["order_url"], signing[0]["private_url"]) == ("ws://o", "ws://p")
    assert sending == [{"name": "binance-usdm", "rest_url": "http://r", "ca_file": None}]
    assert account_rows(simulated("paper"), {}, {}) == ([], [])
    with pytest.raises(TopologyError, match="says nothing of order entry"):
        account_rows(config, {"binance-usdm": None}, {"binance-usdm": []})


def test_venues_of_one_account_share_a_session_and_simulated_ones_never_do() -> None:
    names = ("bybit_linear", "bybit_spot")
    texts = [REAL.format(name=n, adapter=n, secret="s") for n in names]
    config = parse_config("".join(texts) + ORDERS.format(mode="venue"), "x")
    signing, _ = account_rows(config, {}, {n: [n] for n in names})
    assert [(row["venues"], row["symbols"]) for row in signing] == [(list(names), list(names))]
    apart = simulated("venue", *names)
    urls = {n.replace("_", "-"): URLS for n in names}
    signing, _ = account_rows(apart, urls, {n.replace("_", "-"): [n] for n in names})
    assert [row["venues"] for row in signing] == [["bybit_linear"], ["bybit_spot"]]


def test_a_request_and_its_answer_survive_the_rings() -> None:
    request = Request(
        7,
        RequestKind.QUERY,
        Lane.RECONCILE,
        Way.REST,
        method="POST",
        path="/a?b=%5B1%5D&signature=x%2Fy%3D",
        body=b'{"a":"\xc3\xa4"}',
        headers=(("X-KEY", "k"),),
    )
    assert unpack_request(pack_request(request)) == ("POST", request.path, {"X-KEY": "k"}, request.body)
    headers = {"retry-after": "7"}
    assert unpack_answer(pack_answer(headers, b"first\nsecond")) == (headers, b"first\nsecond")
