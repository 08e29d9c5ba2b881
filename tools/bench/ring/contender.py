"""What every way of carrying messages offers to the bench, and the handler that all of them end in.

A contender has two halves: `open`, `connect`, `sender`, `send_bulk` and `close` run in the producer's process
and `listen` in the consumer's. What `open` returns is handed to `listen` by multiprocessing's spawn.
"""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
from abc import ABC, abstractmethod
from array import array
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.reduction import DupFd
from typing import Any, ClassVar

import uvloop

from shm.clock import now_ns
from tools.bench.floor import wait_until

MESSAGE_BYTES = 64


@dataclass(frozen=True, slots=True)
class Place:
    """Where one trial happens.

    Args:
        folder: a temporary folder of this trial alone, for sockets.
        instance: a name no other trial has, for segments.
        producer_core: the producer is pinned here, and the threads its transport starts.
        consumer_core: the consumer is pinned here.
        cores: all allowed cores; a server between the two may run on any of them.
    """

    folder: str
    instance: str
    producer_core: int
    consumer_core: int
    cores: tuple[int, ...]


class Sink:
    """The Python handler: `on_message` notes the age of each message, `on_batch` counts whole batches.

    Args:
        expected: messages to come; then `is_done` is set and `on_done` called.
        ready: tells the producer that the consumer listens.
    """

    def __init__(self, expected: int, ready: Callable[[], None]) -> None:
        self.expected = expected
        self.ready = ready
        self.ages_ns = array("q", bytes(8 * expected))
        self.count = 0
        self.is_done = False
        self.end_ns = 0
        self.on_done: Callable[[], object] | None = None
        self.extras: dict[str, float] = {}  # more metrics, filled by a `listen` that has some

    def on_message(self, message: bytes | memoryview) -> None:
        """Note how old the message is, counted from when it was due."""
        now = now_ns()
        count = self.count
        if count < self.expected:
            self.ages_ns[count] = now - int.from_bytes(message[:8], "little")
        self.count = count + 1
        if count + 1 == self.expected:
            self._finish()

    def on_one(self, _message: object) -> None:
        """Count one message of a bulk run."""
        self.count += 1
        if self.count == self.expected:
            self._finish()

    def on_batch(self, batch: Any) -> None:
        """Count a batch of a bulk run: anything with a length."""
        self.count += len(batch)
        if self.count >= self.expected and not self.is_done:
            self._finish()

    def _finish(self) -> None:
        self.end_ns = now_ns()
        self.is_done = True
        if self.on_done is not None:
            self.on_done()


class Contender(ABC):
    """One way to carry 64-byte messages from one process to a Python handler in another."""

    name: ClassVar[str]
    modules: ClassVar[tuple[str, ...]] = ()  # import names it needs besides the base
    bulk_count: ClassVar[int] = 200_000  # messages of a throughput run; 0 = it has none
    fan_out: ClassVar[int] = 1  # handler calls for each message sent
    how: ClassVar[str]  # one line for the reader: which calls of the transport were used

    def __init__(self, place: Place, *, bulk: bool) -> None:
        self.place = place
        self.bulk = bulk

    @classmethod
    def missing(cls) -> list[str]:
        """Modules that are not installed."""
        return [m for m in cls.modules if importlib.util.find_spec(m) is None]

    @abstractmethod
    def open(self) -> Any:
        """Producer: make what both sides share; returns what `listen` needs (picklable by a spawn)."""

    @abstractmethod
    def listen(self, handle: Any, sink: Sink) -> None:
        """Consumer: call `sink.ready()`, then the sink for each message or batch until it is done."""

    def connect(self) -> None:  # noqa: B027 (most have nothing to do here)
        """Producer: called when the consumer is ready."""

    @abstractmethod
    def sender(self) -> Callable[[bytes], object]:
        """Producer: what sends one message at once."""

    def send_paced(self, first_due_ns: int, interval_ns: int, count: int) -> None:
        """Producer: send `count` messages, each when it is due; its first 8 bytes say when that was."""
        send = self.sender()
        pad = bytes(MESSAGE_BYTES - 8)
        due = first_due_ns
        for _ in range(count):
            message = due.to_bytes(8, "little") + pad
            wait_until(due)
            send(message)
            due += interval_ns

    def send_bulk(self, count: int) -> None:
        """Producer: send `count` messages as fast as the consumer allows."""
        send, message = self.sender(), bytes(MESSAGE_BYTES)
        for _ in range(count):
            send(message)

    def extras(self) -> dict[str, float]:
        """Producer: more metrics of this run, asked for before `close`."""
        return {}

    def close(self) -> None:  # noqa: B027
        """Producer: give everything back; the consumer has ended."""


def run_loop(sink: Sink, start: Callable[[asyncio.AbstractEventLoop], object]) -> None:
    """Run a uvloop in the consumer until the sink is done: `start(loop)` hooks the transport up."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        done = asyncio.Event()
        sink.on_done = done.set
        started = start(loop)
        if asyncio.iscoroutine(started):
            await started
        sink.ready()
        await done.wait()

    uvloop.run(main())


def peer(module: str) -> Any:
    """A peer's module, imported when its contender runs: none of them is needed by anything else."""
    return importlib.import_module(module)


class InheritedFd:
    """A descriptor that a spawned child gets under the same number.

    Args:
        fd: open in this process; `detach` gives it back in the child.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def __reduce__(self) -> tuple[Any, ...]:
        return _inherit, (DupFd(self._fd),)

    def detach(self) -> int:
        """The number."""
        return self._fd


def _inherit(duplicate: Any) -> InheritedFd:
    return InheritedFd(duplicate.detach())
