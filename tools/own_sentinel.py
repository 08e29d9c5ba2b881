"""Doing the sentinel's work without one: from the note it left, with keys from this process's environment."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import orjson

from actors.runtime.settings import read_settings
from actors.runtime.spec import instruments_name
from actors.venue_orders import VenueAccount
from engine.errors import ControlError
from engine.run_file import RunNote
from engine.sentinel import NOTE_NAME
from engine.venue_client import VenueClient, make_ids
from engine.withdrawing import Outcome, withdraw
from exec.client_ids import tag_of
from exec.order import make_client_order_id
from exec.venue_sessions import TableDirectory
from exec.withdrawal import NoDirectory
from shm.enums import SegmentKind
from shm.errors import ShmError
from shm.instance import default_state_root
from shm.instruments import InstrumentTable
from shm.segment import RunName, Segment
from tools.attach import find_run

#: Slot and incarnation that no worker has: our closing orders share no id with anybody's.
SLOT: Final = 63
LIMIT_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class SentinelNote:
    """What a sentinel left in the state directory: accounts by address and place of keys, never keys.

    Attributes:
        instance: its name.
        state_dir: of it.
        accounts: objects as in `engine.sentinel.SentinelSettings`; empty = the run sends no orders to venues.
        epoch: of the run that still has segments, 0 = unknown.
    """

    instance: str
    state_dir: Path
    accounts: Sequence[dict[str, Any]] = field(default_factory=tuple)
    epoch: int = 0


def find_note(name: str | None, state: Path | None) -> tuple[RunNote | None, SentinelNote]:
    """The running engine, if there is one, and the note in its state directory.

    Args:
        name: instance, None = the newest running one, else the only one there is.
        state: state root, None = the user's.

    Raises:
        ControlError: nothing runs and no dead instance is meant.
    """
    try:
        run = find_run(name, state)
        return run, read_sentinel_note(Path(run.state_dir), run.instance, run.epoch)
    except ControlError:
        root = state or default_state_root()
        folders = [folder.parent for folder in sorted(root.glob(f"*/{NOTE_NAME}"))]
        if name is not None:
            folders = [folder for folder in folders if folder.name == name]
        if len(folders) != 1:
            raise
    return None, read_sentinel_note(folders[0], folders[0].name, _epoch(folders[0]))


def _epoch(folder: Path) -> int:
    try:
        return int((folder / "epoch").read_text())
    except (OSError, ValueError):
        return 0


def read_sentinel_note(state_dir: Path, instance: str, epoch: int) -> SentinelNote:
    """Read the note; one that is not there means that there are no accounts."""
    try:
        data = orjson.loads((state_dir / NOTE_NAME).read_bytes())
        return SentinelNote(instance, state_dir, tuple(data["accounts"]), epoch)
    except FileNotFoundError:
        return SentinelNote(instance, state_dir, (), epoch)
    except (OSError, orjson.JSONDecodeError, KeyError, TypeError) as error:
        raise ControlError(f"{state_dir / NOTE_NAME} can not be read: {error}") from error


async def act_ourselves(found: SentinelNote, *, flatten: bool) -> list[Outcome]:
    """Cancel everything at every account of a note.

    Raises:
        ControlError: there are no accounts.
        KeysError: a key is not in this environment.
    """
    if not found.accounts:
        raise ControlError(f"{found.instance}: no venue accounts are known in {found.state_dir}")
    segment = _instruments(found)
    table = None if segment is None else InstrumentTable.attach(segment.payload)
    directory: Any = NoDirectory() if table is None else TableDirectory(table)
    tag = tag_of(found.instance)
    clients = [
        VenueClient(
            read_settings(VenueAccount, row["account"], "sentinel.accounts"), row["rest_url"],
            tag=tag, directory=directory,
        )
        for row in found.accounts
    ]  # fmt: skip
    take_id = make_ids(make_client_order_id(found.epoch, SLOT, 1, 0))
    try:
        await asyncio.gather(*(client.sync_time() for client in clients))
        return list(
            await asyncio.gather(
                *(
                    withdraw(
                        client,
                        flatten=flatten,
                        take_id=take_id,
                        limit_s=LIMIT_S,
                        gives_up=lambda row=row: bool(row["is_simulated"]),  # type: ignore[misc]
                    )
                    for client, row in zip(clients, found.accounts, strict=True)
                )
            )
        )
    finally:
        for client in clients:
            await client.close()


def _instruments(found: SentinelNote) -> Segment | None:
    """The instrument table of the run, as long as its segments are there."""
    try:
        run = RunName(found.instance, found.epoch)
        return Segment.attach(run, instruments_name(), SegmentKind.INSTRUMENTS, writable=False)
    except ShmError:
        return None
