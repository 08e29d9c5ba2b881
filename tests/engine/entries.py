"""Worker entries that tests give to `engine.child` in place of the real one."""

from __future__ import annotations

import os
import signal
import socket
import sys
from typing import Any

import orjson

from actors.runtime.spec import WorkerSpec


def echo(spec: WorkerSpec, _segments: Any) -> int:
    """Say the spec back, ring the bell whose number is in `seed`, end on the first line with code 5.

    It says too whether a worker goes without what only others, or only command lines, need to import.
    """
    link = socket.socket(fileno=spec.link_fd)
    os.eventfd_write(spec.seed, 7)
    ignored = all(
        signal.getsignal(n) == signal.SIG_IGN
        for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
    )
    import httpx  # noqa: F401

    import actors.runtime.worker  # noqa: F401

    is_lean = sys.modules.keys().isdisjoint({"rich", "click", "exec.checkpoint", "pyarrow"})
    said = {"op": "echo", "name": spec.name, "ignored": ignored, "is_lean": is_lean}
    link.sendall(orjson.dumps(said) + b"\n")
    link.recv(100)
    return 5
