"""Make before break, from outside: connections are cut one after the other and no book notices."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from operator import ne
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import orjson
import pytest

from feeds.adapter import StreamSettings
from feeds.venues import get_adapter
from tests.kit.cutting_proxy import CuttingProxy
from tests.kit.engine_run import COMMAND, PATIENT, ROOT, EngineRun, engine, until
from tools.outside.books import BookRow
from tools.verbs.books import begin_books

pytestmark = pytest.mark.timeout(400)

LINES = """
name = "{name}"
[engine]
{patient}
[venues.cut]
adapter = "{adapter}"
websocket_url = "ws://127.0.0.1:{port}"
rest_url = "{rest}"
symbols = {symbols}
priority = 1
connections = 2
connects_per_s = 100.0
{more}
"""


@contextmanager
def venue(name: str, rate: int) -> Iterator[dict[str, Any]]:
    """A simulated venue, ready."""
    process = subprocess.Popen(
        [*COMMAND, "venue", name, "--instruments", "4", "--rate", str(rate), "--start", "immediately"],
        cwd=ROOT, stdout=subprocess.PIPE,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        yield orjson.loads(process.stdout.readline())
    finally:
        process.terminate()
        process.communicate()


def known(number: int | None) -> int:
    """A figure of a book that could be read."""
    assert number is not None
    return number


class Watch:
    """Looks at the books from outside; a book that was once LIVE must be so at every look."""

    def __init__(self, run: EngineRun) -> None:
        self._session = begin_books(run.name, run.state, [], 1)
        self.looks = 0

    def rows(self) -> list[BookRow]:
        return list(self._session.look().rows)

    def are_live(self) -> bool:
        rows = self.rows()
        return len(rows) == 4 and all(row.state == "LIVE" for row in rows)

    def proofs(self) -> list[tuple[str, int | None, int | None, int | None]]:
        """What would be another number if a book had not been LIVE for a moment."""
        rows = self.rows()
        # Why a LIVE book was last marked is not asked: where everything takes long its updates may be late.
        assert {row.state for row in rows} == {"LIVE"}, {(row.state, row.reason) for row in rows}
        self.looks += 1
        return sorted((row.symbol, row.live_id, row.gaps, row.resyncs) for row in rows)

    def sequences(self) -> list[int | None]:
        return [row.last_sequence for row in self.rows()]


@contextmanager
def lines(folder: Path, adapter: str, rate: int, more: str = "") -> Iterator[tuple[Watch, CuttingProxy]]:
    """An engine whose connections to a simulated venue go through a proxy; all its books are LIVE."""
    with venue(adapter, rate) as ready, CuttingProxy(int(urlsplit(ready["ws"]).port or 0)) as proxy:
        name = f"lines{os.getpid()}"
        config = LINES.format(
            name=name, patient=PATIENT, adapter=adapter, port=proxy.port, rest=ready["rest"], more=more,
            symbols=orjson.dumps(ready["symbols"]).decode(),
        )  # fmt: skip
        with engine(folder, config=config, name=name) as run:
            run.wait_running()
            watch = Watch(run)
            until(watch.are_live, "every book is LIVE")
            # The second line of a group may come after its books are LIVE; from here on all of them stand.
            groups = len(get_adapter(adapter).connections(ready["symbols"], StreamSettings()))
            until(lambda: proxy.connections == 2 * groups, "every line stands")
            yield watch, proxy


def cut_in_turn(watch: Watch, proxy: CuttingProxy, cuts: int) -> None:
    """Cut the line that stands longest, again and again, once the one cut before has come back."""
    standing, began, before_cuts = proxy.connections, watch.proofs(), proxy.cuts
    assert standing >= 2
    for cut in range(1, cuts + 1):
        until(lambda: proxy.connections == standing, "every line stands")
        # Standing is not enough: what a line brings must have come through before the other one goes.
        for _ in range(2):
            before = watch.sequences()
            until(lambda: all(map(ne, watch.sequences(), before)), "every book went on")  # noqa: B023
        proxy.cut_oldest()
        until(lambda: proxy.cuts == before_cuts + cut, "one is cut")  # noqa: B023
        assert watch.proofs() == began
    until(lambda: proxy.connections == standing, "every line stands")
    assert watch.proofs() == began, "a book was not LIVE for a moment"
    assert proxy.cuts == before_cuts + cuts


def test_books_stay_live_while_connections_are_cut_one_after_the_other(tmp_path: Path) -> None:
    with lines(tmp_path, "binance_usdm", 2_000) as (watch, proxy):
        cut_in_turn(watch, proxy, 8)


@pytest.mark.prove
@pytest.mark.parametrize("adapter", ["binance_usdm", "okx", "bybit_linear", "bybit_spot"])
def test_books_stay_live_through_many_cuts_at_every_venue(adapter: str, tmp_path: Path) -> None:
    with lines(tmp_path, adapter, 2_000) as (watch, proxy):
        cut_in_turn(watch, proxy, 12)


@pytest.mark.soak
@pytest.mark.timeout(0)
@pytest.mark.parametrize("adapter", ["binance_usdm", "okx", "bybit_linear", "bybit_spot"])
def test_no_gap_while_each_connection_is_cut_every_few_seconds_for_minutes(
    adapter: str, tmp_path: Path
) -> None:
    seconds = float(os.environ.get("RINGLANE_CUT_SECONDS", "300"))
    with lines(tmp_path, adapter, 2_000) as (watch, proxy):
        began, first, cuts = time.monotonic(), watch.sequences(), 0
        while time.monotonic() - began < seconds:
            cut_in_turn(watch, proxy, 10)
            cuts += 10
        took = time.monotonic() - began
        gaps = sum(known(row.gaps) for row in watch.rows())
        print(
            f"{adapter}: {cuts} cuts of {proxy.connections} connections in {took:.0f} s, one each"
            f" {took * proxy.connections / cuts:.1f} s per connection: {gaps} gaps, {watch.looks} looks all"
            f" LIVE, sequences went on by {sum(map(known, watch.sequences())) - sum(map(known, first))}"
        )
        assert gaps == 0


def test_lines_are_replaced_before_the_venue_ends_them(tmp_path: Path) -> None:
    with lines(tmp_path, "binance_usdm", 2_000, "rotate_s = 1.5") as (watch, proxy):
        began, standing, first = watch.proofs(), proxy.connections, proxy.accepted
        until(
            lambda: watch.proofs() == began and proxy.accepted >= first + 4 and proxy.connections == standing,
            "four lines were replaced, and the old ones closed",
        )
        assert proxy.cuts == 0
