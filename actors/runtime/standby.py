"""A worker's standby: a second process, everything imported and the ledger followed, that waits for its turn.

It is told a worker's spec like any process, but opens nothing that a live worker writes. Where the worker
hosts a gateway it replays that one's journal as it grows, through the same OMS. When the worker's process has
ended the supervisor sends the spec of the next incarnation: then this process is that worker.

What keeps two from acting: the supervisor promotes only after the kernel has told the end of the process
before (its pidfd), one that merely hangs is killed first, and the journal is locked by its writer.
"""

from __future__ import annotations

import os
import select
import socket
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from actors.errors import RoleError, SpecError
from actors.roles import role_class
from actors.runtime.spec import WorkerSpec, instruments_name
from exec.errors import ExecError
from shm.enums import SegmentKind
from shm.errors import ShmError
from shm.instruments import InstrumentTable
from shm.segment import Segment, SegmentSource

if TYPE_CHECKING:
    from exec.checkpoint import LedgerFollower

#: Under this key a promoted worker's host shares the `LedgerFollower` of its standby.
FOLLOWED = "followed_ledger"
GATEWAY = "order_gateway"
BUSY_MS = 20
IDLE_MS = 200
STEP_ENTRIES = 1_024
_READ_BYTES = 65_536


class Standby:
    """One standby from its spec to the spec of what it becomes.

    Args:
        spec: of the worker it stands by for, with descriptors of its own.
        segments: opens the run's segments.
    """

    def __init__(self, spec: WorkerSpec, segments: SegmentSource) -> None:
        self.followed: LedgerFollower | None = None
        self._spec = spec
        self._segments = segments
        self._instruments: Segment | None = None
        self._link = socket.socket(fileno=spec.link_fd)
        self._link.setblocking(False)
        self._received = b""
        self._entries = 0
        self._is_broken = GATEWAY not in spec.roles()
        self._has_told = False

    def wait(self) -> WorkerSpec | None:
        """Follow until told; the spec to become, None = not needed any more (or the supervisor is gone)."""
        warm_up(self._spec)
        poll = select.poll()
        poll.register(self._link.fileno(), select.POLLIN)
        if self._spec.supervisor_pidfd >= 0:
            poll.register(self._spec.supervisor_pidfd, select.POLLIN)
        while True:
            count = self._follow()
            if not count and not self._has_told:
                self._tell({"op": "standby", "state": "following", "entries": self._entries})
                self._has_told = True
            for fd, _ in poll.poll(self._pause_ms(count)):
                if fd != self._link.fileno():
                    return self._leave(None)
                message = self._receive()
                if message is None or message.get("op") == "stop":
                    return self._leave(None)
                if message.get("op") == "promote":
                    return self._leave(self._promoted(message))

    def _pause_ms(self, count: int) -> int | None:
        if count:
            return 0 if count == STEP_ENTRIES else BUSY_MS
        return None if self._is_broken else IDLE_MS

    def _follow(self) -> int:
        if self._is_broken:
            return 0
        try:
            if self.followed is None and not self._begin():
                return 0
            assert self.followed is not None
            count = self.followed.step(STEP_ENTRIES)
        except (ShmError, ExecError) as error:
            # Recovery will meet the same and say it aloud: a promotion without a copy reads the journal.
            self._is_broken, self.followed = True, None
            self._tell({"op": "event", "text": f"standby: follows the journal no more: {error}"})
            return 0
        self._entries += count
        return count

    def _begin(self) -> bool:
        directory = Path(self._spec.state_dir) / f"journal-{self._spec.slot}"
        if not directory.is_dir():
            return False
        # Here, because every worker imports this module, and only a gateway's standby has a ledger.
        from exec.checkpoint import LedgerFollower
        from risk.exposure import ExposureBook

        self._instruments = self._segments.open(instruments_name(), SegmentKind.INSTRUMENTS, writable=False)
        table = InstrumentTable.attach(self._instruments.payload)
        self.followed = LedgerFollower(directory, self._spec.epoch, lambda _rows: ExposureBook(table.get))
        return True

    def _receive(self) -> dict[str, Any] | None:
        """The next message, {} while it is not whole; what follows it stays for the worker's own link."""
        try:
            data = self._link.recv(_READ_BYTES, socket.MSG_PEEK)
            end = data.find(b"\n")
            data = self._link.recv(end + 1 if end >= 0 else len(data))
        except BlockingIOError:
            return {}
        except OSError:
            return None
        if not data:
            return None
        self._received += data
        if end < 0:
            return {}
        line, self._received = self._received, b""
        try:
            message = orjson.loads(line)
        except orjson.JSONDecodeError:
            return {}
        return message if isinstance(message, dict) else {}

    def _promoted(self, message: dict[str, Any]) -> WorkerSpec | None:
        try:
            spec = WorkerSpec.from_json(orjson.dumps(message.get("spec")))
        except SpecError as error:
            self._tell({"op": "error", "error": f"standby: {error}"})
            return None
        spec.link_fd, spec.supervisor_pidfd = self._spec.link_fd, self._spec.supervisor_pidfd
        return spec

    def _tell(self, message: dict[str, Any]) -> None:
        try:
            self._link.send(orjson.dumps(message) + b"\n")
        except OSError:
            return  # nobody reads, or the next read says that the link is over

    def _leave(self, spec: WorkerSpec | None) -> WorkerSpec | None:
        self._link.detach()
        return spec


def warm_up(spec: WorkerSpec) -> None:
    """Import what the worker's actors are made of; what can not be imported its start will say."""
    for actor in spec.actors:
        try:
            role_class(actor.role)
            for row in actor.settings.get("accounts", ()):
                from exec.venues import protocol_class

                protocol_class(row["protocol"])
        except (RoleError, ExecError, KeyError, TypeError):
            continue


def stand_by(
    spec: WorkerSpec, segments: SegmentSource, prepare: Callable[[WorkerSpec], dict[str, str]]
) -> tuple[WorkerSpec, LedgerFollower | None] | None:
    """Stand by for a worker.

    Args:
        spec: of the worker.
        segments: opens the run's segments.
        prepare: makes this process what the spec says (core, priority, memory); called at the promotion.

    Returns:
        The spec to become and the ledger as far as it was followed; None = to end.
    """
    standby = Standby(spec, segments)
    os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    promoted = standby.wait()
    if promoted is None:
        return None
    os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    promoted.machine.facts = prepare(promoted)
    return promoted, standby.followed
