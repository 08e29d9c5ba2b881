"""A worker without actors that keeps the contract of link, slot and bells; tests start it by `--entry`.

What it does wrong is told by settings of its first actor (`fake`): "die" (exit before ready), "mute" (never
ready), "crash" (dies soon after it is ready), "deaf" (ignores stop), "refuse" (refuses generations).
"""

from __future__ import annotations

import asyncio
import os
import time
from typing import Any

import orjson
import uvloop

from actors.runtime.spec import WorkerSpec, control_name
from shm.control import Control
from shm.enums import SegmentKind


class FakeWorker:
    def __init__(self, spec: WorkerSpec, segments: Any) -> None:
        self.spec = spec
        self.segment = segments.open(control_name(), SegmentKind.CONTROL)
        self.slot = Control.attach(self.segment.payload).slot(spec.slot)
        self.loop = asyncio.get_running_loop()
        self.done: asyncio.Future[int] = self.loop.create_future()
        self.received = b""
        fake = [a.settings.get("fake") for a in spec.actors if a.settings.get("fake")]
        self.fake = fake[0] if fake else ""

    def send(self, message: dict[str, Any]) -> None:
        os.write(self.spec.link_fd, orjson.dumps(message) + b"\n")

    def beat(self) -> None:
        self.slot.heartbeat_ns = time.monotonic_ns()
        self.loop.call_later(self.spec.heartbeat_ns / 1e9, self.beat)

    def readable(self) -> None:
        data = os.read(self.spec.link_fd, 65_536)
        if not data:
            self.gone()
            return
        *lines, self.received = (self.received + data).split(b"\n")
        for line in lines:
            self.on_message(orjson.loads(line))

    def on_message(self, message: dict[str, Any]) -> None:
        if message["op"] == "generation":
            if self.fake == "refuse":
                self.send({"op": "generation", "number": message["number"], "error": "can not"})
                return
            self.slot.generation = message["number"]
            self.send({"op": "event", "text": f"settings {orjson.dumps(message['actors']).decode()}"})
        elif message["op"] == "stop" and self.fake != "deaf":
            self.send({"op": "event", "text": f"phase {message['phase']}"})
            self.send({"op": "stopped", "phase": message["phase"]})
            if message["phase"] == "exit":
                self.end(0)

    def gone(self) -> None:
        self.loop.remove_reader(self.spec.supervisor_pidfd)
        self.loop.remove_reader(self.spec.link_fd)
        self.end(3)

    def end(self, code: int) -> None:
        if not self.done.done():
            self.done.set_result(code)

    async def run(self) -> int:
        self.beat()
        if self.fake == "die":
            raise RuntimeError("can not start on purpose")
        self.loop.add_reader(self.spec.link_fd, self.readable)
        self.loop.add_reader(self.spec.supervisor_pidfd, self.gone)
        self.slot.generation = self.spec.generation
        if self.fake != "mute":
            self.send({"op": "event", "text": f"{self.spec.start_reason} of {self.spec.incarnation}"})
            self.send({"op": "ready"})
        if self.fake == "crash":
            self.loop.call_later(2 * self.spec.heartbeat_ns / 1e9, os._exit, 9)
        return await self.done


def run_worker(spec: WorkerSpec, segments: Any) -> int:
    async def main() -> int:
        return await FakeWorker(spec, segments).run()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main())
