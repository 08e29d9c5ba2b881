"""Find a running engine from outside: by its note in the state directory, then by its control segment."""

from __future__ import annotations

from pathlib import Path

from actors.runtime.spec import control_name
from engine.control_socket import request
from engine.errors import ControlError
from engine.run_file import RunNote, running
from shm.control import Control
from shm.enums import SegmentKind
from shm.errors import ShmError
from shm.instance import default_state_root
from shm.segment import RunName, Segment


def find_run(name: str | None, state: Path | None) -> RunNote:
    """The newest running engine, or the one of that name.

    Args:
        name: instance, None = any.
        state: state root that the engine was started with, None = the user's.

    Raises:
        ControlError: none runs there, or none of that name.
    """
    root = state or default_state_root()
    notes = running(root)
    if name is not None:
        others = ", ".join(note.instance for note in notes) or "none"
        notes = [note for note in notes if note.instance == name]
        if not notes:
            raise ControlError(f"no engine of name {name} runs under {root} (running: {others})")
    if not notes:
        raise ControlError(f"no engine runs under {root}")
    return notes[0]


def open_control(note: RunNote, *, writable: bool = False) -> tuple[Control, Segment]:
    """Attach the control segment of a run; keep the segment as long as the face is used.

    Args:
        note: the run.
        writable: only for a command that changes something; a look can then change nothing.

    Raises:
        ControlError: it is not there: the engine is only just starting, or has ended.
    """
    try:
        run = RunName(note.instance, note.epoch)
        segment = Segment.attach(run, control_name(), SegmentKind.CONTROL, writable=writable)
        return Control.attach(segment.payload), segment
    except ShmError as error:
        raise ControlError(f"{note.instance} has no control segment yet: {error}") from error


def ask(note: RunNote, op: str, timeout_s: float = 10.0) -> dict[str, object]:
    """Send one command to the engine's control socket and return its reply.

    Raises:
        ControlError: no answer, or refused.
    """
    return request(Path(note.state_dir), {"op": op}, timeout_s)
