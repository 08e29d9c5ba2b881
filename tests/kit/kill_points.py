"""Killing a process at each of its system calls in turn: a forked child dies before the chosen one."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Any

#: What changes a file or a folder; `write` and `pwrite` are cut in half first, so torn writes happen too.
CALLS = (
    "write",
    "pwrite",
    "fsync",
    "ftruncate",
    "replace",
    "rename",
    "unlink",
    "posix_fallocate",
    "mkdir",
)


def killed_at(step: int, work: Callable[[], object]) -> bool:
    """Run `work` in a child that is killed at its `step`-th call; False = it finished with fewer calls."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            _arm(step)
            work()
            code = 0
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return True
    assert os.WEXITSTATUS(status) == 0, "the work failed by itself"
    return False


def every_kill(
    work: Callable[[], object], judge: Callable[[int], None], prepare: Callable[[int], None]
) -> int:
    """Kill at every call in turn; returns how many there were.

    Args:
        work: what the child does.
        judge: called in the parent after each kill, with its number.
        prepare: called in the parent before each child, with its number.
    """
    step = 1
    while True:
        prepare(step)
        if not killed_at(step, work):
            return step - 1
        judge(step)
        step += 1


def _arm(step: int) -> None:
    count = 0

    def wrap(name: str) -> None:
        real: Any = getattr(os, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            nonlocal count
            count += 1
            if count == step:
                if name in ("write", "pwrite"):
                    fd, data, *rest = args
                    real(fd, bytes(data)[: len(data) // 2], *rest)
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*args, **kwargs)

        setattr(os, name, call)

    for name in CALLS:
        wrap(name)
