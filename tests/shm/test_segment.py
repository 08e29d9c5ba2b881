"""Segments: creation, attachment, proof of life, clearing, outside readers."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy
import pytest

from shm.enums import SegmentKind
from shm.errors import LayoutError, SegmentError
from shm.layout import STRUCTS
from shm.mapping import HUGE_BYTES, AlignedMap, huge_bytes
from shm.ring import BroadcastRing, Publisher, Subscriber
from shm.segment import (
    SHM_DIRECTORY,
    AnonymousSegments,
    NamedSegments,
    RunName,
    Segment,
    clear_dead_runs,
    open_for_readers,
)

ROOT = Path(__file__).resolve().parents[2]
HEADER = STRUCTS["shm_segment_header"]


@pytest.fixture
def run() -> Iterator[RunName]:
    name = RunName(f"test-{os.getpid()}", 3)
    yield name
    for path in SHM_DIRECTORY.glob(f"ringlane.{name.instance}.*"):
        path.unlink()


def child(code: str, *args: str) -> subprocess.Popen[str]:
    """A second process that runs `code` with the repository on its path."""
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r})\n" + code
    return subprocess.Popen(
        [sys.executable, "-P", "-c", code, *args], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


CREATOR = """
from shm.segment import Segment, RunName
from shm.enums import SegmentKind
s = Segment.create(RunName(sys.argv[1], int(sys.argv[2])), "books.0", SegmentKind.BOOKS, 4096)
print("up", flush=True)
sys.stdin.read()
"""


def creator(run: RunName) -> subprocess.Popen[str]:
    process = child(CREATOR, run.instance, str(run.epoch))
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"
    return process


def kill(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGKILL)
    process.communicate()


def test_attached_segment_shows_what_the_creator_wrote(run: RunName) -> None:
    with Segment.create(run, "md.0.1", SegmentKind.MARKET_RING, 1000) as made:
        assert (made.size_bytes, len(made.payload), bytes(made.payload)) == (1256, 1000, bytes(1000))
        assert os.stat(SHM_DIRECTORY / made.name).st_mode & 0o777 == 0o600
        made.payload[10:13] = b"abc"
        seen = Segment.attach(run, "md.0.1", SegmentKind.MARKET_RING)
        assert (bytes(seen.payload[10:13]), seen.epoch, seen.creator_pid) == (b"abc", 3, os.getpid())
        seen.payload[0] = 7
        assert made.payload[0] == 7
        seen.close()
    assert not (SHM_DIRECTORY / made.name).exists()


def test_payload_is_aligned_for_hot_fields(run: RunName) -> None:
    with Segment.create(run, "ring", SegmentKind.MARKET_RING, BroadcastRing.bytes_needed(8, 64)) as segment:
        ring = BroadcastRing.create(segment.payload, 8, 64)
        Publisher(ring).publish(b"x")
        # 256 bytes of header, then two cache lines: the cursor line is where the layout puts it.
        with open(SHM_DIRECTORY / segment.name, "rb") as file:
            file.seek(256 + STRUCTS["shm_ring_header"].offset("cursor"))
            assert file.read(8) == (1).to_bytes(8, "little")


def test_read_only_attachment_can_not_write(run: RunName) -> None:
    with Segment.create(run, "a", SegmentKind.BOOKS, 64):
        seen = Segment.attach(run, "a", SegmentKind.BOOKS, writable=False)
        assert seen.payload.readonly
        with pytest.raises(TypeError):
            seen.payload[0] = 1
        seen.close()


def test_closing_under_a_ring_leaves_the_ring_usable(run: RunName) -> None:
    segment = Segment.create(run, "ring", SegmentKind.MARKET_RING, BroadcastRing.bytes_needed(8, 64))
    ring = BroadcastRing.create(segment.payload, 8, 64)
    subscriber = Subscriber(ring)
    segment.unlink()
    segment.close()
    segment.close()
    Publisher(ring).publish(b"still here")
    out = bytearray(64)
    assert subscriber.poll_into(out, 1) == 1
    assert out.startswith(b"still here")
    with pytest.raises(SegmentError, match="closed"):
        _ = segment.epoch


def test_a_full_file_system_is_an_error_that_names_both_sizes(run: RunName) -> None:
    huge = 1 << 50
    with pytest.raises(SegmentError, match=rf"needs {huge + 256} bytes, /dev/shm has \d+ free"):
        Segment.create(run, "huge", SegmentKind.BOOKS, huge)
    assert not (SHM_DIRECTORY / run.segment_name("huge")).exists()


def overwrite(name: str, field: str, value: int) -> None:
    f = next(f for f in HEADER.fields if f.name == field)
    with open(SHM_DIRECTORY / name, "r+b") as file:
        file.seek(f.offset)
        file.write(value.to_bytes(f.size_bytes, "little"))


@pytest.mark.parametrize(
    ("field", "value", "error", "text"),
    [
        ("magic", 0, SegmentError, "not ready"),
        ("ready", 0, SegmentError, "not ready"),
        ("magic", 5, LayoutError, "not a Ringlane segment"),
        ("layout_version", 9, LayoutError, "layout version 9, this build has 2"),
        ("layout_hash", 9, LayoutError, "layout hash 0x0000000000000009"),
        ("kind", 4, LayoutError, "holds MARKET_RING, not BOOKS"),
        ("kind", 77, LayoutError, "holds unknown kind 77, not BOOKS"),
        ("size_bytes", 5, LayoutError, "states 5 bytes, its file has 320"),
    ],
)
def test_attach_says_what_does_not_fit(
    run: RunName, field: str, value: int, error: type[Exception], text: str
) -> None:
    with Segment.create(run, "a", SegmentKind.BOOKS, 64) as made:
        overwrite(made.name, field, value)
        with pytest.raises(error, match=text):
            Segment.attach(run, "a", SegmentKind.BOOKS)


def test_attach_to_nothing_or_to_an_unfinished_file(run: RunName) -> None:
    with pytest.raises(SegmentError, match="does not exist"):
        Segment.attach(run, "a", SegmentKind.BOOKS)
    (SHM_DIRECTORY / run.segment_name("a")).touch()
    with pytest.raises(SegmentError, match="not ready"):
        Segment.attach(run, "a", SegmentKind.BOOKS)


@pytest.mark.parametrize("short", ["", "../x", "A", "x" * 63, "a/b"])
def test_short_names_are_checked(run: RunName, short: str) -> None:
    with pytest.raises(SegmentError, match="not valid"):
        Segment.create(run, short, SegmentKind.BOOKS, 64)


def test_instance_names_are_checked() -> None:
    with pytest.raises(SegmentError, match="instance name"):
        Segment.create(RunName("Bad.name", 1), "a", SegmentKind.BOOKS, 64)


def test_a_live_segment_is_not_created_twice_but_a_dead_one_is_replaced(run: RunName) -> None:
    process = creator(run)
    with pytest.raises(SegmentError, match="its creator lives"):
        Segment.create(run, "books.0", SegmentKind.BOOKS, 64)
    kill(process)
    with Segment.create(run, "books.0", SegmentKind.BOOKS, 64) as again:
        assert again.creator_pid == os.getpid()


def test_clearing_takes_dead_runs_and_leaves_the_living(run: RunName) -> None:
    dead, alive = creator(run), creator(RunName(run.instance, 4))
    stranger = RunName(run.instance + "-x", 1)
    try:
        kill(dead)
        with Segment.create(stranger, "a", SegmentKind.BOOKS, 64) as other:
            assert clear_dead_runs(run.instance, 5) == [run.segment_name("books.0")]
            assert (SHM_DIRECTORY / other.name).exists()
        assert clear_dead_runs(run.instance, 5) == []
        Segment.attach(RunName(run.instance, 4), "books.0", SegmentKind.BOOKS).close()
    finally:
        kill(alive)
    assert clear_dead_runs(run.instance, 4) == [], "one's own epoch is kept"
    assert clear_dead_runs(run.instance, 5) == [RunName(run.instance, 4).segment_name("books.0")]


def test_closing_the_creator_ends_its_proof_of_life(run: RunName) -> None:
    segment = Segment.create(run, "a", SegmentKind.BOOKS, 64)
    assert clear_dead_runs(run.instance, 9) == []
    segment.close()
    assert clear_dead_runs(run.instance, 9) == [segment.name]


def test_named_segments_attach_once(run: RunName) -> None:
    with Segment.create(run, "a", SegmentKind.BOOKS, 64):
        source = NamedSegments(run)
        assert source.open("a", SegmentKind.BOOKS) is source.open("a", SegmentKind.BOOKS)
        assert source.open("a", SegmentKind.BOOKS, writable=False).payload.readonly
        source.close()


def test_anonymous_segments_hand_out_one_object() -> None:
    source = AnonymousSegments()
    made = source.create("a", SegmentKind.BOOKS, 64)
    assert source.open("a", SegmentKind.BOOKS) is made
    with pytest.raises(SegmentError, match="exists already"):
        source.create("a", SegmentKind.BOOKS, 64)
    with pytest.raises(SegmentError, match="does not exist"):
        source.open("b", SegmentKind.BOOKS)
    with pytest.raises(LayoutError, match="holds BOOKS, not METRICS"):
        source.open("a", SegmentKind.METRICS)
    source.close()


READER = """
from shm.segment import open_for_readers
reader = open_for_readers(sys.argv[1])
print(bytes(reader.buf[256:261]), flush=True)
reader.close()
"""


def test_an_outside_reader_that_exits_leaves_the_segment_alone(run: RunName) -> None:
    """The standard library's resource tracker would unlink it (3.11, 3.12)."""
    with Segment.create(run, "a", SegmentKind.BOOKS, 64) as made:
        made.payload[:5] = b"hello"
        reader = child(READER, made.name)
        assert reader.communicate()[0] == "b'hello'\n"
        assert reader.returncode == 0
        assert (SHM_DIRECTORY / made.name).exists()
        with pytest.raises(FileNotFoundError):
            open_for_readers(made.name + ".no")


NAIVE_READER = """
from multiprocessing.shared_memory import SharedMemory
SharedMemory(sys.argv[1]).close()
"""


@pytest.mark.skipif(sys.version_info >= (3, 13), reason="from 3.13 on there is track=False")
def test_the_plain_way_does_unlink_it_which_is_why_the_helper_exists(run: RunName) -> None:
    segment = Segment.create(run, "a", SegmentKind.BOOKS, 64)
    reader = child(NAIVE_READER, segment.name)
    reader.communicate()
    gone = not (SHM_DIRECTORY / segment.name).exists()
    segment.close()
    assert gone


def test_a_large_segment_is_aligned_to_huge_pages_and_otherwise_like_any_other(run: RunName) -> None:
    size = 5 * 1024 * 1024
    with Segment.create(run, "books.1", SegmentKind.BOOKS, size, huge_pages=True) as made:
        assert len(made.payload) == size
        assert bytes(made.payload[:64]) == bytes(64)
        made.payload[-3:] = b"end"
        segments = NamedSegments(run, huge_pages=True)
        seen = segments.open("books.1", SegmentKind.BOOKS, writable=False)
        assert seen.payload.readonly
        assert bytes(seen.payload[-3:]) == b"end"
        plain = Segment.attach(run, "books.1", SegmentKind.BOOKS)
        plain.payload[:2] = b"hi"
        assert bytes(seen.payload[:2]) == b"hi"
        # Where the kernel has huge pages both mappings are in them, and where not, nothing is claimed.
        found = huge_bytes([made.name])[made.name]
        assert found % HUGE_BYTES == 0
        assert found <= 2 * (2 * HUGE_BYTES)
        for one in (made, seen):
            assert address(one) % HUGE_BYTES == 0
        segments.close()
        plain.close()


def address(segment: Segment) -> int:
    """Where a segment's mapping begins."""
    mapping = segment._map
    assert isinstance(mapping, AlignedMap)
    return numpy.frombuffer(mapping.view, dtype=numpy.uint8).ctypes.data


def test_what_holds_the_payload_of_a_closed_large_segment_still_has_it(run: RunName) -> None:
    made = Segment.create(run, "md.1.1", SegmentKind.MARKET_RING, 4 * 1024 * 1024, huge_pages=True)
    ring = BroadcastRing.create(made.payload, 1024, 128)
    made.close()
    made.close()
    Publisher(ring).publish(b"x" * 128)
    assert ring.cursor == 1
    made.unlink()
    name = made.name
    assert name in Path("/proc/self/maps").read_text()
    del made, ring
    gc.collect()
    assert name not in Path("/proc/self/maps").read_text()


def test_a_small_segment_has_no_huge_pages(run: RunName) -> None:
    with Segment.create(run, "books.2", SegmentKind.BOOKS, 4096, huge_pages=True) as made:
        assert not isinstance(made._map, AlignedMap)
        assert huge_bytes([made.name]) == {made.name: 0}
