"""One of the feed processes that `ringlane bench scale` sets side by side, each on a core of its own.

Run as a module: `python -P -m tools.bench.scale_worker VENUE CORE SECONDS`. It warms up, prints a line, waits
for one, and then takes synthetic messages from memory for so long; it prints one JSON object.
"""

from __future__ import annotations

import os
import sys
import time
from typing import Any

import orjson

from feeds.venues import get_adapter
from tools.bench.decode.frames import synthetic
from tools.bench.feed import SessionRig

MESSAGES = 10_000
INSTRUMENTS = 4


def take_for(venue: str, seconds: float) -> dict[str, Any]:
    """Take messages for so long, in passes over the same ones; says how many in what time."""
    work = synthetic(get_adapter(venue), MESSAGES, INSTRUMENTS)
    SessionRig(work).take_all()
    print("ready", flush=True)
    sys.stdin.readline()
    end = time.perf_counter() + seconds
    messages, spent = 0, 0.0
    while time.perf_counter() < end:
        spent += SessionRig(work).take_all()
        messages += len(work.frames)
    return {"messages": messages, "seconds": spent}


def main(arguments: list[str]) -> None:
    """Measure and print."""
    os.sched_setaffinity(0, {int(arguments[1])})
    print(orjson.dumps(take_for(arguments[0], float(arguments[2]))).decode())


if __name__ == "__main__":
    main(sys.argv[1:])
