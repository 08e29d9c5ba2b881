"""A supervisor with fake workers in a process of its own; tests talk to it by signals and control socket."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

import orjson
import uvloop

from engine.commands import CommandSpec
from engine.config import load_config
from engine.errors import EngineError
from engine.supervisor import Supervisor
from engine.topology import VenueUrls
from shm.errors import ShmError


def fake_command(name: str, venue: Any, seed: int, urls: VenueUrls | None = None) -> CommandSpec:
    ports = [u.rpartition(":")[2] for u in (urls.websocket_url, urls.rest_url)] if urls else ["0", "0"]
    return CommandSpec(
        f"venue-{name}", (sys.executable, "-P", "-m", "tests.engine.fake_venue", "{ready_fd}", *ports)
    )


def main() -> int:
    config_path, state = Path(sys.argv[1]), Path(sys.argv[2])

    def write(report: dict[str, Any]) -> str:
        (state / "report.json").write_bytes(orjson.dumps(report))
        print("report", flush=True)
        return "there"

    async def run() -> int:
        supervisor = Supervisor(
            load_config(config_path),
            config_path,
            state_root=state,
            report_writer=write,
            options=("--entry", "tests.engine.fake_worker:run_worker"),
            make_command=fake_command,
        )
        try:
            return await supervisor.run(lambda: print(f"up {supervisor.instance.name}", flush=True))
        finally:
            report = supervisor.report or {"events": list(supervisor.events)}
            cores = {"cores": sorted(os.sched_getaffinity(0))}
            print("end " + orjson.dumps(report | cores).decode(), flush=True)

    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(run())
    except (EngineError, ShmError) as error:
        print(f"error {error}", flush=True)
        return 1


if __name__ == "__main__":
    sys.exit(main())
