"""A whole engine against a venue that restarts its numbers, and on many books within the request budget."""

from __future__ import annotations

import asyncio
import gzip
import os
import signal
import threading
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.kit.engine_run import PATIENCE_S, PATIENT, engine, synthetic, until
from tests.kit.hostile_venue import HostileVenue, http
from tools.verbs.books import begin_books

pytestmark = pytest.mark.timeout(400)

LOOPED = """
name = "{name}"
[engine]
{patient}
[venues.recorded]
adapter = "binance_usdm"
depth_stream = "depth@0ms"
trade_stream = "trade"
[venues.recorded.simulated]
capture = ["{capture}"]
speed = 10.0
at_end = "loop"
[[strategies]]
name = "maker"
kind = "market_maker"
venue = "recorded"
instruments = "all"
[orders]
mode = "paper"
"""


def test_a_capture_that_starts_again_and_again_is_proven_again_each_time(
    tmp_path: Path, market_data: Path
) -> None:
    """The venue closes its connections and its numbers run backwards: every round the book is LIVE anew."""
    with gzip.open(market_data / "binance" / "usdm_btcusdt_20240808.gz") as stream:
        lines = [stream.readline() for _ in range(4_000)]
    capture = tmp_path / "short.txt"
    capture.write_bytes(b"".join(lines))
    config = LOOPED.format(name=f"loop{os.getpid()}", patient=PATIENT, capture=capture)
    with engine(tmp_path, config=config) as run:
        run.wait_running()
        books = begin_books(run.name, run.state, [], 1)

        def life() -> int:
            """How many times the book has become LIVE, 0 while it is not."""
            return next((row.live_id or 0 for row in books.look().rows if row.state == "LIVE"), 0)

        for turn in (1, 2):
            was = until(life, "the book is LIVE")
            until(lambda n=turn: run.counters()["feed.gaps"] >= n, "the venue's numbers begin again")  # type: ignore[misc]
            until(lambda n=was: life() > n, "the book is LIVE anew")  # type: ignore[misc]
        run.signal(signal.SIGTERM)
        assert run.wait_ended() == 0, run.text()
        market = run.report()["market"]
        assert market["gaps"] >= 2, "the numbers that ran backwards are reported"
        assert market["resyncs"] >= 2
        assert market["rejected_frames"] == 0


def test_a_hundred_books_are_live_at_once_and_again_after_a_kill_of_the_feed(tmp_path: Path) -> None:
    """Two snapshots of a hundred books within a minute: with 1000 levels each more than the budget."""
    config, _ = synthetic(tmp_path, instruments=100, rate=3_000)
    config = config.replace("priority = 1", 'priority = 1\ndepth_stream = "depth@0ms"', 1)
    with engine(tmp_path, config=config) as run:
        run.wait_running()
        until(lambda: run.live() == 100, "all books are LIVE")
        before = run.worker("feed")
        os.kill(before["pid"], signal.SIGKILL)
        until(lambda: run.worker("feed").get("incarnation", 0) > before["incarnation"], "the feed is back")
        until(lambda: run.live() == 100, "all books are LIVE again")
        run.signal(signal.SIGTERM)
        assert run.wait_ended() == 0, run.text()
        assert sum(run.report()["market"]["books_by_state"].values()) == 100


HOSTILE = """
name = "{name}"
[engine]
{patient}
[venues.hostile]
adapter = "binance_usdm"
websocket_url = "ws://127.0.0.1:{port}"
rest_url = "http://127.0.0.1:{port}"
symbols = ["BTCUSDT"]
connections = 1 # a second line would bring, and count, each bad frame again
[[strategies]]
name = "maker"
kind = "market_maker"
venue = "hostile"
instruments = "all"
[orders]
mode = "paper"
"""


def begin_anew(venue: HostileVenue) -> None:
    venue.cut()
    venue.rewind(10)


def test_a_hostile_venue_is_survived_by_a_whole_engine_and_its_report_says_why(tmp_path: Path) -> None:
    """Garbage, an unknown symbol, a level that does not fit, a gap, refused snapshots, a cut: in one run."""
    with HostileThread() as venue:
        config = HOSTILE.format(name=f"hostile{os.getpid()}", patient=PATIENT, port=venue.port)
        with engine(tmp_path, config=config) as run:
            run.wait_running()
            until(lambda: run.live() == 1, "the book is LIVE")
            pid = run.worker("feed")["pid"]

            def asked_by(act: Callable[[HostileVenue], object]) -> None:
                """Do something that makes the engine ask for a snapshot, and wait for the request."""
                before = venue.value(lambda v: (v.snapshots, act(v))[0])
                until(lambda: venue.value(lambda v: v.snapshots) > before, "a snapshot is asked for")

            venue.call(lambda v: v.text(b'{"e":"depthUpdate","s":"BTCUSDT","U":'))
            asked_by(lambda v: v.text(v.update().replace(b"BTCUSDT", b"NOPEUSDT")))  # a gap, too
            until(lambda: run.live() == 1, "LIVE behind the gap")
            venue.call(lambda v: setattr(v, "answer", lambda: http(b"oops", "500 Internal Server Error")))
            asked_by(lambda v: v.text(v.update([["99.0000001", "1.000"]], [])))
            until(lambda: run.live() == 0, "not trusted while no snapshot comes")
            venue.call(lambda v: setattr(v, "answer", v.good_answer))
            until(lambda: run.live() == 1, "LIVE once snapshots come again")
            asked_by(begin_anew)
            until(lambda: run.live() == 1, "LIVE with numbers that began anew")
            assert run.worker("feed")["pid"] == pid, "nothing of it ended the worker"
            run.signal(signal.SIGTERM)
            assert run.wait_ended() == 0, run.text()
            report = run.report()
            assert report["market"]["rejected_frames"] == 2
            assert report["market"]["unknown_symbols"] == 1
            assert report["market"]["gaps"] >= 2
            told = "\n".join(fault["text"] for fault in report["faults"])
            for text in ("NOPEUSDT", "99.0000001", "status 500: oops", "depthUpdate"):
                assert text in told
            run.assert_nothing_left()


class HostileThread:
    """A hostile venue on a loop of its own."""

    def __enter__(self) -> HostileThread:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self._venue = HostileVenue(0.01)
        self._venue.instruments = EXCHANGE_INFO
        self._run(self._venue.start())
        self.port = self._venue.port
        return self

    def __exit__(self, *_: object) -> None:
        self._run(self._venue.stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(PATIENCE_S)

    def value(self, ask: Callable[[HostileVenue], Any]) -> Any:
        """Ask the venue something, on its own loop."""

        async def inside() -> Any:
            return ask(self._venue)

        return self._run(inside())

    def call(self, act: Callable[[HostileVenue], object]) -> None:
        """Make the venue do something, on its own loop."""
        self.value(act)


EXCHANGE_INFO = orjson.dumps(
    {
        "symbols": [
            {
                "symbol": "BTCUSDT", "pair": "BTCUSDT", "contractType": "PERPETUAL", "status": "TRADING",
                "baseAsset": "BTC", "quoteAsset": "USDT", "marginAsset": "USDT", "pricePrecision": 2,
                "quantityPrecision": 3,
                "filters": [
                    {"filterType": "PRICE_FILTER", "tickSize": "0.01"},
                    {"filterType": "LOT_SIZE", "stepSize": "0.001", "minQty": "0.001", "maxQty": "1000"},
                    {"filterType": "MIN_NOTIONAL", "notional": "5"},
                ],
            }
        ]
    }
)  # fmt: skip
