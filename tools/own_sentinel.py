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
from actors.venue_account import VenueAccount
from engine.errors import ControlError
from engine.run_file import RunNote
from engine.sentinel import NOTE_NAME
from engine.venue_client import VenueClient, make_ids
from engine.withdrawing import Outcome, withdraw
from exec.client_ids import tag_of
from exec.errors import KeysError
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
    """Cancel everything at every account of a note whose keys are here; the others are told in their outcome.

    Raises:
        ControlError: there are no accounts.
        KeysError: the keys of no account are here.
    """
    if not found.accounts:
        raise ControlError(f"{found.instance}: no venue accounts are known in {found.state_dir}")
    segment = _instruments(found)
    table = None if segment is None else InstrumentTable.attach(segment.payload)
    directory: Any = NoDirectory() if table is None else TableDirectory(table)
    tag = tag_of(found.instance)
    clients: dict[str, tuple[VenueClient, bool]] = {}
    left: list[Outcome] = []
    for row in found.accounts:
        account, is_simulated = (
            read_settings(VenueAccount, row["account"], "sentinel.accounts"),
            bool(row["is_simulated"]),
        )
        try:
            client = VenueClient(account, row["rest_url"], tag=tag, directory=directory)
        except KeysError as error:
            # Keys of simulated accounts are random and end with their run, as their venue does.
            left.append(Outcome(account.name, error=str(error), is_gone=is_simulated))
        else:
            clients[account.name] = client, is_simulated
    refused = [outcome.error for outcome in left if not outcome.is_gone]
    if refused and not clients:
        raise KeysError(refused[0])
    take_id = make_ids(make_client_order_id(found.epoch, SLOT, 1, 0))
    try:
        await asyncio.gather(*(client.sync_time() for client, _ in clients.values()))
        done = await asyncio.gather(
            *(
                withdraw(
                    client,
                    flatten=flatten,
                    take_id=take_id,
                    limit_s=LIMIT_S,
                    gives_up=lambda is_simulated=is_simulated: is_simulated,  # type: ignore[misc]
                )
                for client, is_simulated in clients.values()
            )
        )
        return [*done, *left]
    finally:
        for client, _ in clients.values():
            await client.close()


def _instruments(found: SentinelNote) -> Segment | None:
    """The instrument table of the run, as long as its segments are there."""
    try:
        run = RunName(found.instance, found.epoch)
        return Segment.attach(run, instruments_name(), SegmentKind.INSTRUMENTS, writable=False)
    except ShmError:
        return None
