"""Correlation in the gateway: sampled from live marks, in bounded steps, in force at the gate."""

from __future__ import annotations

from typing import Any

import pytest

from actors.correlation_watch import BLOCK_ROWS, WARM_UP, CorrelationWatch
from actors.errors import SettingsError
from actors.gateway_settings import OrderGatewaySettings
from risk.correlation import CorrelationMonitor, Member
from shm.enums import Reason, Side, TimeInForce
from tests.kit.three_books import BINANCE, BYBIT, OKX, ThreeBooks

STEP_NS = 200_000_000
E8 = 10**8


def moved(**limits: int) -> ThreeBooks:
    """Two venues whose books move as one, and a third that moves by itself; watched until warm."""
    world = ThreeBooks(
        gateway={"correlation_step_ns": STEP_NS, "correlation_half_life": 50.0, "limits": limits}
    )
    up, other = 0, 0
    for step in range(2 * WARM_UP):
        up += (-7, 4, 9, -5, -1)[step % 5]
        other += (0, 3, 0, -3, 5, 0, -5)[step % 7]
        world.show(OKX, [(600_000 + up, 100)], [(600_001 + up, 100)])
        world.show(BYBIT, [(600_000 + up, 9_000)], [(600_002 + up, 9_000)])
        if step == 0:
            world.show(BINANCE, [(6_000_000 - 10 * i, 50) for i in range(30)], [
                (6_000_010 + 10 * i, 50) for i in range(30)
            ])  # fmt: skip
        else:
            world.show(BINANCE, [(6_000_000 + 10 * other, 50)], [(6_000_010 + 10 * other, 50)])
        world.advance(STEP_NS)
    return world


def test_books_that_move_as_one_are_a_group_for_the_gate_and_told() -> None:
    world = moved(max_correlated_notional_e8=100_000 * E8)
    watch = world.gateway.correlation
    assert watch.grouping.groups == [(Member(OKX, 1), Member(BYBIT, 1))]
    told = world.notes("correlation")[-1]
    assert told["groups"] == [["2:BTC-USDT-SWAP", "3:BTCUSDT"]]
    assert told["strongest"][0]["pair"] == ["2:BTC-USDT-SWAP", "3:BTCUSDT"]
    assert told["strongest"][0]["rho"] > 0.95
    assert told["samples"] >= WARM_UP
    ask = world.context.book(BYBIT).asks[0][0]  # type: ignore[union-attr]
    for units in (1_500, 1_500):  # 90,000 in one of them, 90,000 more in the same
        world.context.new_order(BYBIT, Side.BUY, ask, units, time_in_force=TimeInForce.IOC)
        world.advance(1)
    world.context.new_order(OKX, Side.BUY, world.context.book(OKX).asks[0][0], 100)  # type: ignore[union-attr]
    world.context.new_order(BINANCE, Side.BUY, 5_999_000, 1_500)
    world.advance(1)
    refused = [(r.instrument_id, r.reason) for r in world.actor.reports if r.kind == 6]
    assert refused == [(BYBIT, Reason.CORRELATION), (OKX, Reason.CORRELATION)]


def test_without_a_step_nothing_is_watched() -> None:
    world = ThreeBooks()
    world.advance(10**10)
    assert world.notes("correlation") == []


def test_a_new_half_life_begins_anew_and_lets_the_groups_go() -> None:
    world = moved()
    gateway = world.gateway
    gateway.on_config({"correlation_step_ns": STEP_NS, "correlation_half_life": 9.0}, 2)
    assert gateway.correlation.grouping.groups == []
    gateway.on_config({"correlation_step_ns": STEP_NS, "correlation_half_life": 9.0}, 3)
    world.advance(STEP_NS * 2)
    assert world.notes("correlation")[-1]["samples"] <= 3


def test_the_work_of_many_instruments_is_cut_into_steps() -> None:
    ids = range(10 * BLOCK_ROWS)
    monitor = CorrelationMonitor((), half_life=20, warm_up=2, block_rows=BLOCK_ROWS)
    monitor.extend(list(ids[:3]))
    monitor.extend(list(ids[3:]))
    for sample in range(5):
        monitor.sample(dict.fromkeys(ids, 10**9 + (sample * 7919 % 13) * 10**6))
    steps = list(monitor.grouping(0.9))
    assert len(steps) >= 30, "ten blocks of covariance, ten of signs, ten of links"
    assert all(step is None for step in steps[:-1])
    found = steps[-1]
    assert found is not None
    assert len(found.groups[0]) == len(ids)
    assert len(found.strongest) == 5


class Stepping:
    """A context whose clock moves by a fixed time whenever it is looked at, and whose timers wait."""

    def __init__(self, table: Any, tick_ns: int) -> None:
        self.instruments = table
        self.tick_ns = tick_ns
        self.at_ns = 0
        self.waiting: list[Any] = []
        self.told: list[Any] = []

    def now_ns(self) -> int:
        self.at_ns += self.tick_ns
        return self.at_ns

    def call_later(self, delay_ns: int, call: Any) -> None:
        assert delay_ns > 0
        self.waiting.append(call)

    def note(self, name: str, data: Any) -> None:
        self.told.append((name, data))


def test_a_step_that_took_its_time_lets_the_loop_go_on() -> None:
    world = moved()
    context: Any = Stepping(world.context.instruments, 60_000)
    config = OrderGatewaySettings(correlation_step_ns=1)
    watch = CorrelationWatch(context, world.gateway.gate, world.gateway.exposures, config)
    watch.on_heartbeat(1)
    pauses = 0
    while context.waiting and pauses < 100:
        pauses += 1
        watch.on_heartbeat(10**12)  # a sample that is due meanwhile waits
        context.waiting.pop()()
    assert pauses >= 4
    assert [name for name, _ in context.told] == ["correlation"]


@pytest.mark.parametrize(
    "fields", [{"correlation_threshold": 0.0}, {"correlation_half_life": 0.0}, {"correlation_step_ns": -1}]
)
def test_settings_that_make_no_sense_are_refused(fields: dict[str, float]) -> None:
    with pytest.raises(SettingsError, match="correlation"):
        OrderGatewaySettings(**fields)  # type: ignore[arg-type]
