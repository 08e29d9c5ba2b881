"""Books that nothing changes: quiet ones stay LIVE by the venue's own word, mute ones do not."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feeds.auditor import Auditor
from feeds.errors import TransportError
from feeds.quiet import LEARNED, Quiet, QuietSettings, QuietWatch
from feeds.session import SessionSettings
from shm.clock import now_ns
from shm.enums import BookReason
from tests.kit.fault_scene import MS, FaultScene
from tests.kit.feed_rig import SECOND, Rig, depth, plain, snapshot_body
from tools.venues.protocol import HttpRequest

LEAST, MOST = 10 * SECOND, 120 * SECOND
BIDS, ASKS = [["99.00", "2.000"], ["98.00", "1.000"]], [["102.00", "2.000"]]
#: A signal that strikes inside a task ends that task and nobody else: a thread ends a test that hangs.
pytestmark = pytest.mark.timeout(120, method="thread")


# ---- what is usual -------------------------------------------------------------------------------


def taught(gaps_ns: list[int], settings: QuietSettings | None = None) -> tuple[QuietWatch, int]:
    """A watch that saw a book change after these silences, looked at four times a second."""
    watch = QuietWatch(settings or QuietSettings())
    watch.add(1, "BTCUSDT")
    now = data = 1000 * SECOND
    for gap in gaps_ns:
        while now < data + gap:
            watch.look(1, data, now)
            now += min(SECOND // 4, data + gap - now)
        data = now
        watch.look(1, data, now)
    return watch, now


def test_of_an_unknown_book_nothing_is_expected_soon() -> None:
    watch, _ = taught([])
    assert watch.limit_ns(1) == MOST


def test_a_busy_book_has_the_least_limit_and_a_slow_one_some_of_its_own_silences() -> None:
    assert taught([SECOND // 10] * 50)[0].limit_ns(1) == LEAST
    slow, _ = taught([8 * SECOND] * LEARNED)
    assert 4 * 7 * SECOND < slow.limit_ns(1) <= 4 * 8 * SECOND
    assert taught([90 * SECOND] * LEARNED)[0].limit_ns(1) == MOST


def test_a_repeat_that_is_due_bounds_every_limit() -> None:
    assert taught([], QuietSettings(repeat_ns=60 * SECOND))[0].limit_ns(1) == 90 * SECOND


def test_a_configured_limit_counts_instead_and_0_means_for_ever() -> None:
    fixed, now = taught([SECOND] * 20, QuietSettings(limits_ns={"BTCUSDT": 3 * SECOND}))
    assert fixed.limit_ns(1) == 3 * SECOND
    assert fixed.look(1, now, now + 4 * SECOND) is Quiet.MUTE
    off, now = taught([SECOND] * 20, QuietSettings(limits_ns={"BTCUSDT": 0}))
    assert off.look(1, now, now + 9999 * SECOND) is Quiet.USUAL


def test_the_venue_is_asked_once_half_way_and_its_word_makes_the_silence_usual() -> None:
    watch, now = taught([SECOND // 10] * 50)
    verdicts = [watch.look(1, now, now + n * SECOND) for n in range(13)]
    assert verdicts == [Quiet.USUAL] * 6 + [Quiet.ASK] + [Quiet.USUAL] * 4 + [Quiet.MUTE] * 2
    watch.vouch(1, now + 12 * SECOND)
    assert watch.look(1, now, now + 13 * SECOND) is Quiet.USUAL
    assert watch.limit_ns(1) == 48 * SECOND


@given(st.lists(st.integers(1, 200 * SECOND), min_size=LEARNED, max_size=30))
def test_a_limit_is_within_its_bounds_and_never_below_the_silence_seen_last(gaps_ns: list[int]) -> None:
    watch = QuietWatch(QuietSettings())
    watch.add(1, "X")
    now = SECOND
    for gap in gaps_ns:
        watch.look(1, now, now + gap)  # seen just before it ends
        now += gap
    watch.look(1, now, now)
    assert LEAST <= watch.limit_ns(1) <= MOST
    assert watch.limit_ns(1) >= min(4 * gaps_ns[-1], MOST)


@pytest.mark.parametrize(
    "bad",
    [{"least_ns": -1}, {"least_ns": 5, "most_ns": 4}, {"scale": 1.0}, {"limits_ns": {"X": -1}}],
)
def test_unusable_settings_are_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="not usable"):
        QuietSettings(**bad)


# ---- one session -----------------------------------------------------------------------------------


class Audited(Rig):
    """Two books on one line: ETHUSDT goes on, BTCUSDT has just fallen silent."""

    def __init__(self, **quiet: Any) -> None:
        self.renewed: list[int] = []
        super().__init__(
            [plain("BTCUSDT"), plain("ETHUSDT")],
            SessionSettings(quiet=QuietSettings(**quiet)),
            request_resubscribe=self.renewed.append,
        )
        self.asked: list[int] = []
        self.auditor = Auditor(self.session, self.rows, request=self._ask, period_ns=3600 * SECOND)
        self.last = {"BTCUSDT": 100, "ETHUSDT": 100}
        for symbol in self.last:
            self.frame(depth(symbol, 95, 100, 94, [], []))
            self.snapshot(symbol, snapshot_body(100, BIDS, ASKS))
        for _ in range(4 * LEARNED):
            self.beat("BTCUSDT", "ETHUSDT")

    def _ask(self, instrument_id: int) -> bool:
        self.asked.append(instrument_id)
        return True

    def beat(self, *symbols: str) -> None:
        """A quarter of a second in which these books change."""
        self.timer(SECOND // 4)
        self.auditor.on_timer(self.now_ns)
        for symbol in symbols:
            self.last[symbol] += 1
            self.frame(
                depth(symbol, self.last[symbol], self.last[symbol], self.last[symbol] - 1, [], []), 0, 1
            )

    def silence(self, seconds: float) -> None:
        for _ in range(round(seconds * 4)):
            self.beat("ETHUSDT")

    def answer(self, sequence: int, bids: list[list[str]]) -> None:
        assert self.auditor.on_answer(0, snapshot_body(sequence, bids, ASKS), self.now_ns)

    def reason(self) -> BookReason:
        certificate = self.core.certificate(0)
        assert certificate is not None
        return BookReason(certificate.reason)


def test_a_book_that_goes_silent_on_a_living_line_is_asked_about_then_stale() -> None:
    rig = Audited()
    rig.silence(7)
    assert (rig.asked, rig.state("BTCUSDT")) == ([0], "LIVE")
    rig.silence(5)
    assert (rig.state("BTCUSDT"), rig.reason()) == ("STALE", BookReason.SILENCE)
    assert (rig.state("ETHUSDT"), rig.renewed) == ("LIVE", [0])
    assert rig.session.statistics()["mutes"] == 1


def test_a_quiet_book_stays_live_by_the_venues_word_and_is_asked_about_ever_less() -> None:
    rig = Audited()
    for _ in range(4 * 600):
        rig.beat("ETHUSDT")
        if rig.asked and 0 in rig.auditor._open:
            rig.answer(rig.last["BTCUSDT"], BIDS)
        assert rig.state("BTCUSDT") == "LIVE"
    assert 5 <= len(rig.asked) <= 14, "at 5 s, then at growing distances, at most each minute"
    assert rig.renewed == []


def test_a_book_that_is_not_what_the_venue_says_is_disproved_and_its_stream_begun_anew() -> None:
    rig = Audited()
    rig.silence(7)
    rig.answer(rig.last["BTCUSDT"] + 40, [["99.00", "7.000"], BIDS[1]])
    rig.silence(3)
    assert rig.state("BTCUSDT") == "SYNCING"
    assert (rig.auditor.statistics()["audit_different"], rig.renewed) == (1, [0])
    rig.snapshot("BTCUSDT", snapshot_body(rig.last["BTCUSDT"] + 40, BIDS, ASKS))
    rig.silence(25)
    assert rig.state("BTCUSDT") == "SYNCING", "no update has proven the snapshot"
    rig.silence(8)
    assert rig.renewed == [0, 0], "begun anew again, later and later"


def test_a_stale_book_that_the_venue_vouches_for_is_live_again_and_one_with_its_line_lost_is_not() -> None:
    rig = Audited()
    rig.silence(12)
    assert rig.state("BTCUSDT") == "STALE"
    rig.answer(rig.last["BTCUSDT"], BIDS)
    assert (rig.state("BTCUSDT"), rig.session.statistics()["vouched"]) == ("LIVE", 1)
    rig = Audited()
    rig.silence(12)
    rig.session.on_disconnected(0, rig.now_ns)
    rig.session.on_connected(0, rig.now_ns)
    rig.answer(rig.last["BTCUSDT"], BIDS)
    assert rig.state("BTCUSDT") == "STALE", "an update missed meanwhile would show only in the next one"


def test_the_next_update_in_sequence_heals() -> None:
    rig = Audited()
    rig.silence(12)
    rig.beat("BTCUSDT", "ETHUSDT")
    assert rig.state("BTCUSDT") == "LIVE"


def test_without_a_limit_no_book_is_watched() -> None:
    rig = Audited(least_ns=0)
    rig.silence(300)
    assert (rig.state("BTCUSDT"), rig.asked) == ("LIVE", [])


# ---- the simulated venues ----------------------------------------------------------------------------


class MuteScene(FaultScene):
    """A scene whose books are audited by requests to the venue."""

    def __init__(self, venue: str) -> None:
        quiet = QuietSettings(least_ns=200 * MS, most_ns=200 * MS, look_ns=20 * MS)
        # Of single books; a line that a busy machine keeps waiting is not made anew, which would mend them.
        super().__init__(venue, quiet=quiet, silence_ns=20 * SECOND, reconnect_silence_ns=40 * SECOND)
        self.not_live = 0

    async def begin(self, stack: ExitStack) -> None:
        await self.start(stack)
        self.auditor = Auditor(
            self.session,
            self.rig.rows,
            request=self._audit_by_rest,
            period_ns=3600 * SECOND,
            settle_ns=50 * MS,
        )
        await self.until(
            lambda: all(self.rig.state(row.symbol) == "LIVE" for row in self.rig.rows), "all are LIVE"
        )

    @property
    def audits(self) -> Auditor:
        """The auditor of a scene that has begun."""
        assert self.auditor is not None
        return self.auditor

    def _audit_by_rest(self, instrument_id: int) -> bool:
        self._spawn(self._answer(instrument_id))
        return True

    async def _answer(self, instrument_id: int) -> None:
        request = self.adapter.snapshot_request(self.rig.rows[instrument_id].symbol, self.depth.levels)
        try:
            reply = await self.rest.send(request.method, request.path, request.weight)
        except TransportError:
            self.audits.on_failed(instrument_id, now_ns())
            return
        self.audits.on_answer(instrument_id, reply.body, now_ns())

    async def mute(self, until: str) -> str:
        symbol = self.rig.rows[0].symbol
        script = f"now: mute symbol={symbol} until={until}".encode()
        assert self.run.faults.on_http(HttpRequest("POST", "/ringlane/faults", (), {}, script)).status == 200
        return symbol


@pytest.mark.parametrize("venue", ["binance_usdm", "okx", "bybit_linear"])
def test_a_symbol_that_a_venue_mutes_is_found_and_never_live_until_it_is_heard_again(venue: str) -> None:
    async def play() -> None:
        scene = MuteScene(venue)
        with ExitStack() as stack:
            await scene.begin(stack)
            try:
                symbol = await scene.mute("over")
                other = scene.rig.rows[1].symbol
                await scene.until(lambda: scene.rig.state(symbol) != "LIVE", "it is found")
                audited = scene.audits.statistics
                await scene.until(
                    lambda: audited()["audit_different"] or scene.resubscribes > 1,
                    "it is disproved or renewed",
                )
                assert scene.rig.state(symbol) != "LIVE"
                # Where nothing ran for longer than a limit the other one was mute too, until it goes on.
                await scene.until(lambda: scene.rig.state(other) == "LIVE", "the other one goes on")
                assert scene.rig.state(symbol) != "LIVE"
                assert scene.reasons & {"SILENCE", "AUDIT"}
            finally:
                await scene.stop()

    asyncio.run(play())


@pytest.mark.parametrize("venue", ["binance_usdm", "okx", "bybit_linear"])
def test_a_symbol_that_a_venue_forgot_heals_by_a_new_subscription(venue: str) -> None:
    async def play() -> None:
        scene = MuteScene(venue)
        with ExitStack() as stack:
            await scene.begin(stack)
            try:
                symbol = await scene.mute("subscribed")
                # It may be LIVE again between two looks: what has been counted stays.
                await scene.until(lambda: scene.session.statistics()["mutes"] >= 1, "it is found")
                await scene.until(lambda: scene.resubscribes >= 1, "its stream is begun anew")
                await scene.until(lambda: scene.rig.state(symbol) == "LIVE", "it is LIVE again")
                assert scene.wrong == []
            finally:
                await scene.stop()

    asyncio.run(play())
