"""Capture files: what is written is what is read, whatever happens to writer, disk or file in between."""

from __future__ import annotations

import gzip
import os
import signal
import subprocess
import sys
from pathlib import Path

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feeds import capture_writer
from feeds.capture_blocks import is_block_file, read_blocks
from feeds.capture_writer import CaptureWriter, WriterSettings
from feeds.errors import CaptureError
from shm.instruments import Instrument

ROOT = Path(__file__).resolve().parents[2]
ROW = Instrument(instrument_id=0, venue_id=1, symbol="BTCUSDT", price_exponent=2, quantity_exponent=3)
SMALL = WriterSettings(block_bytes=400, tail_ns=1)
UTC_NS = 1_790_000_000_000_000_000


def make(folder: Path, options: WriterSettings = SMALL) -> CaptureWriter:
    return CaptureWriter(folder, "venue", ["BTCUSDT"], [ROW], utc_ns=lambda: UTC_NS, settings=options)


def fill(writer: CaptureWriter, count: int, first: int = 0) -> list[bytes]:
    lines = []
    for i in range(first, first + count):
        payload = b'{"n":%d,"pad":"%s"}' % (i, b"x" * 50)
        assert writer.write(UTC_NS + i, "0", "recv", payload, 1 + i)
        lines.append(b"%d 0 recv %s" % (UTC_NS + i, payload))
    return lines


def read(path: Path, damage: list[CaptureError] | None = None) -> list[bytes]:
    blocks = read_blocks(path, None if damage is None else damage.append)
    return [line for line in b"".join(blocks).splitlines() if b" ringlane " not in line[:30]]


def files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.rlc.gz"))


def test_what_is_written_is_read_and_any_gzip_reader_reads_it(tmp_path: Path) -> None:
    writer = make(tmp_path)
    lines = fill(writer, 50)
    writer.close()
    assert read(writer.path) == lines
    assert gzip.decompress(writer.path.read_bytes()).splitlines()[2:] == lines
    assert is_block_file(writer.path)
    assert list(tmp_path.iterdir()) == [writer.path], "the tail is gone after a clean end"


def test_a_file_begins_with_what_it_is_and_the_instrument_rows(tmp_path: Path) -> None:
    writer = make(tmp_path)
    writer.close()
    head, rows = gzip.decompress(writer.path.read_bytes()).splitlines()
    assert head.split(b" ", 3)[1:3] == [b"ringlane", b"capture"]
    assert orjson.loads(head.split(b" ", 3)[3])["symbols"] == ["BTCUSDT"]
    assert Instrument(**orjson.loads(rows.split(b" ", 3)[3])[0]) == ROW


def test_a_line_feed_in_a_frame_does_not_make_two_lines(tmp_path: Path) -> None:
    writer = make(tmp_path)
    writer.write(1, "0", "http", b'{\r\n"a":\n1}', 1)
    writer.close()
    assert read(writer.path) == [b'1 0 http { "a": 1}']


def test_files_rotate_and_each_stands_alone(tmp_path: Path) -> None:
    writer = make(tmp_path, WriterSettings(block_bytes=400, tail_ns=1, file_bytes=500))
    lines = fill(writer, 60)
    writer.close()
    assert len(files(tmp_path)) > 3
    assert [line for path in files(tmp_path) for line in read(path)] == lines
    for path in files(tmp_path):
        assert b" ringlane instruments " in gzip.decompress(path.read_bytes())


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_a_file_cut_anywhere_gives_every_whole_block_before_the_cut(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("cut")
    writer = make(folder)
    lines = fill(writer, 40)
    writer.close()
    whole = writer.path.read_bytes()
    cut = data.draw(st.integers(1, len(whole) - 1))
    writer.path.write_bytes(whole[:cut])
    damage: list[CaptureError] = []
    found = read(writer.path, damage)
    assert found == lines[: len(found)]
    # Only a cut between two blocks can not be seen.
    assert damage or whole[cut : cut + 3] == b"\x1f\x8b\x08"


@settings(max_examples=80, deadline=None)
@given(data=st.data())
def test_a_flipped_bit_costs_its_own_block_and_is_named(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("flip")
    writer = make(folder)
    lines = fill(writer, 40)
    writer.close()
    whole = bytearray(writer.path.read_bytes())
    at = data.draw(st.integers(0, len(whole) - 1))
    whole[at] ^= 1 << data.draw(st.integers(0, 7))
    writer.path.write_bytes(whole)
    damage: list[CaptureError] = []
    found = read(writer.path, damage)
    if found != lines:
        assert damage, "lines are missing and nobody said so"
    assert len(lines) - len(found) <= 8, "one block at most"
    assert [line for line in lines if line in set(found)] == found


def test_without_a_listener_damage_is_an_error_that_names_the_place(tmp_path: Path) -> None:
    writer = make(tmp_path)
    lines = fill(writer, 40)
    writer.close()
    whole = writer.path.read_bytes()
    writer.path.write_bytes(whole[: len(whole) - 3])
    blocks = read_blocks(writer.path)
    found = b""
    with pytest.raises(CaptureError, match=r"ends inside a block, from byte \d+ on"):
        for block in blocks:
            found += block
    assert found.splitlines()[2:] == lines[: len(found.splitlines()) - 2]


WRITER = """
import sys; sys.path.insert(0, {root!r})
from pathlib import Path
from tests.feeds.test_capture_files import fill, make
writer = make(Path(sys.argv[1]))
n = 0
while True:
    fill(writer, 1, n); n += 1
    print(n, flush=True)
"""


def test_sigkill_loses_nothing_that_was_told(tmp_path: Path) -> None:
    rounds = int(os.environ.get("RINGLANE_KILL_ROUNDS", "4"))
    for number in range(rounds):
        folder = tmp_path / str(number)
        folder.mkdir()
        child = subprocess.Popen(
            [sys.executable, "-P", "-c", WRITER.format(root=str(ROOT)), str(folder)], stdout=subprocess.PIPE
        )
        assert child.stdout is not None
        told = 0
        for _ in range(20 + 7 * number):
            told = int(child.stdout.readline())
        child.send_signal(signal.SIGKILL)
        rest = child.communicate()[0].split()
        told = int(rest[-1]) if rest and rest[-1].isdigit() else told
        found = [line for path in files(folder) for line in read(path, [])]
        # The last line waits for the next one's time; a torn last line is the reader's to judge.
        assert len(found) >= told - 1
        assert [orjson.loads(line.split(b" ", 3)[3])["n"] for line in found[: told - 1]] == list(
            range(told - 1)
        )


def test_a_tail_whose_block_is_in_the_file_is_not_read_twice(tmp_path: Path) -> None:
    """SIGKILL between the block's write and the tail's truncation."""
    writer = make(tmp_path, WriterSettings(block_bytes=1 << 20, tail_ns=1))
    lines = fill(writer, 10)
    tail = Path(str(writer.path) + capture_writer.TAIL_SUFFIX)
    kept = tail.read_bytes()
    writer.close()
    tail.write_bytes(kept)
    assert read(writer.path) == lines


def test_a_full_disk_drops_and_counts_and_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = make(tmp_path)
    before = fill(writer, 30)
    is_full = True
    pwrite = os.pwrite

    def full(fd: int, data: bytes, at: int) -> int:
        if is_full:
            if len(data) > 20:
                return pwrite(fd, memoryview(data)[:10], at)  # the disk takes a little, then nothing
            raise OSError(28, "No space left on device")
        return pwrite(fd, data, at)

    monkeypatch.setattr(os, "pwrite", full)
    results = [writer.write(UTC_NS + i, "0", "recv", b"{}", 10_000 + i) for i in range(100)]
    assert False in results
    dropped = results.count(False)
    assert writer.dropped == dropped
    assert "No space left" in writer.last_error
    # What was there is still whole on the disk.
    assert read(writer.path, [])[:25] == before[:25]
    is_full = False
    assert writer.write(UTC_NS, "0", "recv", b'{"again":1}', 10_000 + 2_000_000_000)
    writer.close()
    text = gzip.decompress(writer.path.read_bytes()).decode()
    assert f'ringlane lost {{"lines":{dropped}' in text
    assert text.count(" recv {}\n") == 100 - dropped
    assert text.count('"pad"') == 30


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(CaptureError, match="can not be made here: No such file"):
        make(tmp_path / "missing")
