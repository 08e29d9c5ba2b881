"""All contenders by name, in the order of the table."""

from __future__ import annotations

from tools.bench.ring.books import RedisBooks, SharedBooks
from tools.bench.ring.contender import Contender
from tools.bench.ring.floors import FloorC, FloorUvloop
from tools.bench.ring.kernel import MultiprocessingPipe, MultiprocessingQueue, UnixDatagram
from tools.bench.ring.own import Ringlane
from tools.bench.ring.peers import FasterFifo, Iceoryx2, ZmqBlocking, ZmqLoop
from tools.bench.ring.redis_ways import RedisPubSub, RedisStreams

BASE: tuple[type[Contender], ...] = (Ringlane, FloorUvloop, FloorC, UnixDatagram)
PEERS: tuple[type[Contender], ...] = (
    ZmqLoop,
    ZmqBlocking,
    FasterFifo,
    Iceoryx2,
    MultiprocessingQueue,
    MultiprocessingPipe,
    RedisPubSub,
    RedisStreams,
)
SHARING: tuple[type[Contender], ...] = (SharedBooks, RedisBooks)


def find_contender(name: str) -> type[Contender]:
    """The contender of that name; KeyError if there is none."""
    for kind in (*BASE, *PEERS, *SHARING):
        if kind.name == name:
            return kind
    raise KeyError(name)
