"""The clock of a simulated venue, as who asks for it sees it; pings that keep a recorder's connections up."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from actors.venue_care import VenueClock
from feeds.adapter import HttpRequest
from feeds.transport.rest import HttpReply, RestClient
from feeds.venues import get_adapter
from shm.clock import now_ns, utc_ns
from tests.tools.venue_kit import connect
from tools.recorder import Recorder, RecorderSettings
from tools.venues.faults_desk import FAULTS_PATH
from tools.venues.protocol import HttpRequest as VenueRequest
from tools.venues.run import VenueRun, VenueSettings
from tools.venues.synthetic_source import SyntheticSettings

MS = 1_000_000


class EvenLoop(asyncio.SelectorEventLoop):
    """A loop whose clock leaves stalls out: however long the process got no core, 20 ms have passed.

    So of two timers the earlier one is first by as many turns as lie between them, on any machine.
    """

    _seen_s = _even_s = 0.0

    def time(self) -> float:
        """The even clock."""
        now_s = time.monotonic()
        self._even_s += min(now_s - self._seen_s, 0.02)
        self._seen_s = now_s
        return self._even_s


def play(settings: VenueSettings, script: Callable[[VenueRun], Awaitable[None]], **limits: object) -> None:
    """Run a venue in this process, and a script against it."""

    async def run() -> None:
        venue = VenueRun(settings)
        venue.protocol.limits = replace(venue.protocol.limits, **limits)  # type: ignore[arg-type]
        with ExitStack() as stack:
            await venue.start(stack)
            try:
                await script(venue)
            finally:
                await venue.stop()

    with asyncio.Runner(loop_factory=EvenLoop) as runner:
        runner.run(run())


@pytest.mark.parametrize("venue", ["binance_usdm", "okx", "bybit_linear"])
@pytest.mark.parametrize("skew_ms", [100, -2_500])
def test_the_gauge_reads_a_venues_skew_though_its_market_stands_still(venue: str, skew_ms: int) -> None:
    async def ask(run: VenueRun) -> None:
        await run.source_done()  # market time stands from here on; the clock of a venue does not
        adapter = get_adapter(venue)
        client = RestClient(str(run.ready["rest"]), now_ns=now_ns)

        async def get(request: HttpRequest) -> HttpReply:
            return await client.send(request.method, request.path, request.weight)

        clock = VenueClock(adapter, get, utc_ns)
        for _ in range(5):
            await clock.ask()
            await asyncio.sleep(0.01)  # so that the venue's milliseconds are cut elsewhere
        await client.close()
        estimate = clock.estimate()
        assert estimate is not None
        assert abs(estimate.offset_ns - skew_ms * MS) <= estimate.error_ns + 1
        assert clock.offset.steps == 0

    market = SyntheticSettings(1, 1000.0, 1, update_limit=5, skew_ms=skew_ms)
    play(VenueSettings(venue, market, start="immediately"), ask)


@pytest.mark.parametrize(("venue", "path", "stream"), [
    ("okx", "/ws/v5/public", b'{"op":"subscribe","args":[{"channel":"status"}]}'),
    ("bybit_linear", "/v5/public/misc/status", b'{"op":"subscribe","args":["system.status"]}'),
])  # fmt: skip
def test_a_maintenance_is_said_when_it_begins_and_ends_and_to_who_comes_between(
    venue: str, path: str, stream: bytes
) -> None:
    async def script(run: VenueRun) -> None:
        first = await connect(run, path)
        first.send(stream)
        await first.until(lambda one: any(b"subscribe" in frame for frame in one.frames))
        fault = b"now: maintenance seconds=0.5 cut=0"
        assert run.faults.on_http(VenueRequest("POST", FAULTS_PATH, (), {}, fault)).status == 200
        await first.until(lambda one: any(b'"ongoing"' in frame for frame in one.frames))
        second = await connect(run, path)
        second.send(stream)
        await second.until(lambda one: any(b'"state"' in frame for frame in one.frames))
        for listener in (first, second):
            await listener.until(lambda one: any(b'"completed"' in frame for frame in one.frames))
            assert listener.closed is None

    play(VenueSettings(venue, SyntheticSettings(1, 0.0), start="immediately"), script)


def test_a_recorder_pings_where_the_venue_cuts_who_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def record(run: VenueRun, *, pings: bool) -> int:
        """Record a silent market until its connections were pinged or cut; returns the cuts."""
        symbols = tuple(item.symbol for item in run.source.instruments())
        recorder = Recorder(
            RecorderSettings(
                "okx", symbols, tmp_path, str(run.ready["ws"]), str(run.ready["rest"]), snapshot_every_s=0
            )
        )
        monkeypatch.setattr(type(recorder.adapter), "ping_after_ns", 100 * MS)
        if not pings:
            monkeypatch.setattr(type(recorder.adapter), "ping", b"")
        task = asyncio.create_task(recorder.run())
        counts = run.hub.statistics
        while not (sum(counts.disconnects.values()) or counts.requests >= 20):
            await asyncio.sleep(0.01)
        recorder.stop()
        cuts = sum(counts.disconnects.values())
        await task
        return cuts

    async def with_pings(run: VenueRun) -> None:
        assert await record(run, pings=True) == 0

    async def without(run: VenueRun) -> None:
        assert await record(run, pings=False) > 0

    settings = VenueSettings("okx", SyntheticSettings(1, 0.0), start="immediately")
    play(settings, with_pings, idle_s=0.5, idle_counts_sent=False)
    play(settings, without, idle_s=0.5, idle_counts_sent=False)
