"""Several lines of one stream: one gapless history, every record once, a gap only where all lines lack it."""

from __future__ import annotations

from random import Random
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feeds.adapter import ControlEvent, Notice
from feeds.core import LINES_MAX, FrameResult
from feeds.errors import FeedError
from feeds.findings import Findings
from feeds.merging import TABLE, Arrival, Lines, ParkedUpdates, RotationClock, Step, may_fill
from feeds.resync import Diff
from feeds.settings import SessionSettings
from shm.enums import RecordKind
from shm.records import MarketRecord
from tests.kit.feed_rig import SECOND, Rig, depth, plain, snapshot_body, trade
from tests.kit.skewed_lines import MILLISECOND, NaiveMerger, Update, arrivals, make_updates

BTC = "BTCUSDT"
QUIET = SessionSettings(silence_ns=0, reconnect_silence_ns=0, clock_jump_ns=0)


def lines_rig(count: int = 2, options: SessionSettings = QUIET, **more: Any) -> Rig:
    """A rig whose only stream comes over `count` connections, all of which stand."""
    rig = Rig([plain(BTC)], options, **more)
    for connection in range(count):
        rig.session.add_line(connection, 0)
        rig.session.on_connected(connection, rig.now_ns)
    return rig


def at(
    rig: Rig, last: int, previous: int, connection: int, *, price: str = "99.00", after_ns: int = 1_000_000
) -> int:
    """One update on one line; the venue's time is its number."""
    frame = depth(BTC, previous + 1, last, previous, [[price, "1.000"]], [], 1_700_000_000_000 + last)
    return rig.frame(frame, connection, after_ns)


def live(rig: Rig, sequence: int = 100) -> None:
    """Proves the book at a sequence that every line has reached."""
    for line in rig.session.lines:
        at(rig, sequence, sequence - 1, line.connection)
    rig.snapshot(BTC, snapshot_body(sequence))
    assert rig.state() == "LIVE"


def published(rig: Rig, kind: RecordKind) -> list[MarketRecord]:
    """All records of a kind that were published since the last call."""
    buffer, found = bytearray(128 * 64), []
    while count := rig.subscriber.poll_into(buffer, 64):
        for i in range(count):
            record = MarketRecord()
            record.load(bytes(buffer[i * 128 : (i + 1) * 128]))
            found += [record] if record.kind == kind else []
    return found


# ---- the table -----------------------------------------------------------------------------------


def test_the_table_decides_every_case_and_reports_a_gap_only_when_nobody_can_fill_it() -> None:
    assert set(TABLE) == {(arrival, fills) for arrival in Arrival for fills in (False, True)}
    for (arrival, fills), step in TABLE.items():
        if step is Step.PARK or step is Step.WAIT:
            assert fills, f"{arrival} waits for a line that can not come"
        if arrival is Arrival.AHEAD:
            assert (step is Step.GAP) is not fills


def test_a_line_that_is_past_the_hole_can_not_fill_it() -> None:
    assert may_fill((10, 5), line=0, proven=5, alive=0b11)
    assert not may_fill((10, 6), line=0, proven=5, alive=0b11)
    assert not may_fill((10, 5), line=0, proven=5, alive=0b01), "it does not stand"
    assert not may_fill((10, 0), line=0, proven=5, alive=0b11), "it never brought this book"
    assert not may_fill((5, 10), line=0, proven=5, alive=0b11)


def test_parked_updates_keep_their_order_and_their_bounds() -> None:
    parked = ParkedUpdates(frames_max=3, bytes_max=10)
    assert all(parked.park(Diff(n, n, n - 1, b"abc", n), 0) for n in (7, 5, 6))
    assert not parked.park(Diff(8, 8, 7, b"", 8), 0), "one too many"
    assert parked.has(6) and not parked.has(8)
    assert parked.waits_since() == 5
    assert [one.last_sequence for one in parked.take()] == [5, 6, 7]
    assert len(parked) == parked.size_bytes == 0
    assert not parked.park(Diff(9, 9, 8, b"x" * 11, 9), 0), "too many bytes"


def test_lines_get_the_lowest_free_number() -> None:
    lines = Lines()
    assert [lines.add(connection, 3).line for connection in (10, 11, 12)] == [0, 1, 2]
    lines.remove(11)
    assert lines.add(13, 3).line == 1
    with pytest.raises(FeedError, match="already"):
        lines.add(13, 4)
    for connection in range(20, 20 + LINES_MAX - 3):
        lines.add(connection, 3)
    with pytest.raises(FeedError, match="can not have more"):
        lines.add(99, 3)


def test_rotations_are_spread_and_never_later_than_the_margin_allows() -> None:
    clock = RotationClock(life_ns=24_000, margin_ns=1_000, places=4)
    due = [clock.due_ns(500, place) for place in range(4)]
    assert all(moment is not None and 500 + 10_000 < moment <= 500 + 23_000 for moment in due)
    assert len(set(due)) == 4
    assert RotationClock(0, 0, 2).due_ns(500, 0) is None


# ---- first arrival wins --------------------------------------------------------------------------


def test_what_the_slower_line_brings_is_dropped_and_counted_and_no_rewind() -> None:
    rig = lines_rig()
    live(rig)
    for last in range(101, 121):
        assert at(rig, last, last - 1, 0) == FrameResult.APPLIED
    for last in range(101, 121):
        assert at(rig, last, last - 1, 1) == FrameResult.LATE
    found = rig.session.statistics()
    assert (found["rewinds"], found["gaps"]) == (0, 0)
    counts = rig.session.line_counts()
    assert [(line.line, line.won, line.late) for line in counts] == [(0, 20, 0), (1, 0, 20)]


def test_an_update_ahead_waits_for_the_line_that_brings_the_missing_one() -> None:
    rig = lines_rig()
    live(rig)
    assert at(rig, 102, 101, 0) == FrameResult.GAP
    assert at(rig, 103, 102, 0) == FrameResult.GAP
    assert rig.state() == "LIVE"
    assert rig.core.proven_sequence(rig.number(BTC)) == 100
    assert at(rig, 101, 100, 1) == FrameResult.APPLIED
    assert rig.core.proven_sequence(rig.number(BTC)) == 103
    assert [at(rig, last, last - 1, 1) for last in (102, 103)] == [FrameResult.LATE] * 2
    found = rig.session.statistics()
    assert (found["gaps"], found["parked"], found["filled"]) == (0, 2, 2)


def test_a_hole_that_nobody_fills_is_a_gap_when_the_wait_is_over() -> None:
    rig = lines_rig()
    live(rig)
    at(rig, 102, 101, 0)
    rig.timer(QUIET.reorder_ns // 2)
    assert not rig.session.gaps
    rig.timer(QUIET.reorder_ns)
    assert [(gap.expected, gap.last_sequence) for gap in rig.session.gaps] == [(100, 102)]
    assert rig.state() != "LIVE"


def test_a_hole_on_all_lines_is_a_gap_at_once() -> None:
    rig = lines_rig()
    live(rig)
    at(rig, 102, 101, 0)
    at(rig, 102, 101, 1)
    assert [(gap.expected, gap.last_sequence) for gap in rig.session.gaps] == [(100, 102)]
    assert rig.session.statistics()["gaps"] == 1


def test_the_wait_ends_when_the_line_that_was_waited_for_is_cut() -> None:
    rig = lines_rig()
    live(rig)
    at(rig, 102, 101, 0)
    rig.session.on_disconnected(1, rig.now_ns)
    assert [(gap.expected, gap.last_sequence) for gap in rig.session.gaps] == [(100, 102)]


def test_a_hole_on_the_only_line_is_a_gap_at_once() -> None:
    rig = lines_rig()
    live(rig)
    rig.session.on_disconnected(1, rig.now_ns)
    at(rig, 102, 101, 0)
    assert len(rig.session.gaps) == 1


def test_a_buffer_that_is_full_ends_the_wait() -> None:
    rig = lines_rig(options=SessionSettings(silence_ns=0, clock_jump_ns=0, reorder_frames=2))
    live(rig)
    for last in (102, 103, 104):
        at(rig, last, last - 1, 0)
    assert rig.session.statistics()["gaps"] == 1


# ---- cuts ----------------------------------------------------------------------------------------


def test_a_book_stays_live_while_one_line_stands() -> None:
    rig = lines_rig()
    live(rig)
    last = 100
    for turn in range(20):
        cut, other = turn % 2, 1 - turn % 2
        rig.session.on_disconnected(cut, rig.now_ns)
        last += 1
        assert at(rig, last, last - 1, other) == FrameResult.APPLIED
        rig.session.on_connected(cut, rig.now_ns)
        last += 1
        assert at(rig, last, last - 1, cut) == FrameResult.APPLIED
        assert at(rig, last, last - 1, other) == FrameResult.LATE
        assert rig.state() == "LIVE"
    found = rig.session.statistics()
    assert (found["gaps"], found["resyncs"], found["snapshot_requests"]) == (0, 0, 1)


def test_a_book_is_stale_when_the_last_line_that_brought_it_is_cut() -> None:
    rig = lines_rig()
    live(rig)
    rig.session.on_disconnected(1, rig.now_ns)
    rig.session.on_connected(1, rig.now_ns)  # stands, but has shown nothing
    rig.session.on_disconnected(0, rig.now_ns)
    assert rig.state() == "STALE"
    assert at(rig, 101, 100, 1) == FrameResult.DEPTH_PENDING
    assert rig.state() == "LIVE"


def test_silence_of_one_line_leaves_the_book_live_and_asks_for_that_connection_only() -> None:
    asked: list[int] = []
    rig = lines_rig(options=SessionSettings(clock_jump_ns=0), request_reconnect=asked.append)
    live(rig)
    last = 100
    for _ in range(200):
        last += 1
        at(rig, last, last - 1, 0)
        rig.timer()
        assert rig.state() == "LIVE"
    assert asked == [1]
    assert rig.session.statistics()["silences"] == 1


def test_a_venue_that_begins_its_numbers_anew_on_all_lines_is_seen() -> None:
    rig = lines_rig()
    live(rig)
    for last in range(5, 9):
        rig.frame(depth(BTC, last, last, last - 1, event_ms=1_700_000_100_000 + last), 0)
    assert rig.session.statistics()["rewinds"] == 1
    assert rig.state() != "LIVE"


def test_updates_cut_at_other_places_join() -> None:
    rig = lines_rig()
    live(rig)
    assert at(rig, 105, 100, 0) == FrameResult.APPLIED
    assert at(rig, 103, 100, 1) == FrameResult.LATE
    assert at(rig, 108, 103, 1) == FrameResult.APPLIED, "it begins before what is proven and ends behind it"
    assert at(rig, 110, 105, 0) == FrameResult.APPLIED
    assert not rig.session.gaps
    assert rig.core.proven_sequence(rig.number(BTC)) == 110


# ---- rotation ------------------------------------------------------------------------------------


def test_a_new_line_is_proven_once_it_brought_what_the_others_brought() -> None:
    rig = lines_rig(1)
    live(rig)
    rig.session.add_line(7, 0)
    assert not rig.session.is_line_proven(7), "it does not stand"
    rig.session.on_connected(7, rig.now_ns)
    assert not rig.session.is_line_proven(7), "it brought nothing"
    at(rig, 101, 100, 0)
    rig.frame(trade(BTC), 7)
    assert not rig.session.is_line_proven(7), "it did not bring the book that the other brought"
    at(rig, 101, 100, 7)
    assert rig.session.is_line_proven(7)
    rig.session.drop_line(0, rig.now_ns)
    assert rig.state() == "LIVE"
    assert at(rig, 102, 101, 7) == FrameResult.APPLIED
    assert not rig.session.gaps


# ---- other streams -------------------------------------------------------------------------------


def test_every_trade_is_published_once_whatever_line_is_first() -> None:
    random = Random(5)
    rig = lines_rig()
    live(rig)
    published(rig, RecordKind.TRADE)
    pending = {0: list(range(1, 301)), 1: [n for n in range(1, 301) if n % 7]}
    pending[0] = [n for n in pending[0] if n % 11]
    while any(pending.values()):
        line = random.choice([line for line, left in pending.items() if left])
        rig.frame(trade(BTC, pending[line].pop(0)), line)
    ids = [record.trade_id for record in published(rig, RecordKind.TRADE)]
    assert sorted(ids) == [n for n in range(1, 301) if n % 7 or n % 11]


def bbo(sequence: int, event_ms: int, bid: str = "99.00") -> bytes:
    data = {
        "e": "bookTicker", "u": sequence, "E": event_ms, "T": event_ms, "s": BTC, "b": bid, "B": "1.000",
        "a": "101.00", "A": "1.000",
    }  # fmt: skip
    return orjson.dumps({"stream": "btcusdt@bookTicker", "data": data})


def mark(event_ms: int) -> bytes:
    data = {
        "e": "markPriceUpdate", "E": event_ms, "s": BTC, "p": "100.00000000", "i": "100.00000000",
        "P": "100.00000000", "r": "0.00010000", "T": event_ms + 1000,
    }  # fmt: skip
    return orjson.dumps({"stream": "btcusdt@markPrice@1s", "data": data})


def test_best_bid_and_offer_and_marks_are_published_once_and_never_go_back() -> None:
    rig = lines_rig()
    live(rig)
    published(rig, RecordKind.BBO)
    for sequence in range(1, 6):
        assert rig.frame(bbo(sequence, 1000 + sequence), 0) == FrameResult.PUBLISHED
    for sequence in range(1, 7):
        expected = FrameResult.LATE if sequence < 6 else FrameResult.PUBLISHED
        assert rig.frame(bbo(sequence, 1000 + sequence), 1) == expected
    assert [record.last_sequence for record in published(rig, RecordKind.BBO)] == [1, 2, 3, 4, 5, 6]
    assert rig.frame(bbo(2, 5000), 0) == FrameResult.PUBLISHED, "so much later the venue has begun anew"
    assert [rig.frame(mark(n), line) for n in (1000, 2000) for line in (0, 1)] == [1, 10, 1, 10]
    assert len(published(rig, RecordKind.MARK)) == 2


# ---- against a naive merger ------------------------------------------------------------------------


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    lines=st.integers(2, 3),
    loss=st.sampled_from([0.0, 0.02, 0.1]),
    skew_ms=st.integers(0, 200),
    cuts=st.integers(0, 3),
)
def test_merged_is_the_venues_sequence_or_the_gap_is_reported(
    seed: int, lines: int, loss: float, skew_ms: int, cuts: int
) -> None:
    random = Random(seed)
    updates = make_updates(random, 40)
    events = arrivals(random, updates, lines, loss=loss, skew_ms=skew_ms, cuts=cuts)
    rig = lines_rig(lines)
    for line in range(lines):
        frame_of(rig, Update(99, 100, 50, 1), line)
    rig.snapshot(BTC, snapshot_body(100, bids=[["50.00", "1.000"]]))
    naive, began = NaiveMerger(100), rig.now_ns
    for event in events:
        while rig.now_ns + 50 * MILLISECOND < began + event.at_ns:
            rig.timer(50 * MILLISECOND)
        rig.now_ns = rig.core.virtual_now_ns = max(rig.now_ns, began + event.at_ns)
        if event.update is None:
            rig.session.on_disconnected(event.line, rig.now_ns)
        else:
            frame_of(rig, event.update, event.line)
            naive.take(event.update)
    chain = naive.chain()
    number = rig.number(BTC)
    if cuts == 0 and len(chain) == len(updates):
        assert not rig.session.gaps
        assert rig.core.proven_sequence(number) == updates[-1].last
    if not rig.session.gaps and rig.core.proven_sequence(number) == updates[-1].last:
        bids, _ = rig.core.book(number)
        assert {p // 100: q // 1000 for p, q in bids if p >= 9000} == naive.levels(chain)
    rig.timer(SECOND)
    missing = {update.last for update in updates} - set(naive.given)
    if any(last < max(naive.given) for last in missing):
        assert rig.session.gaps, f"{sorted(missing)} never came, and nobody said so"
    if rig.state() == "LIVE":
        assert rig.core.proven_sequence(number) in chain


def frame_of(rig: Rig, update: Update, line: int) -> int:
    return rig.session.on_frame(
        depth(
            BTC, update.previous + 1, update.last, update.previous,
            [[f"{update.price}.00", f"{update.quantity}.000"]], [], 1_700_000_000_000 + update.last,
        ),
        rig.now_ns,
        line,
    )  # fmt: skip


def test_what_is_parked_behind_a_hole_that_all_lines_have_is_not_lost() -> None:
    rig = lines_rig(3)
    live(rig)
    for last in (103, 104):
        at(rig, last, last - 1, 0)
    at(rig, 102, 101, 1)
    assert rig.state() == "LIVE"
    at(rig, 102, 101, 2)
    assert [(gap.expected, gap.last_sequence) for gap in rig.session.gaps] == [(100, 102)]
    rig.timer(SECOND)
    rig.snapshot(BTC, snapshot_body(102))
    assert rig.state() == "LIVE"
    assert rig.core.proven_sequence(rig.number(BTC)) == 104


def test_a_notice_is_kept_once_over_two_lines_and_again_when_it_is_told_again() -> None:
    findings = Findings(SessionSettings())
    event = ControlEvent(False, 0, 0, "", (Notice("status", "", "maintenance"),))
    for connection in (0, 1, 0, 1):
        findings.control(event, connection)
    assert len(findings.notices) == 2


def test_a_late_timer_gives_up_no_hole_that_an_unread_line_fills() -> None:
    rig = lines_rig()
    live(rig)
    rig.timer()
    at(rig, 103, 102, 0)  # ahead of a hole
    rig.timer(2 * SECOND)  # the loop did not run; what the other line brought waits in its socket
    assert rig.state() == "LIVE"
    for last in (101, 102, 103):
        at(rig, last, last - 1, 1)
    rig.timer()
    statistics = rig.session.statistics()
    assert (rig.state(), statistics["gaps"], statistics["waits_over"]) == ("LIVE", 0, 0)
    at(rig, 105, 104, 0)
    rig.timer(2 * SECOND)
    rig.timer()
    assert rig.state() != "LIVE"
    assert rig.session.statistics()["gaps"] == 1, "nobody filled it"
