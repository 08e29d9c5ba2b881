"""A venue that serves nothing: says that it is up and waits; on the ports given, or 7001, 7002."""

from __future__ import annotations

import os
import signal
import sys

import orjson

ready_fd, port, rest_port = (int(a) for a in sys.argv[1:4])
line = {
    "ready": True,
    "ws": f"ws://127.0.0.1:{port or 7001}",
    "rest": f"http://127.0.0.1:{rest_port or 7002}",
    "ca": None,
    "symbols": ["AAA", "BBB", "CCC"],
}
print("venue log line", flush=True)
os.write(ready_fd, orjson.dumps(line) + b"\n")
os.close(ready_fd)
signal.sigwait({signal.SIGTERM})
