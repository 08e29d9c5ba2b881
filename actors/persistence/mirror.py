"""The newest tops of books, positions and status in Redis or Valkey, for whoever looks from outside.

A mirror is never read by the engine. A server that is gone costs nothing: what it missed is not the newest
any more, so that catching up is one whole write.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any, ClassVar

import orjson

from actors.errors import ActorError, SettingsError
from actors.feed_ports import raise_error
from actors.persistence.places import read_address
from actors.persistence.pools import mirror_connections_for, queue_size_for
from actors.persistence.store import StoreError
from actors.runtime.actor import Actor
from actors.runtime.context import Context
from actors.runtime.settings import read_settings
from feeds.venues import venue_name
from shm.enums import BookState
from shm.instruments import Instrument
from shm.units import format_units

FAULT_MIRROR = 3301
RETRY_FIRST_S, RETRY_MAX_S = 0.2, 5.0
# Books read between two looks at the loop: some 20 µs each.
BOOKS_PER_STEP = 25
_S = 1_000_000_000
TELL_EVERY_NS = _S


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One value to mirror.

    Args:
        key: behind the prefix of the instance, for example `book:VENUE:SYMBOL`.
        value: of plain data.
        version: rises when the value changes; an unchanged one is only kept from expiring.
    """

    key: str
    value: Mapping[str, Any]
    version: int


class Mirror:
    """Writes snapshots as JSON under keys that expire, in pipelines over one shared pool.

    Args:
        url: redis://, rediss:// or unix:// address; never shown.
        instance: name of the instance, part of each key.
        pairs: traded pairs: they size the pool, and the pipelines.
        expiry_s: how long a value outlives its writer.
        timeout_s: of one pipeline and of connecting.

    Raises:
        ActorError: the driver is not installed, or the address is none.
    """

    def __init__(
        self, url: str, instance: str, *, pairs: int = 1, expiry_s: int = 10, timeout_s: float = 1.0
    ) -> None:
        try:
            import redis.asyncio as driver
            from redis.exceptions import RedisError
        except ImportError as error:
            text = f"mirror: {error.name} is not installed: pip install 'ringlane[store]'"
            raise ActorError(text) from None
        self._lost: tuple[type[BaseException], ...] = (RedisError, OSError, TimeoutError)
        self.connections = mirror_connections_for(pairs)
        try:
            pool: Any = driver.BlockingConnectionPool.from_url(
                url,
                max_connections=self.connections,
                timeout=timeout_s,
                socket_timeout=timeout_s,
                socket_connect_timeout=timeout_s,
            )
        except ValueError:
            raise ActorError("mirror: the address is no redis://, rediss:// or unix:// address") from None
        self.client: Any = driver.Redis(connection_pool=pool)
        self.prefix = f"ringlane:{instance}:"
        self.expiry_s = expiry_s
        self.queue_size = queue_size_for(pairs)
        self.written = 0
        self._sent: dict[str, tuple[int, int]] = {}  # key: version, when
        self._asked: dict[str, list[asyncio.Future[Any]]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def write(self, snapshots: Iterable[Snapshot], now_ns: int) -> int:
        """Write what changed and what would expire soon; returns how many keys.

        Raises:
            StoreError: the server is gone, too slow or refuses; the next call writes everything.
        """
        fresh_ns = self.expiry_s * _S // 2
        due = []
        for snapshot in snapshots:
            version, at_ns = self._sent.get(snapshot.key, (-1, 0))
            if version != snapshot.version or now_ns - at_ns >= fresh_ns:
                due.append(snapshot)
        for start in range(0, len(due), self.queue_size):
            part = due[start : start + self.queue_size]
            try:
                async with self.client.pipeline(transaction=False) as pipe:
                    for snapshot in part:
                        pipe.set(self.prefix + snapshot.key, orjson.dumps(snapshot.value), ex=self.expiry_s)
                    await pipe.execute()
            except self._lost as error:
                self._sent.clear()
                raise StoreError(f"mirror: {type(error).__name__}: {error}") from None
            self._sent |= {snapshot.key: (snapshot.version, now_ns) for snapshot in part}
        self.written += len(due)
        return len(due)

    async def read(self, key: str) -> Any:
        """The value under a key, None if there is none (any more); for tools, never the engine.

        Whoever asks in the same turn of the loop shares one command, and one value: do not change it.

        Raises:
            StoreError: the server is gone, too slow or refuses.
        """
        loop = asyncio.get_running_loop()
        if not self._asked:
            loop.call_soon(self._ask)
        answer = loop.create_future()
        self._asked.setdefault(key, []).append(answer)
        return await answer

    def _ask(self) -> None:
        asked, self._asked = self._asked, {}
        task = asyncio.ensure_future(self._answer(asked))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer(self, asked: dict[str, list[asyncio.Future[Any]]]) -> None:
        try:
            found = await self.client.mget([self.prefix + key for key in asked])
            for answers, text in zip(asked.values(), found, strict=True):
                value = None if text is None else orjson.loads(text)
                for answer in answers:
                    if not answer.done():  # who gave up is not waited for
                        answer.set_result(value)
        except self._lost as error:
            for answer in chain.from_iterable(asked.values()):
                if not answer.done():
                    answer.set_exception(StoreError(f"mirror: {type(error).__name__}: {error}"))
        finally:
            for answer in chain.from_iterable(asked.values()):
                answer.cancel()  # whatever happened, nobody waits for ever; done ones stay as they are

    async def close(self) -> None:
        """Close all connections."""
        try:
            await self.client.aclose()
        except self._lost:
            pass
        await self.client.connection_pool.disconnect(inuse_connections=True)


@dataclass(frozen=True, slots=True)
class MirrorSettings:
    """Settings of the role `mirror`.

    Args:
        url_env: environment variable with the address of the server.
        url_file: file with that address, instead.
        pairs: traded pairs; they size the pool.
        interval_s: between two writes.
        expiry_s: how long a value outlives the engine.
    """

    url_env: str = ""
    url_file: str = ""
    pairs: int = 1
    interval_s: float = 0.5
    expiry_s: int = 10

    def __post_init__(self) -> None:
        if bool(self.url_env) == bool(self.url_file):
            raise SettingsError("mirror: needs either url_env or url_file")
        if self.interval_s <= 0 or self.expiry_s < 1:
            raise SettingsError("mirror: interval_s must be positive, expiry_s at least 1")


class MirrorActor(Actor):
    """Mirrors this run; lives on the housekeeping worker, and nobody waits for it."""

    role: ClassVar[str] = "mirror"

    def __init__(self, context: Context, settings: Mapping[str, Any]) -> None:
        super().__init__(context, settings)
        self.config = read_settings(MirrorSettings, settings, self.role)
        self._mirror: Mirror | None = None
        self._is_stopping = False
        self._is_running = False
        self._told = ""
        self._tell_ns = 0
        self._keys = context.counter("mirror.keys")
        self._failures = context.counter("mirror.failures")
        self._write_ns = context.histogram("mirror.write_ns")

    @classmethod
    def check_settings(cls, settings: Mapping[str, Any]) -> None:
        """Raise SettingsError for what MirrorSettings does not allow."""
        read_settings(MirrorSettings, settings, cls.role)

    def on_start(self, *_: Any) -> None:
        """Begin; a server that is not there yet delays nobody.

        Raises:
            ActorError: the driver or the address is missing.
        """
        config = self.config
        url = read_address(self.role, config.url_env, config.url_file)
        self._mirror = Mirror(
            url, self.context.host.spec.instance, pairs=config.pairs, expiry_s=config.expiry_s
        )
        self._is_running = True
        self.context.host.scheduler.spawn(self._run(), self._ended, self._broken)

    def _ended(self) -> None:
        self._is_running = False

    def _broken(self, error: Exception) -> None:
        self._is_running = False
        self.context.host.guard(self.context.actor_id, "mirror", raise_error, error)

    async def _run(self) -> None:
        assert self._mirror is not None
        jitter = random.Random(self.context.actor_id)  # noqa: S311  # spreads retries, decides nothing
        retry_s = RETRY_FIRST_S
        while not self._is_stopping:
            start = self.context.now_ns()
            try:
                snapshots = await self._snapshots()
                self._keys.inc(await self._mirror.write(snapshots, self.context.now_ns()))
                self._write_ns.record(self.context.now_ns() - start)
                pause_s, retry_s, self._told = self.config.interval_s, RETRY_FIRST_S, ""
            except StoreError as error:
                self._failures.inc(1)
                if str(error) != self._told:
                    self._told = str(error)
                    self.context.host.metrics.fault(FAULT_MIRROR, self._told, self.context.utc_ns())
                pause_s = retry_s * (0.5 + jitter.random())
                retry_s = min(RETRY_MAX_S, retry_s * 2)
            self._tell()
            await self.context.sleep(int(pause_s * _S))

    def _tell(self) -> None:
        """Say for status and report how mirroring goes, once a second at most."""
        if self._mirror is None or self.context.now_ns() < self._tell_ns:
            return
        self._tell_ns = self.context.now_ns() + TELL_EVERY_NS
        self.context.note(
            "mirror",
            {
                "connections_max": self._mirror.connections,
                "keys_written": self._keys.value,
                "failures": self._failures.value,
                "error": self._told,
            },
        )

    async def _snapshots(self) -> list[Snapshot]:
        host = self.context.host
        found: list[Snapshot] = []
        states = dict.fromkeys((state.name for state in BookState), 0)
        for number, row in enumerate(list(host.instruments)):
            if number % BOOKS_PER_STEP == BOOKS_PER_STEP - 1:
                await self.context.sleep(0)
            book = host.slab_of(row.instrument_id).load(row.instrument_id)
            if book is not None:
                states[BookState(book.certificate.state).name] += 1
                found.append(book_snapshot(row, book))
            for gateway in host.spec.gateways:
                position = host.positions(gateway).load(row.instrument_id)
                if position is not None and position.update_ns:
                    found.append(position_snapshot(row, position))
        status = {
            "instance": host.spec.instance,
            "epoch": host.spec.epoch,
            "utc_ns": host.utc_ns(),
            "books": states,
            "trading": host.control.halt_state()[0].name,
        }
        found.append(Snapshot("status", status, host.utc_ns()))
        return found

    async def on_stop(self) -> None:
        """End the writing; the keys expire by themselves."""
        self._is_stopping = True
        deadline = self.context.now_ns() + _S
        while self._is_running and self.context.now_ns() < deadline:
            await self.context.sleep(1_000_000)
        if self._mirror is not None:
            self._tell_ns = 0
            self._tell()
            await self._mirror.close()


def _place(row: Instrument) -> str:
    return f"{venue_name(row.venue_id)}:{row.symbol}"


def book_snapshot(row: Instrument, book: Any) -> Snapshot:
    """The top of a book with its state."""
    certificate = book.certificate
    value: dict[str, Any] = {
        "canonical": row.canonical,
        "state": BookState(certificate.state).name,
        "sequence": certificate.last_sequence,
        "venue_utc_ns": certificate.venue_utc_ns,
    }
    for side, levels in (("bid", book.bids), ("ask", book.asks)):
        if levels:
            value[side] = format_units(levels[0][0], row.price_exponent)
            value[f"{side}_quantity"] = format_units(levels[0][1], row.quantity_exponent)
    # A state may change without an update of the book.
    return Snapshot(f"book:{_place(row)}", value, certificate.publish_ns * 8 + certificate.state)


def position_snapshot(row: Instrument, position: Any) -> Snapshot:
    """A position of the account."""
    value = {
        "canonical": row.canonical,
        "quantity": format_units(position.quantity_units, row.quantity_exponent),
        "realized": format_units(position.realized_units, 8),
        "unrealized": format_units(position.unrealized_units, 8),
        "fees": format_units(position.fees_units, 8),
        "settle": row.settle,
        "fills": position.fills,
    }
    return Snapshot(f"position:{_place(row)}", value, position.update_ns)
