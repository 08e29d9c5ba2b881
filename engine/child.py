"""The only entry of a child process: what happens in it before its work begins.

`python -P -m engine.child --spec-fd N` becomes a worker. `python -P -m engine.child --exec PARENT
[--nice N] -- ARGV…` becomes a command that dies with its parent. Only the supervisor interprets signals, so
a worker ignores them. A process without a core of its own stays on the cores it inherits.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import importlib
import os
import signal
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from engine.machine import NOT_ASKED, Limits, held, lock_memory, not_held, take_realtime
from engine.placement import be_nice

if TYPE_CHECKING:
    from actors.runtime.spec import WorkerSpec

DEFAULT_ENTRY = "actors.runtime.worker:run_worker"
#: Roles that are no workers of the runtime: what their processes run instead.
ENTRIES = {"sentinel": "engine.sentinel:run_sentinel"}
#: What a library imports only for a command line of its own, and does without if it can not be imported.
NOT_NEEDED = ("httpx._main",)
IGNORED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)

# Numbers of <sys/prctl.h>.
PR_SET_PDEATHSIG = 1
PR_SET_NAME = 15
PR_SET_TIMERSLACK = 29


def _prctl(option: int, value: object) -> bool:
    libc = ctypes.CDLL(None, use_errno=True)
    return int(libc.prctl(option, value, 0, 0, 0)) == 0


def exec_command(parent: int, argv: Sequence[str], nice: int = 0) -> int:
    """Replace this process by a command that is killed when its parent ends.

    Args:
        parent: pid that must be the parent now; a different one means it has already died.
        argv: program and arguments.
        nice: how nice it is at least, 0 = as we are.

    Returns:
        An exit code, only if the program could not be started.
    """
    _prctl(PR_SET_PDEATHSIG, ctypes.c_ulong(signal.SIGKILL))
    # The parent may have died before the request above was in force.
    if os.getppid() != parent:
        return 1
    if nice:
        be_nice(nice)
    for number in IGNORED:
        signal.signal(number, signal.SIG_DFL)
    try:
        os.execvp(argv[0], list(argv))  # noqa: S606
    except OSError as error:
        print(f"{argv[0]}: {error.strerror}", file=sys.stderr)  # noqa: T201
    return 127


def read_spec(fd: int) -> WorkerSpec:
    """Read the worker spec from an inherited descriptor and close it.

    Raises:
        SpecError: what is there is not a spec.
    """
    from actors.runtime.spec import WorkerSpec

    with os.fdopen(fd, "rb") as file:
        return WorkerSpec.from_json(file.read())


def prepare(spec: WorkerSpec) -> dict[str, str]:
    """Name, priority, core, timer slack and memory of a worker process; returns what it got, by fact.

    A core or priority that is refused is reported and borne: the supervisor has checked what it may use, so
    this is a change of the machine while the engine runs.
    """
    _prctl(PR_SET_NAME, ctypes.c_char_p(f"rl:{spec.name}"[:15].encode()))
    slack = _prctl(PR_SET_TIMERSLACK, ctypes.c_ulong(1))
    facts = {"timer_slack": held("1 ns") if slack else not_held("prctl refused")}
    try:
        if spec.nice:
            be_nice(spec.nice)
        if spec.core is not None:
            os.sched_setaffinity(0, {spec.core})
    except OSError as error:
        print(f"{spec.name}: core {spec.core}, nice {spec.nice}: {error}", file=sys.stderr)  # noqa: T201
        facts["core"] = not_held(f"core {spec.core}: {error.strerror}")
    machine = spec.machine
    facts["memory_locked"] = (
        lock_memory(Limits.read(), machine.heap_mib) if machine.lock_memory else NOT_ASKED
    )
    if machine.realtime:
        facts["realtime"] = take_realtime(machine.realtime)
    return facts


def load_entry(name: str) -> Callable[..., int | None]:
    """The function `module:function` that runs a worker.

    Raises:
        ImportError, AttributeError: there is no such function.
    """
    module, _, function = name.partition(":")
    entry: Callable[..., int | None] = getattr(importlib.import_module(module), function)
    return entry


def run_child(spec_fd: int, entry_name: str) -> int:
    """Become the worker that the spec describes; returns its exit code.

    An exception is left to the interpreter: traceback on standard error, which is the worker's log, and
        code 1.
    """
    for number in IGNORED:
        signal.signal(number, signal.SIG_IGN)
    spec = read_spec(spec_fd)
    if not spec.is_standby:
        spec.machine.facts = prepare(spec)
    for module in NOT_NEEDED:
        sys.modules.setdefault(module, None)  # type: ignore[arg-type]  # None = it can not be imported
    entry = load_entry(ENTRIES.get(spec.role, entry_name))
    from shm.segment import NamedSegments, RunName

    segments = NamedSegments(RunName(spec.instance, spec.epoch), huge_pages=spec.machine.huge_pages)
    more = {}
    if spec.is_standby:
        from actors.runtime.standby import stand_by

        _prctl(PR_SET_NAME, ctypes.c_char_p(f"rl+{spec.name}"[:15].encode()))
        promoted = stand_by(spec, segments, prepare)
        if promoted is None:
            return 0
        spec, followed = promoted
        if followed is not None:
            more["followed"] = followed
    # What is alive after the imports lives until the end: the collector need not look at it again.
    gc.collect()
    gc.freeze()
    return entry(spec, segments, **more) or 0


def main(argv: Sequence[str] | None = None) -> int:
    """Parse the command line of a child and become it."""
    parser = argparse.ArgumentParser(prog="engine.child", description=__doc__)
    parser.add_argument("--spec-fd", type=int, default=-1)
    parser.add_argument("--entry", default=DEFAULT_ENTRY)
    parser.add_argument("--exec", type=int, default=0, metavar="PARENT")
    parser.add_argument("--nice", type=int, default=0)
    parser.add_argument("command", nargs="*")
    options = parser.parse_args(argv)
    if options.exec:
        return exec_command(options.exec, options.command, options.nice)
    if options.spec_fd < 0:
        parser.error("either --spec-fd or --exec is needed")
    return run_child(options.spec_fd, options.entry)


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    sys.exit(code)
