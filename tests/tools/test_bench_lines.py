"""The bench of two lines: its relay changes nothing but times, and its three times are of one message."""

from __future__ import annotations

import socket
import threading
import time
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tools.bench import feed_relay
from tools.bench.common import OURS, Measurement
from tools.bench.feed import StepFailed
from tools.bench.feed_lines import LINE_A, LINE_B, Load, bench_lines, goals_of, join
from tools.bench.feed_relay import Delays, FrameCutter, Relay, digest

HELLO = b"HTTP/1.1 101 Switching Protocols\r\nA: b\r\n\r\n"


def frame(payload: bytes, opcode: int = 1) -> bytes:
    """A server's frame, whole and not masked."""
    size = len(payload)
    if size < 126:
        head = bytes([0x80 | opcode, size])
    elif size < 65_536:
        head = bytes([0x80 | opcode, 126]) + size.to_bytes(2, "big")
    else:
        head = bytes([0x80 | opcode, 127]) + size.to_bytes(8, "big")
    return head + payload


@settings(max_examples=40)
@given(
    st.lists(
        st.tuples(st.sampled_from([1, 9]), st.sampled_from([0, 1, 125, 126, 127, 300, 66_000])), max_size=5
    ),
    st.lists(st.integers(1, 70_000), min_size=1, max_size=9),
)
def test_frames_are_cut_the_same_however_the_bytes_come(
    kinds: list[tuple[int, int]], sizes: list[int]
) -> None:
    frames = [frame(bytes(size), opcode) for opcode, size in kinds]
    whole = HELLO + b"".join(frames)
    cutter, at = FrameCutter(), 0
    found: list[Any] = []
    while at < len(whole):
        size = sizes[len(found) % len(sizes)]
        found += list(cutter.feed(whole[at : at + size]))
        at += size
    assert [data for data, _ in found] == [HELLO, *frames]
    assert [payload for _, payload in found[1:]] == [bytes(n) if code == 1 else None for code, n in kinds]


def test_delays_keep_the_order_and_are_another_draw_for_each_connection() -> None:
    times = [n * 1_000_000 for n in range(1, 20_000)]
    one, other = Delays(1), Delays(2)
    first, second = [one.due_ns(t) for t in times], [other.due_ns(t) for t in times]
    assert first == sorted(first)
    assert all(due >= t + feed_relay.BASE_NS for due, t in zip(first, times, strict=True))
    assert first != second
    stalled = [{i for i, (due, t) in enumerate(zip(dues, times, strict=True)) if due - t > 10_000_000}
               for dues in (first, second)]  # fmt: skip
    both = stalled[0] & stalled[1]
    assert stalled[0]
    assert len(both) < min(map(len, stalled)) / 2


def test_a_relay_brings_what_the_venue_sent_and_notes_when() -> None:
    payloads = [b"one", b"two" * 100, b"three"]
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            client, _ = server.accept()
            with client:
                assert client.recv(100) == b"GET"
                client.sendall(HELLO + b"".join(map(frame, payloads)))

        thread = threading.Thread(target=serve)
        thread.start()
        relay = Relay(server.getsockname()[1], 1)
        with socket.create_connection(("127.0.0.1", relay.port)) as client:
            client.sendall(b"GET")
            begin, got = time.monotonic_ns(), b""
            while data := client.recv(65_536):
                got += data
        thread.join()
        relay.close()
    assert got == HELLO + b"".join(map(frame, payloads))
    (seen,) = relay.seen
    assert [name for name, _ in seen] == [digest(payload) for payload in payloads]
    assert time.monotonic_ns() - begin >= feed_relay.BASE_NS


SEEN = [[("a", 100), ("b", 200)], [("a", 110), ("b", 190)]]
WORKER = {
    "arrivals": [[0, 7, 1, "a", 150], [1, 7, 1, "a", 130], [0, 7, 2, "b", 210], [1, 7, 2, "b", 260]],
    "proofs": [[7, 1, 135], [7, 2, 215]],
    "lost": 0,
}


def test_the_times_of_one_message_are_brought_together() -> None:
    assert join(SEEN, WORKER) == {OURS: [35, 25], LINE_A: [50, 20], LINE_B: [30, 70]}


def test_a_message_is_in_the_book_when_a_later_one_is_proven() -> None:
    assert join(SEEN, {**WORKER, "proofs": [[7, 2, 300]]})[OURS] == [200, 110]


def test_what_was_lost_or_not_seen_by_all_is_no_figure() -> None:
    with pytest.raises(StepFailed, match="3 gaps"):
        join(SEEN, {**WORKER, "lost": 3})
    with pytest.raises(StepFailed, match="only 1 of 2"):
        join([[("a", 100)]], WORKER)
    with pytest.raises(StepFailed, match="only 0 of 2"):
        join(SEEN, {**WORKER, "proofs": []})


def test_the_goal_compares_with_the_better_line() -> None:
    values = {OURS: 50.0, LINE_A: 100.0, LINE_B: 200.0}
    rows = [Measurement(name, "latency_ns_p99 v", "ns", [value]) for name, value in values.items()]
    (goal,) = goals_of(rows, ["v"])
    assert (goal.value, goal.verdict) == (0.5, "reached")
    assert goals_of(rows, ["w"])[0].verdict == "not measured"


@pytest.mark.prove
def test_two_real_lines_are_measured() -> None:
    document = orjson.loads(bench_lines(1, venues=["okx"], load=Load(seconds=1.0)).to_json())
    assert document["bench"] == "lines"
    assert "absent" not in document
    assert {r["name"] for r in document["results"]} == {OURS, LINE_A, LINE_B}
    assert all(r["median"] >= feed_relay.BASE_NS for r in document["results"])
    assert document["goals"][0]["value"] is not None
