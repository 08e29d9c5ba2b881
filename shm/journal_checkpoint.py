"""Checkpoint files: what a journal amounts to at the end of a file, so that recovery reads newer ones only.

The content is not our business (`exec.checkpoint` makes it); a file is whole or does not count: one line of
JSON with position, length and SHA-256, then the content. Written aside, fsynced and renamed.
"""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import NamedTuple

from shm.errors import JournalError
from shm.journal import FileView
from shm.journal_files import JournalPosition, file_name, map_to_read, write_durably

CHECKPOINT_NAME = re.compile(r"journal-([0-9]{6,})-([0-9]{6,})\.checkpoint")
KEPT = 2


class Checkpoint(NamedTuple):
    """A state and the position it stands for: behind the last record of a file."""

    position: JournalPosition
    content: bytes


def checkpoint_path(directory: Path, epoch: int, index: int) -> Path:
    """Where the checkpoint behind a journal file is."""
    return directory / file_name(epoch, index).replace(".rlj", ".checkpoint")


def checkpoint_files(directory: Path) -> list[tuple[int, int, Path]]:
    """All checkpoints as (epoch, index, path), oldest first; whether they are whole is not looked at."""
    found = []
    for path in directory.iterdir():
        match = CHECKPOINT_NAME.fullmatch(path.name)
        if match:
            found.append((int(match[1]), int(match[2]), path))
    return sorted(found)


def write_checkpoint(directory: Path, checkpoint: Checkpoint) -> Path:
    """Write a checkpoint whole or not at all, and prune the older ones of its epoch to one.

    Raises:
        JournalError: it can not be written (JournalFull: no room); recovery then reads more files.
    """
    position, content = checkpoint
    head = {"position": list(position), "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    path = checkpoint_path(directory, position.epoch, position.file_index)
    write_durably(path, json.dumps(head, sort_keys=True).encode() + b"\n" + content)
    mine = [p for epoch, _, p in checkpoint_files(directory) if epoch == position.epoch]
    for old in mine[:-KEPT]:
        old.unlink(missing_ok=True)
    return path


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint.

    Raises:
        JournalError: it is damaged or can not be read.
    """
    try:
        head, _, content = path.read_bytes().partition(b"\n")
        fields = json.loads(head)
        position = JournalPosition(*fields["position"])
        is_whole = len(content) == fields["bytes"] and hashlib.sha256(content).hexdigest() == fields["sha256"]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise JournalError(f"the checkpoint can not be read: {error!r}", path) from error
    if not is_whole:
        raise JournalError("the checkpoint is damaged: its SHA-256 does not fit", path)
    return Checkpoint(position, content)


def newest_checkpoint(directory: Path, epoch: int, *, below: int | None = None) -> Checkpoint | None:
    """The newest whole checkpoint of an epoch that the journal goes on from, None when there is none.

    One that is damaged, or that the next file does not continue, is passed over: recovery then reads more.

    Args:
        directory: of the journal.
        epoch: whose.
        below: only one behind a file of a lower index.
    """
    if not directory.is_dir():
        return None
    for found, index, path in reversed(checkpoint_files(directory)):
        if found != epoch or (below is not None and index >= below):
            continue
        try:
            checkpoint = read_checkpoint(path)
            following = directory / file_name(epoch, index + 1)
            view = FileView(following, map_to_read(following), epoch, index + 1)
        except (JournalError, FileNotFoundError):
            continue
        position = checkpoint.position
        if (position.epoch, position.file_index) == (epoch, index) and (
            view.first_sequence == position.sequence + 1 and view.previous_chain == position.chain
        ):
            return checkpoint
    return None
