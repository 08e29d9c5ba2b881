"""A venue account by connections of its own, for who acts beside a gateway: requests out, words back."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

import httpx

from actors.venue_account import VenueAccount
from exec.errors import DecodeError, OrderError
from exec.order import Order
from exec.order_protocol import (
    Action,
    Answer,
    Channel,
    ControlWord,
    Directory,
    Lane,
    OpenOrderWord,
    OrderProtocol,
    PositionWord,
    Request,
    RequestKind,
    Sign,
    Way,
    Word,
)
from exec.rate_limits import AccountRates
from exec.venues import make_protocol
from feeds.transport.rates import LedgerBudget
from feeds.transport.reconnect import ConnectGate, ReconnectPolicy
from feeds.transport.tls import client_context
from feeds.transport.websocket import CallbackListener, FeedConnection
from shm.clock import now_ns, utc_ns
from shm.enums import RateLane

NO_ANSWER = 0
PAGES_MAX: Final = 100
REQUEST_S: Final = 2.0
#: What the venue has not granted by then is sent all the same: it is a cancel, or what cancels depend on.
PATIENCE_NS: Final = 2_000_000_000
KEEP_S: Final = 300.0
SOCKET_S: Final = 2.0
SOCKET_LOOK_S: Final = 0.002
POLICY = ReconnectPolicy(initial_ns=50_000_000, maximum_ns=1_000_000_000, stable_ns=1_000_000_000)
#: Requests that open a private stream, which nobody here needs.
NOT_OURS = frozenset((RequestKind.LISTEN_KEY, RequestKind.LISTEN_KEY_KEEP))


class VenueClient:
    """One account.

    Args:
        account: address and keys.
        rest_url: base address of REST requests, "" = the venue's own.
        tag: of the instance.
        directory: the instruments.
        rates: lanes of the shared rate ledger, None = there is none.
        timeout_s: of one request.

    Raises:
        KeysError: a key is missing or does not fit.
    """

    def __init__(
        self,
        account: VenueAccount,
        rest_url: str,
        *,
        tag: str,
        directory: Directory,
        rates: AccountRates | None = None,
        timeout_s: float = REQUEST_S,
    ) -> None:
        self.name = account.name
        self.account = account
        self.directory = directory
        self._keys = account.read_keys()
        self._tag = tag
        self.protocol = self._make(account.symbols)
        self._by_symbols: dict[frozenset[str], OrderProtocol] = {}
        self._rates = rates
        self._next_id = 1
        self.offset_ns = 0
        self.error = ""
        self.requests = self.failures = 0
        self.is_unreachable = False  # nobody listens at the address
        base = rest_url or self.protocol.rest_url
        tls = client_context(account.ca_file) if base.startswith("https") else None
        # trust_env off: a proxy variable must not move trading traffic.
        self._http = httpx.AsyncClient(
            base_url=base,
            verify=tls or True,
            timeout=timeout_s,
            trust_env=False,
            follow_redirects=False,
            limits=httpx.Limits(max_connections=16, keepalive_expiry=KEEP_S),
        )

    def _make(self, symbols: Sequence[str]) -> OrderProtocol:
        account = self.account
        return make_protocol(
            account.protocol,
            self._keys,
            self._tag,
            self.directory,
            order_url=account.order_url,
            private_url=account.private_url,
            symbols=symbols,
            **account.options,
        )

    def take_id(self, count: int = 1) -> int:
        """Request ids: the first of `count` that follow each other."""
        first = self._next_id
        self._next_id += count
        return first

    def utc_ns(self) -> int:
        """Our wall clock, corrected by the venue's."""
        return utc_ns() + self.offset_ns

    def gate(self) -> ConnectGate | None:
        """What holds connection attempts within the address's limit, shared with the whole run."""
        if self._rates is None or "connects" not in self.account.rates:
            return None
        budget = LedgerBudget(self._rates.ledger, self._rates.bucket("connects"), RateLane.CANCEL)
        return ConnectGate(1.0, 1, budget=budget, on_tripped=budget.on_refused)

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    # ---- requests -------------------------------------------------------------------------------

    async def ask(self, request: Request, lane: Lane | None = None) -> list[Word]:
        """Send one REST request and return the venue's words; never raises for what the venue does.

        Args:
            request: made by the protocol.
            lane: whose budget it takes, None = as the protocol says.
        """
        await self._wait_rates(request, request.lane if lane is None else lane)
        self.requests += 1
        sent_ns = now_ns()
        status, headers, body = await self._send(request)
        try:
            words = self.protocol.decode_rest(request, status, headers, body)
        except DecodeError as error:
            words = [Answer(request.request_id, False, action=Action.ASK, text=str(error))]
        for word in words:
            if isinstance(word, ControlWord) and self._rates is not None:
                for purpose, used in word.values.items():
                    self._rates.on_used(purpose, used, sent_ns, now_ns())
                for purpose, stated in word.limits.items():
                    self._rates.on_limit(purpose, stated, now_ns())
            elif isinstance(word, Answer) and not word.is_ok and word.action is not Action.DONE:
                self._refused(request, word)
        return words

    async def _wait_rates(self, request: Request, lane: Lane) -> None:
        if self._rates is None or not request.rates:
            return
        give_up = now_ns() + PATIENCE_NS
        while True:
            wait = self._rates.take(request.rates, int(lane), request.instrument_id, now_ns())
            if wait <= 0:
                return
            if now_ns() + wait > give_up:
                # Until the venue's own time it refuses everything, and asking on makes a ban longer.
                if self._rates.is_stopped(request.rates, int(lane), request.instrument_id, now_ns()):
                    await asyncio.sleep(min(wait, PATIENCE_NS) / 1e9)
                return
            await asyncio.sleep(wait / 1e9)

    async def _send(self, request: Request) -> tuple[int, dict[str, str], bytes]:
        # httpx would encode the path anew, and the signature is of these very bytes.
        url = self._http.base_url.copy_with(raw_path=request.path.encode("ascii"))
        try:
            reply = await self._http.request(
                request.method, url, headers=dict(request.headers), content=request.body or None
            )
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            # The path holds the signature and stays out of the text.
            self.failures += 1
            self.is_unreachable = isinstance(error, httpx.ConnectError)
            self.error = f"{request.kind.name}: {type(error).__name__}"
            return NO_ANSWER, {}, b""
        self.is_unreachable = False
        headers = {name.lower(): value for name, value in reply.headers.items()}
        return reply.status_code, headers, reply.content

    def _refused(self, request: Request, answer: Answer) -> None:
        self.failures += 1
        if answer.text or answer.code:
            self.error = f"{request.kind.name}: {answer.code} {answer.text}".strip()
        if answer.action is Action.WAIT and self._rates is not None:
            until_ns = now_ns() + max(answer.wait_ns, 1_000_000_000)
            self._rates.on_refused(answer.code, request.rates, request.instrument_id, until_ns)

    async def ask_all(self, requests: Iterable[Request], lane: Lane | None = None) -> list[list[Word]]:
        """Send requests at once; their words in the same order."""
        return list(await asyncio.gather(*(self.ask(request, lane) for request in requests)))

    async def snapshot(self, kind: RequestKind) -> list[Any] | None:
        """All rows of a list, page by page; None when the venue did not give it whole (`error` says why)."""
        rows: list[Any] = []
        requests = list(self._listed(kind, ""))
        for _ in range(PAGES_MAX):
            if not requests:
                return rows
            answers = await self.ask_all(requests, Lane.CANCEL)
            requests = []
            for words in answers:
                if not any(isinstance(w, ControlWord) and w.sign in _ENDS for w in words):
                    return None
                rows += [w for w in words if isinstance(w, OpenOrderWord | PositionWord)]
                for word in words:
                    if isinstance(word, ControlWord) and word.sign is Sign.MORE:
                        requests += self._listed(kind, word.text)
        self.error = f"{kind.name}: more than {PAGES_MAX} pages"
        return None

    def _listed(self, kind: RequestKind, cursor: str) -> list[Request]:
        made = list(self.protocol.snapshot(kind, self._next_id, self.utc_ns(), cursor=cursor))
        self.take_id(len(made))
        return made

    async def open_orders(self) -> list[OpenOrderWord] | None:
        """What rests, whoever placed it."""
        return await self.snapshot(RequestKind.OPEN_ORDERS)

    async def positions(self) -> list[PositionWord] | None:
        """What is held."""
        return await self.snapshot(RequestKind.POSITIONS)

    async def sync_time(self) -> bool:
        """Measure the venue's clock; returns whether it answered."""
        before = utc_ns()
        for word in await self.ask(self.protocol.server_time(self.take_id())):
            if isinstance(word, ControlWord) and word.sign is Sign.SERVER_TIME:
                after = utc_ns()
                self.offset_ns = word.venue_utc_ns - (before + after) // 2
                return True
        return False

    def _timers(self, timeout_s: float, symbols: Iterable[str]) -> list[Request]:
        wanted = frozenset(symbols)
        protocol = self._by_symbols.get(wanted)
        if protocol is None:
            self._by_symbols.clear()
            protocol = self._by_symbols[wanted] = self._make(sorted(wanted))
        return list(protocol.dead_man(timeout_s, self._next_id, self.utc_ns()))

    def dead_man_s(self, symbols: Iterable[str]) -> float:
        """How long what it costs to set these timers once takes to flow off again, in seconds."""
        if self._rates is None:
            return 0.0
        costs = [cost for request in self._timers(1.0, symbols) for cost in request.rates]
        return self._rates.lasting_ns(costs, now_ns()) / 1e9

    async def dead_man(self, timeout_s: float, symbols: Iterable[str]) -> bool:
        """Arm (with 0: disarm) the venue's timer, where it has one per symbol for these; returns success."""
        requests = self._timers(timeout_s, symbols)
        self.take_id(len(requests))
        answers = await self.ask_all(requests)
        return all(not _is_refused(words) for words in answers)

    # ---- orders ---------------------------------------------------------------------------------

    async def prepare_orders(self) -> None:
        """Ask what orders of this venue need to be made (instrument codes)."""
        made = list(self.protocol.opening_requests(self._next_id, self.utc_ns()))
        self.take_id(len(made))
        await self.ask_all(request for request in made if request.kind not in NOT_OURS)

    async def place(self, orders: Sequence[Order]) -> bool:
        """Send orders one by one over an order socket of our own, and wait for its answers.

        Returns:
            Whether every order was answered; whether it was filled, positions tell.
        """
        await self.prepare_orders()
        async with Socket(self) as socket:
            waits = []
            for order in orders:
                try:
                    request = self.protocol.new([order], self.take_id(), self.utc_ns())
                except OrderError as error:
                    self.error = str(error)
                    continue
                waits.append(self.ask(request) if request.way is Way.REST else socket.ask(request))
            answers = await asyncio.gather(*waits)
        return len(answers) == len(orders) and all(answers)


class Socket:
    """A connection of one channel for a few requests; use as a context. Whether it came up, `is_up` says."""

    def __init__(self, client: VenueClient, channel: Channel = Channel.ORDER_SOCKET) -> None:
        self._client = client
        self._channel = channel
        self._answered: dict[int, asyncio.Future[bool]] = {}
        self._logged_in = asyncio.Event()
        self.is_up = False
        protocol = client.protocol
        url = protocol.order_url() if channel is Channel.ORDER_SOCKET else protocol.private_url()
        tls = client_context(client.account.ca_file) if url.startswith("wss") else None
        self._connection = FeedConnection(
            url, None, int(channel), random=random.random, ssl_context=tls, policy=POLICY,
            make_listener=lambda: CallbackListener(self._on_frame), gate=client.gate(),
        )  # fmt: skip

    async def __aenter__(self) -> Socket:
        self._task = asyncio.ensure_future(self._connection.run())
        client = self._client
        try:
            async with asyncio.timeout(SOCKET_S):
                while not self._connection.is_connected:
                    await asyncio.sleep(SOCKET_LOOK_S)
                logins = client.protocol.logins(self._channel, client.take_id(4), client.utc_ns())
                for frame in logins:
                    self._connection.send(frame)
                if logins:
                    await self._logged_in.wait()
            self.is_up = True
        except TimeoutError:
            client.error = f"no connection for {self._channel.name}"
        except asyncio.CancelledError:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        self._connection.close()
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    @property
    def is_connected(self) -> bool:
        """Whether it still stands; one that was lost is not opened again."""
        return self.is_up and self._connection.is_connected and self._connection.connects == 1

    def send(self, frame: bytes) -> bool:
        """Send bytes; whether the connection took them."""
        return bool(self._connection.send(frame))

    async def ask(self, request: Request) -> bool:
        """Send a request; whether the venue took it."""
        future = self._answered[request.request_id] = asyncio.get_running_loop().create_future()
        if not self._connection.send(request.frame):
            return False
        try:
            async with asyncio.timeout(SOCKET_S):
                taken: bool = await future
                return taken
        except TimeoutError:
            self._client.error = f"{request.kind.name}: no answer"
            return False

    def _on_frame(self, frame: bytes, _frame_ns: int) -> None:
        try:
            words = self._client.protocol.decode(frame, self._channel)
        except DecodeError as error:
            self._client.error = str(error)
            return
        for word in words:
            if isinstance(word, ControlWord) and word.sign is Sign.LOGGED_IN:
                self._logged_in.set()
            elif isinstance(word, ControlWord) and word.sign is Sign.PING:
                self._connection.send(word.reply)
            elif isinstance(word, Answer):
                future = self._answered.get(word.request_id)
                if not word.is_ok:
                    self._client.error = f"{word.code} {word.text}".strip()
                if future is not None and not future.done():
                    future.set_result(word.is_ok)


_ENDS = frozenset((Sign.SNAPSHOT_END, Sign.MORE))


def _is_refused(words: Sequence[Word]) -> bool:
    return any(isinstance(w, Answer) and not w.is_ok and w.action is not Action.DONE for w in words)


def make_ids(base: int) -> Callable[[], int]:
    """Client order ids that count up behind a base."""
    next_id = base

    def take() -> int:
        nonlocal next_id
        next_id += 1
        return next_id

    return take
