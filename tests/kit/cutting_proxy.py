"""A TCP proxy in front of a venue that cuts connections, one after the other."""

from __future__ import annotations

import asyncio
import threading
from types import TracebackType


class CuttingProxy:
    """Forwards bytes between clients and a server; `cut_oldest` ends the connection that stands longest.

    Args:
        port: of the server on loopback.
    """

    def __init__(self, port: int) -> None:
        self._to = port
        self.port = 0
        self.cuts = 0
        self.accepted = 0
        self._open: list[asyncio.StreamWriter] = []
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> CuttingProxy:
        self._thread.start()
        assert self._ready.wait(120)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(120)

    def _run(self) -> None:
        server = self._loop.run_until_complete(asyncio.start_server(self._serve, "127.0.0.1", 0))
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        self._loop.run_forever()
        server.close()
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        self._loop.run_until_complete(asyncio.sleep(0))
        self._loop.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self._to)
        self._open.append(writer)
        self.accepted += 1
        try:
            await asyncio.gather(_pump(reader, up_writer), _pump(up_reader, writer))
        except (ConnectionError, OSError):
            pass  # cut
        finally:
            if writer in self._open:
                self._open.remove(writer)
            for one in (writer, up_writer):
                one.close()

    @property
    def connections(self) -> int:
        """How many stand now."""
        return len(self._open)

    def cut_oldest(self) -> None:
        """Cut the connection that stands longest, without a word."""
        self._loop.call_soon_threadsafe(self._cut)

    def _cut(self) -> None:
        if self._open:
            self.cuts += 1
            self._open.pop(0).transport.abort()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()
