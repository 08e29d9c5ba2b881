"""What `ringlane journal cat` says of commands that waited and of agreements with a venue."""

from __future__ import annotations

from pathlib import Path

from exec.entries import EntryWriter
from exec.order import Order
from shm.enums import IntentKind
from shm.journal import Journal
from shm.journal_reader import read_journal
from tools.journal_view import View, line

AT_NS = 1_700_000_000_000_000_000


def test_waiting_leaving_and_agreeing_are_lines_of_their_own(tmp_path: Path) -> None:
    journal = Journal.open(tmp_path, "seen", 1, file_bytes=16384)
    entries = EntryWriter(journal)
    order = Order(0xABC, 0, 1, 100, 7)
    entries.held(int(IntentKind.NEW), order, 5)
    entries.released(int(IntentKind.NEW), order, 6)
    entries.agreed(2, AT_NS, 7)
    journal.close()
    view = View(tmp_path)
    shown = [line(view.document(entry)).partition("1/")[2] for entry in read_journal(tmp_path)]
    assert shown[:2] == ["1 HELD NEW order=0xabc", "2 RELEASED NEW order=0xabc"]
    assert shown[2].startswith("3 AGREED text=venue 2: the same up to 2023-11-14T22:13:20")
