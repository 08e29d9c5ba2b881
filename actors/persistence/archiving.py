"""The archive on a schedule: the housekeeping worker starts a process that archives and ends.

Hashing and writing a day costs seconds of a core and the memory of Parquet: not in a loop that others wait
for. The process is the least urgent one of the machine (nice 19, idle class of the disk), ends with its
worker, and may be killed at any step (`archive`).
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import psutil

from actors.errors import ActorError
from actors.persistence.store import StoreError

# After a start the first pass is due soon: an engine that is restarted daily archives too.
FIRST_S = 60.0
NICE = 19
_PR_SET_PDEATHSIG = 1  # <sys/prctl.h>


class Archiver:
    """Starts the process whenever it is due.

    Args:
        settings: of the role `store`, as plain data.
        state_dir: of the instance.
        every_s: between the end of a pass and the next.
        tell: called with each day that was archived (table, day, rows).
        fail: called with what went wrong; the next pass tries again.
        nice: of the process, with the idle class of the disk; 0 = as urgent as its starter in both.
    """

    def __init__(
        self,
        settings: Mapping[str, Any],
        state_dir: str,
        every_s: float,
        tell: Callable[[Mapping[str, Any]], None],
        fail: Callable[[str], None],
        nice: int = NICE,
    ) -> None:
        self._order = dict(settings) | {"state_dir": state_dir, "nice": nice}
        self._every_s = every_s
        self._tell = tell
        self._fail = fail
        self._process: asyncio.subprocess.Process | None = None

    async def run(self, rest: Callable[[float], Awaitable[bool]]) -> None:
        """Archive on schedule until `rest`, given seconds, says that it is over."""
        pause_s = min(FIRST_S, self._every_s)
        while not await rest(pause_s):
            await self.once()
            pause_s = self._every_s

    async def once(self) -> None:
        """One pass, to its end."""
        try:
            process = self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-P", "-m", __name__,
                stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
            )  # fmt: skip
        except OSError as error:
            self._fail(f"archive: its process could not be started: {error.strerror}")
            return
        output, _ = await process.communicate(orjson.dumps(self._order | {"parent": os.getpid()}))
        self._process = None
        told = [orjson.loads(line) for line in output.splitlines()]
        for found in told:
            if "error" in found:
                self._fail(found["error"])
            else:
                self._tell(found)
        if process.returncode and not any("error" in found for found in told):
            self._fail(f"archive: its process ended with exit code {process.returncode}")

    def kill(self) -> None:
        """End a pass that is under way; the next one finds what it left."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()


def main() -> int:
    """Archive once, as the order on standard input says; one JSON object per day on standard output."""
    order = orjson.loads(sys.stdin.buffer.read())
    parent = order.pop("parent")
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, ctypes.c_ulong(signal.SIGKILL), 0, 0, 0)
    if os.getppid() != parent:  # it ended before the request was in force
        return 1
    if nice := order.pop("nice"):
        os.nice(nice - os.nice(0))
        with contextlib.suppress(psutil.Error, OSError):  # a kernel without that class
            psutil.Process().ionice(psutil.IOPRIO_CLASS_IDLE)
    return asyncio.run(_archive(order))


async def _archive(order: dict[str, Any]) -> int:
    from actors.persistence.archive import Archive, ArchiveError, archive_old
    from actors.persistence.writer import PATIENT_S, StoreSettings, make_store

    state_dir = Path(order.pop("state_dir"))
    settings = StoreSettings(**order)
    try:
        store = make_store(settings, state_dir, PATIENT_S)
        archive = Archive(settings.archive)
        await store.open()
        try:
            async for part in archive_old(store, archive, settings.keep_days, datetime.now(UTC)):
                _say({"table": part.table, "day": f"{part.day:%Y-%m-%d}", "rows": part.rows})
        finally:
            await store.close()
    except (ActorError, ArchiveError, StoreError) as error:
        _say({"error": str(error)})
        return 1
    return 0


def _say(found: Mapping[str, Any]) -> None:
    sys.stdout.buffer.write(orjson.dumps(found) + b"\n")
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    sys.exit(main())
