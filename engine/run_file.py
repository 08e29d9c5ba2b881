"""The note a running engine leaves in its state directory, by which outside tools find its run."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import orjson

from shm.clock import utc_ns
from shm.instance import Instance

RUN_FILE = "run.json"


@dataclass(frozen=True, slots=True)
class RunNote:
    """Who runs in a state directory.

    Attributes:
        instance, epoch: name of the run, which its segments bear.
        pid: supervisor's process id.
        start_ticks: start time of that process (field 22 of /proc/PID/stat), so that a reused pid is told
            apart.
        started_utc_ns: wall clock at the start.
        state_dir: the folder itself.
        heartbeat_ns: interval of the workers' heartbeat.
    """

    instance: str
    epoch: int
    pid: int
    start_ticks: int
    started_utc_ns: int
    state_dir: str
    heartbeat_ns: int

    @property
    def is_running(self) -> bool:
        """Whether that very process still exists."""
        return self.start_ticks != 0 and start_ticks(self.pid) == self.start_ticks


def own_note(instance: Instance, heartbeat_ns: int) -> RunNote:
    """The note of a run whose supervisor is this process."""
    pid = os.getpid()
    return RunNote(
        instance.name, instance.epoch, pid, start_ticks(pid), utc_ns(), str(instance.state_dir), heartbeat_ns
    )


def start_ticks(pid: int) -> int:
    """Start time of a process in clock ticks since boot, 0 if there is none (proc(5), stat field 22)."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return 0
    fields = stat.rpartition(")")[2].split()
    return 0 if fields[0] == "Z" else int(fields[19])


def write_note(note: RunNote) -> None:
    """Write the note whole or not at all."""
    path = Path(note.state_dir) / RUN_FILE
    temporary = path.with_suffix(".new")
    temporary.write_bytes(orjson.dumps(asdict(note)))
    os.replace(temporary, path)


def read_note(state_dir: Path) -> RunNote | None:
    """The note in a state directory, or None if there is none that can be read."""
    try:
        data = orjson.loads((state_dir / RUN_FILE).read_bytes())
        return RunNote(**data)
    except (OSError, orjson.JSONDecodeError, TypeError):
        return None


def remove_note(state_dir: Path) -> None:
    """Remove the note; harmless if there is none."""
    with suppress(FileNotFoundError):
        (state_dir / RUN_FILE).unlink()


def running(state_root: Path) -> list[RunNote]:
    """Notes of the engines that run under a state root, newest first."""
    if not state_root.is_dir():
        return []
    notes = [read_note(folder) for folder in sorted(state_root.iterdir()) if folder.is_dir()]
    alive = [note for note in notes if note is not None and note.is_running]
    return sorted(alive, key=lambda note: note.started_utc_ns, reverse=True)
