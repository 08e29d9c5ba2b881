"""Kill campaigns on whole engines: SIGKILL of anybody at random moments, then what must hold."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time
from pathlib import Path
from typing import Any

from shm.journal_reader import read_journal
from tests.kit.account import Account, assert_whole, journal_folder, read_account
from tests.kit.engine_run import EngineRun, synthetic, until

BOOKS = 4


def session_of(pid: int) -> int:
    """The session of a living process; 0 if there is none, or only what is left of it."""
    with contextlib.suppress(OSError):
        # Fields behind the name in parentheses: state, ppid, pgrp, session (proc(5)).
        state, _, _, sid = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[:4]
        return 0 if state in "ZX" else int(sid)
    return 0


def session_processes(session: int) -> list[int]:
    """Every process of a session, those without a parent too; an `EngineRun` has a session of its own."""
    pids = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    return [pid for pid in pids if session_of(pid) == session]


class Campaign:
    """One instance on one state folder, whose processes are killed again and again.

    Args:
        folder: Temporary folder for config, state and report.
        seed: Decides victims and moments.
    """

    def __init__(self, folder: Path, seed: int) -> None:
        self.random = random.Random(seed)
        self.seed = seed
        self.folder = folder
        self.text, self.name = synthetic(folder, placement="spread")
        self.kills: dict[str, int] = {}
        self.epochs: list[int] = []
        self.torn: dict[int, bool] = {}  # epochs whose supervisor was killed: was all well then?
        self.run = self._start()

    def _start(self) -> EngineRun:
        run = EngineRun(self.folder, self.text, name=self.name)
        status = run.wait_running()
        epoch = int(status["epoch"])
        assert not self.epochs or epoch > self.epochs[-1], "a new run has a new epoch"
        self.epochs.append(epoch)
        return run

    @property
    def killed(self) -> int:
        return sum(self.kills.values())

    def workers(self) -> list[dict[str, Any]]:
        return list(self.run.status().get("workers", []))

    def wait_healthy(self) -> None:
        """Wait until all run, every book is LIVE again and fills come in again."""

        def well() -> bool:
            assert self.run.process.poll() is None, self.run.text()
            status = self.run.status()
            running = all(w["state"] == "RUNNING" for w in status.get("workers", [{"state": ""}]))
            books = status.get("progress", {}).get("books", {})
            return running and books.get("LIVE", 0) == BOOKS

        until(well, f"all run and all books are LIVE again (seed {self.seed}, {self.kills})")
        before = self.run.fills()
        until(lambda: self.run.fills() > before, f"it trades again (seed {self.seed}, {self.kills})")

    def kill_workers(self) -> None:
        """SIGKILL one worker, now and then two at once, at a moment that has nothing to do with theirs."""
        before = {w["name"]: w for w in self.workers()}
        names = self.random.sample(sorted(before), 2 if self.random.random() < 0.25 else 1)
        time.sleep(self.random.uniform(0, 0.15))  # the random moment itself, not a synchronization
        hit = []
        for name in names:
            pid = before[name]["pid"]
            with contextlib.suppress(ProcessLookupError):
                if session_of(pid) == self.run.process.pid:  # else it is dead from the last kill, or reborn
                    os.kill(pid, signal.SIGKILL)
                    hit.append(name)
        for name in hit:
            self.kills[name] = self.kills.get(name, 0) + 1
        if self.random.random() < 0.33:
            return  # the next one hits while these come up

        def back() -> bool:
            rows = {w["name"]: w for w in self.workers()}
            return bool(rows) and all(rows[n]["incarnation"] > before[n]["incarnation"] for n in hit)

        until(back, f"{hit} come back with a new incarnation (seed {self.seed})")

    def kill_supervisor(self) -> None:
        """SIGKILL the supervisor: everybody leaves, segments stay and are of this run; then start again."""
        epoch = self.epochs[-1]
        self.torn[epoch] = self.random.random() < 0.5
        if self.torn[epoch]:
            self.wait_healthy()
        self.run.signal(signal.SIGKILL)
        self.run.wait_ended()
        self.kills["supervisor"] = self.kills.get("supervisor", 0) + 1
        until(lambda: not session_processes(self.run.process.pid), "all workers follow their supervisor")
        mine = f"ringlane.{self.name}.{epoch}."
        left = self.run.segments()
        assert left and all(name.startswith(mine) for name in left), left
        self.run = self._start()
        new = f"ringlane.{self.name}.{self.epochs[-1]}."
        assert all(name.startswith(new) for name in self.run.segments()), "dead runs are cleared at the start"

    def stop(self) -> None:
        """End in order and account for everything."""
        self.wait_healthy()
        until(lambda: not self.orders_of_the_dead(), f"orders of the dead are canceled (seed {self.seed})")
        self.run.signal(signal.SIGTERM)
        assert self.run.wait_ended() == 0, self.run.text()
        until(lambda: not session_processes(self.run.process.pid), "every process is gone")
        assert self.run.segments() == []
        assert self.run.sockets() == []
        for epoch in self.epochs:
            self.check_journal(epoch)

    def check_journal(self, epoch: int) -> Account:
        """The journal of one epoch is whole: no order sent twice, no fill booked twice, no intent lost."""
        reader = read_journal(journal_folder(self.run), epoch)
        sequences = [entry.sequence for entry in reader]
        assert sequences == list(range(1, len(sequences) + 1)), f"epoch {epoch} (seed {self.seed})"
        assert reader.torn == [], f"epoch {epoch} (seed {self.seed})"
        account = read_account(self.run, epoch)
        # Without its supervisor a gateway cancels and goes. One that was dead itself could not.
        assert_whole(account, is_stopped=self.torn.get(epoch, True))
        return account

    def orders_of_the_dead(self) -> list[int]:
        """Orders that rest though the strategy worker that wanted them is dead."""
        live = {w["slot"]: w["incarnation"] for w in self.workers()}
        account = read_account(self.run, self.epochs[-1])
        wanted = {i.client_order_id: (i.worker_slot, i.incarnation) for i, _ in account.intents}
        owners = {order: wanted[order] for order in account.open_orders}
        return [order for order, (slot, incarnation) in owners.items() if incarnation < live.get(slot, 0)]

    def close(self) -> None:
        """End what is left after a failed test, by id."""
        for pid in session_processes(self.run.process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.run.process.wait(timeout=20)
        for leftover in Path("/dev/shm").glob(f"ringlane.{self.name}.*"):
            leftover.unlink()
