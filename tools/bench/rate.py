"""The shared rate ledger: cost of a take beside floor and peers, and cancels while others want too much.

`ringlane bench rate`. A peer holds the same state under a lock, as a library inside one process does
(dictionary and lock), across processes (shared value and process lock), or in a server (a Valkey script).
"""

from __future__ import annotations

import fcntl
import multiprocessing
import os
import signal
import socket
import struct
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from io import BufferedReader
from mmap import mmap

import numpy as np

from shm.clock import now_ns
from shm.enums import RateLane, RateScope, RateUnit
from shm.rate_ledger import RateLedger
from shm.rate_rules import SECOND_NS, RateRule
from tools.bench import rate_loops as loops
from tools.bench.common import OURS, BenchResult, Goal, Measurement
from tools.bench.floor import wait_until
from tools.bench.quiet_core import quiet_core
from tools.bench.steps import Step, measured, nothing, per_round, repeated_with
from tools.bench.valkey import ValkeyProcess

ROUNDS = 200_000
PEER_ROUNDS = 20_000
ADD = "floor: one atomic addition in C"
CALL = "floor: one Python call"
DICT = "a dictionary under a lock, one process"
PROCESS_LOCK = "a shared value under a process lock"
VALKEY = "a script in Valkey"
LIMIT, WINDOW_NS = 2_000, SECOND_NS
SATURATORS = 20
OVERLOAD = 3
CANCELS_PER_S = 400
CANCELS = 1_200
#: A grant as it is told: when.
STAMP = struct.Struct("<q")
#: Room for the grants of one measurement; who tells must not wait.
PIPE_BYTES = 1 << 20
#: The generic cell rate algorithm in a server: the state of a key is its theoretical arrival time.
SCRIPT = """
local arrival = tonumber(redis.call('GET', KEYS[1]) or '0')
local now, step, room = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
if arrival < now then arrival = now end
if arrival + step - now > room then return arrival + step - now - room end
redis.call('SET', KEYS[1], string.format('%d', arrival + step))
return 0
"""
NOTES = (
    "take: one unit of one bucket, granted; refused: the same when the bucket is full",
    "contended: another process takes from the same bucket meanwhile, on another core",
    f"cancel, {CANCELS_PER_S} a second: from when it was due until granted, until answered over loopback",
    f"saturated: {SATURATORS} processes on the venue's core want {OVERLOAD} times the {LIMIT} a second",
)


def make_ledger(limit: int = LIMIT, window_ns: int = WINDOW_NS) -> RateLedger:
    """A ledger of one bucket in memory that forked processes share."""
    rules = [RateRule("bench", 1, RateScope.ACCOUNT, RateUnit.ORDERS, limit, window_ns)]
    return RateLedger.create(mmap(-1, RateLedger.bytes_needed(rules)), rules)


@contextmanager
def forked(work: Callable[[], None], cores: set[int], count: int = 1) -> Iterator[None]:
    """Run `work` in forked processes until the block ends."""
    children = []
    for _ in range(count):
        pid = os.fork()
        if pid == 0:
            try:
                os.sched_setaffinity(0, cores)
                work()
            finally:
                os._exit(1)
        children.append(pid)
    try:
        yield
    finally:
        for pid in children:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


# ---- cost of a take ------------------------------------------------------------------------------


def python_peers() -> dict[str, Callable[[int], int]]:
    """The state of one bucket under a lock, in plain Python."""
    table, lock = {"bench": 0}, threading.Lock()
    value = multiprocessing.Value("q", 0)
    step, room = WINDOW_NS // LIMIT, WINDOW_NS // 4

    def in_dictionary(now: int) -> int:
        with lock:
            arrival = max(table["bench"], now) + step
            if arrival - now > room:
                return arrival - now - room
            table["bench"] = arrival
        return 0

    def in_shared_value(now: int) -> int:
        with value.get_lock():
            arrival = max(value.value, now) + step
            if arrival - now > room:
                return int(arrival - now - room)
            value.value = arrival
        return 0

    return {DICT: in_dictionary, PROCESS_LOCK: in_shared_value}


def from_python(take: Callable[[int], int], step_ns: int, rounds: int) -> Callable[[], float]:
    """A contender: takes from Python at times so late that each is granted."""
    at_ns = now_ns()

    def work() -> None:
        nonlocal at_ns
        at = at_ns
        for _ in range(rounds):
            at += step_ns
            take(at)
        at_ns = at
        assert take(at) == 0

    return per_round(work, rounds)


def take_steps() -> list[Step]:
    """One process alone."""
    ledger, word = make_ledger(), bytearray(8)
    full = make_ledger()
    loops.take_each(full, 0, RateLane.NEW, 1)
    add = per_round(lambda: loops.add_each(word, ROUNDS), ROUNDS)
    ours = make_ledger()
    step_ns = ours.view(0, 0).interval_ns
    peers = {name: from_python(take, step_ns, PEER_ROUNDS) for name, take in python_peers().items()}
    take = ours.take
    return [
        Step(
            "take_cython_ns",
            {OURS: per_round(lambda: loops.take_each(ledger, 0, RateLane.NEW, ROUNDS), ROUNDS), ADD: add},
        ),
        Step(
            "take_refused_cython_ns",
            {OURS: per_round(lambda: loops.refuse_each(full, 0, RateLane.NEW, ROUNDS), ROUNDS), ADD: add},
        ),
        Step(
            "take_python_ns",
            {
                OURS: from_python(lambda at_ns: take(0, 3, 1, at_ns), step_ns, ROUNDS),
                CALL: repeated_with(nothing, 1, ROUNDS),
                **peers,
            },
        ),
    ]


def forever(work: Callable[[], object]) -> Callable[[], None]:
    """Repeat `work` until killed."""

    def repeat() -> None:
        while True:
            work()

    return repeat


def wait_for(counted: Callable[[], int]) -> None:
    """Wait until the other process has done its first work."""
    while not counted():
        os.sched_yield()


def contended(runs: int, core: int) -> list[Measurement]:
    """The same with another process at the same word."""
    ledger, word = make_ledger(), mmap(-1, 4096)
    ours = per_round(lambda: loops.take_each(ledger, 0, RateLane.NEW, ROUNDS), ROUNDS)
    floor = per_round(lambda: loops.add_each(word, ROUNDS), ROUNDS)
    with forked(forever(lambda: loops.take_each(ledger, 0, RateLane.NEW, ROUNDS)), {core}):
        wait_for(lambda: sum(ledger.view(0, 0).granted))
        taken = [ours() for _ in range(runs)]
    with forked(forever(lambda: loops.add_each(word, ROUNDS)), {core}):
        wait_for(lambda: word[0] | word[1] | word[2])
        added = [floor() for _ in range(runs)]
    return [
        Measurement(OURS, "take_contended_cython_ns", "ns", taken),
        Measurement(ADD, "take_contended_cython_ns", "ns", added),
    ]


def in_valkey(runs: int, core: int) -> list[Measurement]:
    """The same state in a server on another core, by a script.

    Raises:
        RuntimeError: there is no server, or it does not start.
    """
    try:
        import redis
    except ImportError as error:
        raise RuntimeError(f"not installed: {error.name}") from error
    with tempfile.TemporaryDirectory() as folder:
        server = ValkeyProcess(folder, {core})
        try:
            client = redis.Redis(unix_socket_path=server.socket_path)
            take = client.register_script(SCRIPT)
            step, room = WINDOW_NS // LIMIT // 1000, WINDOW_NS // 4 // 1000

            def work() -> None:
                for _ in range(500):
                    take(keys=["bench"], args=[now_ns() // 1000, step, room])

            work()
            measure = per_round(work, 500)
            return [Measurement(VALKEY, "take_python_ns", "ns", [measure() for _ in range(runs)])]
        finally:
            server.stop()


# ---- cancels under saturation --------------------------------------------------------------------


def echo_venue(listener: socket.socket) -> None:
    """Answer whatever comes, for ever."""
    peer, _ = listener.accept()
    peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    while data := peer.recv(256):
        peer.sendall(data)


def want_too_much(ledger: RateLedger, told: int = -1) -> None:
    """Ask for new orders at this process's part of three times the limit, for ever.

    Args:
        ledger: shared.
        told: descriptor that the time of each grant is written to, -1 = nobody wants to know.
    """
    pause_ns = int(SATURATORS * WINDOW_NS / (OVERLOAD * LIMIT))
    due_ns = now_ns()
    while True:
        due_ns += pause_ns
        time.sleep(max(due_ns - now_ns(), 0) / SECOND_NS)
        at_ns = now_ns()
        if ledger.take(0, RateLane.NEW, 1, at_ns) == 0 and told >= 0:
            os.write(told, STAMP.pack(at_ns))


def cancel_times(ledger: RateLedger, venue: socket.socket, told: int) -> tuple[list[int], list[int]]:
    """Cancel at a steady rate: ns from when each was due until granted, and until answered.

    Args:
        ledger: shared.
        venue: answers.
        told: descriptor that the time of each grant is written to.
    """
    granted, answered = [], []
    start_ns = now_ns() + 50_000_000
    for number in range(CANCELS):
        due_ns = start_ns + number * SECOND_NS // CANCELS_PER_S
        wait_until(due_ns)
        while (wait := ledger.take(0, RateLane.CANCEL, 1, at_ns := now_ns())) > 0:
            wait_until(now_ns() + wait)
        granted.append(now_ns() - due_ns)
        os.write(told, STAMP.pack(at_ns))
        venue.sendall(b"cancel")
        venue.recv(256)
        answered.append(now_ns() - due_ns)
    return granted, answered


def cancels(runs: int, core: int) -> list[Measurement]:
    """Cancels alone and beside processes that want too much."""
    values: dict[str, list[float]] = {}
    for _ in range(runs):
        for name, count in (("idle", 0), ("saturated", SATURATORS)):
            ledger = make_ledger()
            with ExitStack() as stack:
                listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
                stack.enter_context(forked(lambda at=listener: echo_venue(at), {core}))  # type: ignore[misc]
                venue = stack.enter_context(socket.create_connection(listener.getsockname()))
                venue.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                tell, told = os.pipe()
                stack.callback(os.close, told)
                fcntl.fcntl(told, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
                grants = stack.enter_context(os.fdopen(tell, "rb"))
                stack.enter_context(forked(lambda at=ledger, to=told: want_too_much(at, to), {core}, count))  # type: ignore[misc]
                granted, answered = cancel_times(ledger, venue, told)
                most = most_in_any_window(read_stamps(grants), WINDOW_NS + ledger.rule_views()[0].slack_ns)
            for metric, times in (("granted", granted), ("answered", answered)):
                for percent in (50, 99):
                    key = f"cancel_{metric}_ns_p{percent}_{name}"
                    values.setdefault(key, []).append(float(np.percentile(times, percent)))
            values.setdefault(f"new_refused_percent_{name}", []).append(refused_percent(ledger))
            values.setdefault(f"most_requests_in_a_window_{name}", []).append(most)
    return [Measurement(OURS, metric, unit_of(metric), got) for metric, got in values.items()]


def read_stamps(grants: BufferedReader) -> list[int]:
    """The times of all grants that were told so far."""
    os.set_blocking(grants.fileno(), False)
    data = grants.read(PIPE_BYTES) or b""
    return [stamp for (stamp,) in STAMP.iter_unpack(data)]


def most_in_any_window(stamps: Sequence[int], window_ns: int) -> int:
    """How many requests a window of the venue can hold at most, wherever it begins.

    Args:
        stamps: when each was granted, in ns.
        window_ns: the venue's, and how much later than another a request may arrive there.
    """
    times = np.sort(np.asarray(stamps, dtype=np.int64))
    behind = np.searchsorted(times, times + window_ns, side="left")
    return int((behind - np.arange(len(times))).max(initial=0))


def refused_percent(ledger: RateLedger) -> float:
    """How much of what the lane `new` asked for it did not get."""
    view = ledger.view(0, 0)
    asked = view.granted[RateLane.NEW] + view.refused[RateLane.NEW]
    return 100 * view.refused[RateLane.NEW] / asked if asked else 0.0


def unit_of(metric: str) -> str:
    """Unit of a metric's values."""
    if "requests" in metric:
        return ""
    return "%" if "percent" in metric else "ns"


def bench_rate(runs: int, *, hold_pm_qos: bool = True) -> BenchResult:
    """Measure the rate ledger.

    Args:
        runs: how often each contender of a step is measured.
        hold_pm_qos: keep the cores out of deep idle states meanwhile, if permitted.
    """
    absent: dict[str, str] = {}
    with quiet_core(hold_pm_qos=hold_pm_qos) as core:
        results = [*measured(take_steps(), runs), *contended(runs, core.other)]
        try:
            results += in_valkey(runs, core.other)
        except RuntimeError as error:
            absent[VALKEY] = str(error)
        results += cancels(runs, core.other)
    medians = {r.metric: r.median for r in results if r.name == OURS}
    ratio = medians["cancel_answered_ns_p99_saturated"] / medians["cancel_answered_ns_p99_idle"]
    most = max(one for r in results if r.metric == "most_requests_in_a_window_saturated" for one in r.values)
    goals = [
        Goal("cancel p99 under saturation at most twice the idle one", ratio, 2.0, at_least=False),
        Goal(
            f"requests in any window of the venue, which answers 429 above {LIMIT}",
            most,
            LIMIT,
            at_least=False,
        ),
    ]
    return BenchResult("rate", core.facts, results, NOTES, absent, goals)
