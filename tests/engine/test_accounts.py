"""Accounts of a run: where keys come from, who gets them, and who never sees them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import orjson
import pytest

from actors.account_ports import pack_answer, pack_request, unpack_answer, unpack_request
from actors.runtime.spec import WorkerSpec
from actors.venue_account import VenueAccount
from engine.accounts import VENUE_KEYS, AccountKeys, OrderUrls, account_rows, variable
from engine.checking import key_warnings
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
    keys = AccountKeys(simulated())
    theirs = orjson.loads(keys.of_venue("binance-usdm")[VENUE_KEYS])
    ours = keys.of_worker(WorkerSpec(3, "trade", "trade", gateways=[3]))
    assert theirs[0]["account"] == "main"
    for part in ("api_key", "secret", "passphrase"):
        assert theirs[0][part] == ours[variable("binance-usdm", part)]
        assert theirs[0][part] not in repr(keys)
    assert keys.of_worker(WorkerSpec(2, "feed", "feed", gateways=[3])) == {}
    assert keys.of_venue("other") == {}
    assert AccountKeys(simulated()).of_venue("binance-usdm") != keys.of_venue("binance-usdm")
    assert AccountKeys(simulated("paper")).of_venue("binance-usdm") == {}


def test_keys_of_a_real_account_are_empty_in_the_environment_of_who_signs_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("KEY", "not for everybody")
    text = REAL.format(name="one", adapter="okx", secret=tmp_path) + ORDERS.format(mode="venue")
    keys = AccountKeys(parse_config(text, "x"))
    gateway, sentinel, feed = (
        WorkerSpec(slot, "w", "w", gateways=[3], sentinel_slot=4) for slot in (3, 4, 2)
    )
    assert keys.of_worker(gateway) == keys.of_worker(sentinel) == {}  # as the supervisor has them
    assert keys.of_worker(feed) == keys.of_venue("a simulated one beside it") == {"KEY": ""}
    monkeypatch.delenv("KEY")
    assert AccountKeys(parse_config(text, "x")).of_worker(feed) == {}


@pytest.mark.parametrize(
    ("mode", "text"), [(0o600, ""), (0o640, "mode 0640"), (0o604, "mode 0604"), (None, "there is no file")]
)
def test_a_key_file_that_others_can_read_or_that_is_not_there_is_warned_of(
    tmp_path: Path, mode: int | None, text: str
) -> None:
    file = tmp_path / "secret"
    if mode is not None:
        file.write_text("s")
        file.chmod(mode)
    config = parse_config(
        REAL.format(name="one", adapter="okx", secret=file) + ORDERS.format(mode="venue"), "x"
    )
    found = key_warnings(config)
    assert len(found) == bool(text)
    assert all(text in one and one.startswith("venues.one.account.secret: ") for one in found)
    account = VenueAccount("one", "okx", ["okx"], api_key={"env": "KEY"}, secret={"file": str(file)})
    assert len(account.exposed_keys()) == (mode in (0o640, 0o604))


def test_a_process_that_has_read_keys_leaves_no_core_dump() -> None:
    code = (
        "import resource; from actors.venue_account import VenueAccount; place = {'env': 'PATH'};"
        "VenueAccount('a', 'okx', ['okx'], api_key=place, secret=place).read_keys();"
        "print(resource.getrlimit(resource.RLIMIT_CORE)[0])"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert int(done.stdout) <= 1


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
