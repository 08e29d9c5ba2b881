"""What the other processes of the rate tests run: takers that ask a venue, takers that are killed."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from shm.clock import now_ns
from shm.enums import RateLane, RateStop, SegmentKind
from shm.rate_ledger import RateLedger
from shm.rate_rules import RateRule
from shm.segment import RunName, Segment
from shm.words import load_acquire, store_release

ROOT = Path(__file__).resolve().parents[2]


def start(role: str, *args: object) -> subprocess.Popen[bytes]:
    """Start this module's function `role` in a new process; it ends with its parent."""
    code = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r}); "
        "from tests.stress import rate_children; rate_children.main()"
    )
    return subprocess.Popen([sys.executable, "-P", "-c", code, role, *map(str, args)])


def kill(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGKILL)
    process.wait()


def create(run: RunName, *rules: RateRule) -> tuple[Segment, RateLedger]:
    segment = Segment.create(run, "rates", SegmentKind.RATES, RateLedger.bytes_needed(rules))
    return segment, RateLedger.create(segment.payload, rules)


def main() -> None:
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    role, instance, *args = sys.argv[1:]
    roles: dict[str, Callable[..., None]] = {"ask_venue": ask_venue, "take_and_note": take_and_note}
    roles[role](RunName(instance, 1), *args)


def ask_venue(run: RunName, port: str, per_second: str, lane: str) -> None:
    """Ask the venue whenever the ledger lets it, trying `per_second` times; obey and tell its refusals.

    A request is "ask <stamp>": the time read before the take. After a 429: "stop <said> <until>".
    """
    ledger = RateLedger.attach(Segment.attach(run, "rates", SegmentKind.RATES).payload)
    pause_ns = int(1e9 / float(per_second))
    with socket.create_connection(("127.0.0.1", int(port))) as venue, venue.makefile("rwb", 0) as lines:
        due_ns = now_ns()
        while True:
            due_ns += pause_ns
            time.sleep(max(due_ns - now_ns(), 0) / 1e9)
            stamp_ns = now_ns()
            if ledger.take(0, RateLane(int(lane)), 1, stamp_ns):
                continue
            lines.write(b"ask %d\n" % stamp_ns)
            answer = lines.readline().split()
            if not answer:
                return  # the venue has closed: the test is over
            if answer[0] == b"429":
                until_ns = now_ns() + int(answer[1])
                ledger.penalize(0, until_ns, RateStop.ADDRESS)
                lines.write(b"stop %d %d\n" % (now_ns(), until_ns))


def take_and_note(run: RunName, slot: str) -> None:
    """Take at the time that the test says, and note each unit that was granted in an own word."""
    ledger = RateLedger.attach(Segment.attach(run, "rates", SegmentKind.RATES).payload)
    notes = Segment.attach(run, "notes", SegmentKind.STATE).payload
    mine = 8 * int(slot)
    noted = load_acquire(notes, mine)
    while True:
        if ledger.take(0, RateLane.CANCEL, 1, load_acquire(notes, 0)) == 0:
            noted += 1
            store_release(notes, mine, noted)
        else:
            os.sched_yield()
