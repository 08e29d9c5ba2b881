"""NautilusTrader's submit path: `python -P -m tools.bench.order_peer COUNT` prints ns per order as JSON.

A strategy in its backtest engine, risk engine on, makes a post-only limit order and submits it: order
factory, risk engine, execution engine, and the execution client of the simulated venue, which queues it. One
process, one thread, no ring and no journal.
"""

from __future__ import annotations

import sys
import time
from typing import Any

import orjson

from tools.venues.bench_peers import order_instrument

WARM = 500
RATE = "100000000/00:00:01"


def measure(count: int) -> list[int]:
    """What each order took, in ns."""
    from nautilus_trader.backtest.engine import BacktestEngine  # type: ignore[import-not-found,unused-ignore]
    from nautilus_trader.config import BacktestEngineConfig, LoggingConfig, RiskEngineConfig, StrategyConfig
    from nautilus_trader.model.currencies import USDT
    from nautilus_trader.model.data import QuoteTick  # type: ignore[import-not-found,unused-ignore]
    from nautilus_trader.model.enums import AccountType, OmsType, OrderSide
    from nautilus_trader.model.identifiers import Venue  # type: ignore[import-not-found,unused-ignore]
    from nautilus_trader.model.objects import Money  # type: ignore[import-not-found,unused-ignore]
    from nautilus_trader.trading.strategy import Strategy  # type: ignore[import-not-found,unused-ignore]

    instrument: Any = order_instrument()
    times: list[int] = []

    class Submits(Strategy):  # type: ignore[misc,unused-ignore]
        """Submits all orders at the first quote."""

        def on_start(self) -> None:
            """Ask for quotes."""
            self.subscribe_quote_ticks(instrument.id)

        def on_quote_tick(self, _tick: Any) -> None:
            """Submit."""
            if times:
                return
            clock = time.perf_counter_ns
            price, quantity = instrument.make_price(50_000), instrument.make_qty(0.01)
            for _ in range(count + WARM):
                begin = clock()
                order = self.order_factory.limit(
                    instrument.id, OrderSide.BUY, quantity, price, post_only=True
                )
                self.submit_order(order)
                times.append(clock() - begin)

    engine = BacktestEngine(
        BacktestEngineConfig(
            logging=LoggingConfig(bypass_logging=True),
            risk_engine=RiskEngineConfig(bypass=False, max_order_submit_rate=RATE),
            run_analysis=False,
        )
    )
    money = [Money(100_000_000, USDT)]
    engine.add_venue(instrument.id.venue or Venue("X"), OmsType.NETTING, AccountType.MARGIN, money)
    engine.add_instrument(instrument)
    bid, ask, size = instrument.make_price(60_000), instrument.make_price(60_001), instrument.make_qty(1)
    engine.add_data([QuoteTick(instrument.id, bid, ask, size, size, n * 10**9, n * 10**9) for n in (1, 2)])
    engine.add_strategy(Submits(StrategyConfig()))
    engine.run()
    accepted = engine.cache.orders_open_count()
    if accepted != count + WARM:
        raise RuntimeError(f"{accepted} of {count + WARM} orders were accepted")
    return times[WARM:]


if __name__ == "__main__":
    print(orjson.dumps(measure(int(sys.argv[1]))).decode())
