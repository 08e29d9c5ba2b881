"""Follows an instance from run to run: attaches, notices the end, attaches to the next epoch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from engine.run_file import RunNote, read_note
from shm.errors import ShmError
from shm.segment import RunName
from tools.outside.view import RunView


class RunFollower:
    """One instance as a looker-on sees it, also after its end and in its next run.

    Args:
        note: the run to begin with.
        open_view: attaches to a run; tests put their own in.

    Attributes:
        note: of the run that is or was looked at.
        view: its faces, None once it has ended.
        attached: how many runs were attached so far; a change means that all counters began anew.

    Raises:
        SegmentError, LayoutError: the first run can not be attached to.
    """

    def __init__(self, note: RunNote, open_view: Callable[[RunName], RunView] = RunView.of_run) -> None:
        self._open_view = open_view
        self.note = note
        self.view: RunView | None = open_view(RunName(note.instance, note.epoch))
        self.attached = 1

    def look(self) -> RunView | None:
        """The faces of the run that is on now; None while there is none.

        Costs a few reads of small files, and asks nobody.
        """
        note = read_note(Path(self.note.state_dir))
        is_on = note is not None and note.is_running
        if self.view is not None and is_on and note == self.note:
            return self.view
        self.close()
        if note is None or not is_on:
            return None
        try:
            self.view = self._open_view(RunName(note.instance, note.epoch))
        except ShmError:
            return None  # only just starting: the next look finds it
        self.note = note
        self.attached += 1
        return self.view

    def close(self) -> None:
        """Let go of the run."""
        if self.view is not None:
            self.view.close()
            self.view = None
