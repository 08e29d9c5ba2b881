"""Which rate limits a run counts: one per host, one per account, shares and factors."""

from __future__ import annotations

import asyncio
import time
from typing import Any, cast

import pytest

from actors.venue_account import VenueAccount
from engine.config import parse_config
from engine.rates import RatePlan, connects_rule, plan_rates
from engine.venue_client import VenueClient
from exec.rate_limits import AccountRates, limits_of
from exec.venues import PROTOCOLS
from feeds.venues import ADAPTERS, get_adapter
from shm.clock import utc_ns
from shm.enums import RateLane
from shm.rate_ledger import RateLedger
from shm.rate_rules import SECOND_NS

REAL = """
[venues.{name}]
adapter = "{name}"
websocket_url = "wss://{host}"
rest_url = "https://api.{host}"
symbols = ["BTCUSDT"]
"""


def plan(text: str, order_instruments: int = 0) -> RatePlan:
    config = parse_config(text, "x")
    urls = {n: (v.rest_url or "http://h:1", v.websocket_url or "ws://h:2") for n, v in config.venues.items()}
    return plan_rates(config.venues, urls, order_instruments)


def real(name: str, host: str) -> str:
    return REAL.format(name=name, host=host)


def test_two_namespaces_at_one_host_share_its_limits() -> None:
    made = plan(real("bybit_linear", "b.com") + real("bybit_spot", "b.com") + real("okx", "o.com"))
    assert made.names["bybit_linear"] == made.names["bybit_spot"]
    assert sorted(rule.name for rule in made.rules) == [
        "api.b.com.weight", "api.o.com.weight", "b.com.connects", "o.com.connects",
    ]  # fmt: skip


def test_a_simulated_venue_is_counted_by_its_name_and_as_often_as_configured() -> None:
    text = '[venues.sim]\nadapter = "okx"\n[venues.sim.simulated]\ninstruments = 1\nrate_factor = 10.0\n'
    made = plan(text)
    assert made.names["sim"] == {"weight": "sim.weight", "connects": "sim.connects"}
    assert {rule.name: rule.limit for rule in made.rules} == {"sim.weight": 400, "sim.connects": 30}


def test_venues_on_this_machine_have_limits_of_their_own_and_one_venue_has_one() -> None:
    local = [real(name, host) for name, host in (("okx", "127.0.0.1:7"), ("binance_usdm", "127.0.0.1:8"))]
    local += [real(name, "localhost:9") for name in ("bybit_linear", "bybit_spot")]
    text = "".join(local).replace("https://api.", "https://")
    made = plan(text, 4)
    assert sorted(rule.name for rule in made.rules if rule.name.endswith("connects")) == [
        "127.0.0.1:7.connects", "127.0.0.1:8.connects", "localhost:9.connects",
    ]  # fmt: skip
    assert len({made.accounts[name]["connects"] for name in ("okx", "binance_usdm", "bybit")}) == 3


def test_a_share_leaves_the_rest_to_other_programs_of_the_address() -> None:
    made = plan(real("binance_usdm", "f.com") + "rate_share = 0.5\n")
    assert {rule.name: rule.limit for rule in made.rules} == {"api.f.com.weight": 1200, "f.com.connects": 150}


@pytest.mark.parametrize("name", sorted(ADAPTERS))
def test_every_book_can_have_its_snapshot_at_the_start_without_waiting(name: str) -> None:
    """The depth is chosen so that all snapshots cost 45 % of a minute: the resync lane has them at once."""
    adapter = get_adapter(name)
    made = plan(real(name, "h.com"))
    ledger = RateLedger.create(bytearray(RateLedger.bytes_needed(made.rules)), made.rules)
    bucket = ledger.bucket(made.names[name]["weight"])
    limit, seconds = adapter.rest_limit
    assert ledger.take(bucket, RateLane.RESYNC, int(0.45 * limit), SECOND_NS) == 0
    view = ledger.view(bucket, SECOND_NS)
    assert (view.limit, view.window_ns >= seconds * SECOND_NS) == (limit, True)


@pytest.mark.parametrize("name", sorted(ADAPTERS))
def test_connection_attempts_stay_below_what_the_venue_allows(name: str) -> None:
    adapter = get_adapter(name)
    made = connects_rule("x", adapter)
    assert made.limit / made.window_ns * SECOND_NS <= adapter.connects_per_second
    assert made.burst_of(made.limit) <= adapter.connect_burst
    assert connects_rule("x", adapter, 0.1).lasting_per_s <= 0.1


def test_where_attempts_are_counted_each_second_two_sockets_connect_at_once_and_no_second_sees_too_many() -> (
    None
):
    adapter = get_adapter("okx")
    rule = connects_rule("x", adapter)
    ledger = RateLedger.create(bytearray(RateLedger.bytes_needed((rule,))), (rule,))
    bucket, granted = ledger.bucket("x"), []
    for now_ns in range(SECOND_NS, 6 * SECOND_NS, SECOND_NS // 100):
        while not ledger.take(bucket, RateLane.CANCEL, 1, now_ns):
            granted.append(now_ns)
    assert granted[:2] == [SECOND_NS] * 2
    most = max(sum(at <= other < at + SECOND_NS for other in granted) for at in granted)
    assert most <= adapter.connects_per_second


@pytest.mark.parametrize("protocol", sorted(PROTOCOLS))
def test_an_account_has_a_rule_for_each_purpose_and_shares_those_of_its_address(protocol: str) -> None:
    adapter = next(a for a in sorted(ADAPTERS) if a.startswith(protocol))
    made = plan(real(adapter, "h.com"), order_instruments=5)
    limits = limits_of(protocol)
    names = made.accounts[protocol]
    assert set(names) == {rule.name for rule in limits.RULES}
    for purpose, market_data in limits.SHARED.items():
        assert names[purpose] == made.names[adapter][market_data]
    ledger = RateLedger.create(bytearray(RateLedger.bytes_needed(made.rules)), made.rules)
    for rule in limits.RULES:
        first, last = ledger.bucket(names[rule.name], 0), ledger.bucket(names[rule.name], 4)
        assert last - first == (4 if rule.scope.name == "INSTRUMENT" else 0)


def test_without_orders_no_account_is_counted_and_an_unknown_adapter_declares_nothing() -> None:
    assert plan(real("okx", "o.com")).accounts == {}
    text = real("okx", "o.com").replace('adapter = "okx"', 'adapter = "nobody"')
    assert plan(text).rules == ()


@pytest.mark.parametrize("name", sorted(ADAPTERS))
def test_order_sockets_connect_at_the_expense_of_the_same_rule_as_feeds(name: str) -> None:
    made = plan(real(name, "h.com"), 4)
    assert [one["connects"] for one in made.accounts.values()] == [made.names[name]["connects"]]


@pytest.mark.parametrize("name", sorted(ADAPTERS))
def test_the_sentinels_own_sockets_come_out_of_the_same_ledger_and_are_the_last_to_wait(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    made = plan(real(name, "h.com"), 4)
    ((protocol, names),) = made.accounts.items()
    ledger = RateLedger.create(bytearray(RateLedger.bytes_needed(made.rules)), made.rules)
    monkeypatch.setenv("PART", "x")
    part = {"env": "PART"}
    account = VenueAccount(
        "main", protocol, [name], rates=dict(names), api_key=part, secret=part, passphrase=part
    )
    rates = AccountRates(ledger, protocol, names, utc_ns)
    client = VenueClient(account, "", tag="rl0000", directory=cast(Any, None), rates=rates)
    gate, bucket = client.gate(), ledger.bucket(names["connects"])
    assert gate is not None
    now = SECOND_NS * 1_000
    for lane in (RateLane.RESYNC, RateLane.RECONCILE):
        while not ledger.take(bucket, lane, 1, now):
            pass
    passed = 0
    while not gate.delay_ns(now):
        passed += 1
    assert ledger.take(bucket, RateLane.CANCEL, 1, now) != 0
    view = ledger.view(bucket, now)
    assert passed or view.burst == 1  # one at once is one at once: whoever comes first has it
    asyncio.run(client.close())


def test_what_a_venue_states_to_the_sentinel_is_learned_too(monkeypatch: pytest.MonkeyPatch) -> None:
    made = plan(real("bybit_linear", "h.com") + "rate_share = 0.5\n", 4)
    monkeypatch.setenv("PART", "x")
    part = {"env": "PART"}
    account = VenueAccount(
        "main", "bybit", ["bybit_linear"], api_key=part, secret=part, **made.account_settings("bybit")
    )
    ledger = RateLedger.create(bytearray(RateLedger.bytes_needed(made.rules)), made.rules)
    rates = account.make_rates(ledger, utc_ns)
    client = VenueClient(account, "", tag="rl0000", directory=cast(Any, None), rates=rates)

    answered_ns: list[int] = []

    async def send(_: object) -> tuple[int, dict[str, str], bytes]:
        answered_ns.append(time.monotonic_ns())
        stated = {"x-bapi-limit": "6", "x-bapi-limit-status": "4"}
        return 200, stated, b'{"retCode":0,"retMsg":"OK","result":{"list":[]}}'

    monkeypatch.setattr(client, "_send", send)
    bucket = ledger.bucket(account.rates["mass_cancel.linear"])
    assert ledger.view(bucket, 0).limit == 5

    async def ask() -> None:
        await client.ask(client.protocol.mass_cancel((), 1, utc_ns())[0])
        await client.close()

    asyncio.run(ask())
    view = ledger.view(bucket, answered_ns[0])  # what is used is forgotten within a second
    assert (view.limit, view.used > 0) == (3, True)
