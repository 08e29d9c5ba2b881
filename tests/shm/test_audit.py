"""The audit of the trading state: a chain that many processes append to."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shm.audit import append, read
from shm.errors import AuditError


def test_entries_come_back_in_order_with_their_facts(tmp_path: Path) -> None:
    path = tmp_path / "audit"
    for i in range(5):
        assert append(path, {"event": "halt", "why": f"reason {i}\t\nü"}).number == i + 1
    found = list(read(path))
    assert [entry.number for entry in found] == [1, 2, 3, 4, 5]
    assert found[3].facts == {"event": "halt", "why": "reason 3\t\nü"}
    assert path.stat().st_mode & 0o777 == 0o600


def test_no_file_is_no_entry(tmp_path: Path) -> None:
    assert list(read(tmp_path / "none")) == []


@settings(max_examples=60, deadline=None)
@given(at=st.integers(0, 10_000), bit=st.integers(0, 7))
def test_one_flipped_bit_is_named(tmp_path_factory: pytest.TempPathFactory, at: int, bit: int) -> None:
    path = tmp_path_factory.mktemp("audit") / "audit"
    for i in range(4):
        append(path, {"event": "halt", "i": i})
    data = bytearray(path.read_bytes())
    at %= len(data) - 1  # the last newline: a line without its end was never acknowledged
    data[at] ^= 1 << bit
    path.write_bytes(data)
    with pytest.raises(AuditError, match=r"audit:\d"):
        list(read(path))


def test_a_removed_line_is_named(tmp_path: Path) -> None:
    path = tmp_path / "audit"
    for i in range(4):
        append(path, {"i": i})
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([lines[0], *lines[2:]]))
    with pytest.raises(AuditError, match=r":2: entry 2 was expected"):
        list(read(path))


def test_a_line_cut_by_the_end_of_its_process_is_not_there_and_the_next_follows_the_one_before(
    tmp_path: Path,
) -> None:
    path = tmp_path / "audit"
    append(path, {"i": 0})
    append(path, {"i": 1})
    whole = path.read_bytes()
    for cut in range(whole.index(b"\n") + 2, len(whole)):
        path.write_bytes(whole[:cut])
        assert [entry.facts["i"] for entry in read(path)] == [0]
        append(path, {"i": 2})
        assert [(entry.number, entry.facts["i"]) for entry in read(path)] == [(1, 0), (2, 2)]


def test_processes_that_append_at_once_make_one_chain(tmp_path: Path) -> None:
    path = tmp_path / "audit"
    code = (
        "import sys; from pathlib import Path; from shm.audit import append\n"
        "for i in range(20): append(Path(sys.argv[1]), {'who': sys.argv[2], 'i': i})"
    )
    root = Path(__file__).resolve().parents[2]
    argv = [sys.executable, "-c", code, str(path)]
    writers = [subprocess.Popen([*argv, str(n)], cwd=root) for n in range(3)]
    assert [writer.wait() for writer in writers] == [0, 0, 0]
    found = list(read(path))
    for who in "012":
        assert [e.facts["i"] for e in found if e.facts["who"] == who] == list(range(20))
