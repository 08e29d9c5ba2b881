"""Live order entry inside the gateway: sockets, the way to the account actor, and the sessions over them."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from actors.account_ports import RestPort
from actors.feed_ports import raise_error
from actors.runtime.context import Context
from actors.runtime.settings import read_settings
from actors.venue_account import VenueAccount
from exec.client_ids import tag_of
from exec.entries import EntryWriter
from exec.oms import Oms
from exec.order_protocol import Channel, Request
from exec.recovery import Recovered
from exec.venue_commands import SessionTimes
from exec.venue_session import VenueSession
from exec.venue_sessions import TableDirectory, VenueSessions, resume_venues
from exec.venues import make_protocol
from feeds.transport.rates import LedgerBudget
from feeds.transport.reconnect import ConnectGate, ReconnectPolicy
from feeds.transport.tls import client_context
from feeds.transport.websocket import CallbackListener, FeedConnection
from feeds.venues import VENUE_ID
from shm.enums import RateLane
from shm.instruments import Instrument
from shm.records import MarketRecord

if TYPE_CHECKING:
    from picows import WSTransport

# Orders in doubt wait for this connection; but venues count attempts, some allow three a second.
POLICY = ReconnectPolicy(initial_ns=500_000_000, maximum_ns=5_000_000_000, stable_ns=1_000_000_000)
FAULT_VENUE = 2100
_ORDERS = Channel.ORDER_SOCKET
STANDS_NS = 100_000
#: Events that a person must hear of, beside the worker's fault log.
TOLD = frozenset(
    (
        "state",
        "lost",
        "stale stream",
        "listen key",
        "login",
        "refused",
        "forced",
        "margin_call",
        "maintenance",
        "unsettled",
        "amended",
        "decode",
        "wait",
        "limit",
        "rate",
        "keys",
    )
)
#: A venue that refuses for too much may say so to every request: told once in so long.
WAIT_TOLD_NS = 5_000_000_000


class SocketListener(CallbackListener):
    """Tells when a socket is gone, too."""

    def __init__(
        self,
        handler: Callable[[bytes, int], object],
        on_open: Callable[[], object],
        on_end: Callable[[], object],
    ) -> None:
        super().__init__(handler, on_open=on_open)
        self._on_end = on_end

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        """The socket is gone; one whose handshake failed never stood."""
        del transport
        if self.is_open:
            self._on_end()


class Line:
    """One socket and what it is for now: `channel` changes when a spare socket comes into force."""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.is_over = False  # closed for good: what it still says is nobody's
        self.connection: FeedConnection


class AccountLink:
    """The I/O of one account's session (`exec.venue_commands.VenueLink`)."""

    def __init__(
        self, context: Context, index: int, account: VenueAccount, rest: RestPort, after: Callable[[], None]
    ) -> None:
        self.name = account.name
        self._context = context
        self._index = index
        self._account = account
        self._rest = rest
        self._after = after
        self._lines: dict[Channel, Line] = {}
        self._told: dict[Channel, int] = {}
        self._is_closed = False
        self._connects: LedgerBudget | None = None
        self.session: VenueSession

    # ---- what the session wants -----------------------------------------------------------------

    def connect_orders(self, url: str) -> None:
        """See `VenueLink`."""
        self._connect(Channel.ORDER_SOCKET, url)

    def connect_private(self, url: str) -> None:
        """See `VenueLink`."""
        self._connect(Channel.PRIVATE_STREAM, url)

    def _connect(self, channel: Channel, url: str) -> None:
        line = self._lines.get(channel)
        if line is not None:
            if line.connection.url != url:
                line.connection.url = url  # the next attempt, and there is one: this socket is dropped
                line.connection.reset("another address")
            return
        if self._is_closed:
            return
        line = self._lines[channel] = Line(channel)
        line.connection = FeedConnection(
            url,
            None,
            int(channel),
            random=self._context.random.random,
            ssl_context=self._tls(url),
            policy=POLICY,
            make_listener=lambda: self._listener(line),
            gate=self._gate(channel),
        )
        self._context.host.scheduler.spawn(line.connection.run(), lambda: None, self._broken)

    def _gate(self, channel: Channel) -> ConnectGate | None:
        """What holds attempts within the venue's limit: cancels need both sockets, spare ones can wait."""
        is_spare = channel in (Channel.SPARE_ORDERS, Channel.SPARE_STREAM)
        lane = RateLane.RECONCILE if is_spare else RateLane.CANCEL
        budget = self._context.rate_budget(self._account.rates, "connects", lane)
        if not is_spare:
            self._connects = budget
        return None if budget is None else ConnectGate(1.0, 1, budget=budget)

    def _tls(self, url: str) -> ssl.SSLContext | None:
        return client_context(self._account.ca_file) if url.startswith("wss") else None

    def _broken(self, error: Exception) -> None:
        self._context.host.guard(self._context.actor_id, "order socket", raise_error, error)

    def _listener(self, line: Line) -> SocketListener:
        return SocketListener(
            lambda frame, _frame_ns: self._guarded(self._on_frame, frame, line),
            on_open=lambda: self._guarded(self._on_open, line),
            on_end=lambda: self._guarded(self._on_end, line),
        )

    def open_spare(self, url: str, of: Channel) -> None:
        """See `VenueLink`."""
        self._connect(of.spare, url)

    def send_spare(self, frame: bytes, of: Channel) -> bool:
        """See `VenueLink`."""
        return self._send(of.spare, frame)

    def swap_spare(self, of: Channel) -> None:
        """See `VenueLink`."""
        new, old = self._lines[of.spare], self._lines[of]
        new.channel, old.channel = of, of.spare
        self._lines[new.channel], self._lines[old.channel] = new, old
        self._told.pop(new.channel, None)

    def drop_spare(self, of: Channel) -> None:
        """See `VenueLink`."""
        line = self._lines.pop(of.spare, None)
        self._told.pop(of.spare, None)
        if line is not None:
            line.is_over = True
            line.connection.close()

    def drop_orders(self, reason: str) -> None:
        """See `VenueLink`."""
        self._drop(Channel.ORDER_SOCKET, reason)

    def drop_private(self, reason: str) -> None:
        """See `VenueLink`."""
        self._drop(Channel.PRIVATE_STREAM, reason)

    def _drop(self, channel: Channel, reason: str) -> None:
        line = self._lines.get(channel)
        if line is not None:
            line.connection.reset(reason)

    def send_order(self, frame: bytes) -> bool:
        """See `VenueLink`."""
        line = self._lines.get(_ORDERS)
        return line is not None and line.connection.send(frame)

    def send_private(self, frame: bytes) -> bool:
        """See `VenueLink`."""
        return self._send(Channel.PRIVATE_STREAM, frame)

    def _send(self, channel: Channel, frame: bytes) -> bool:
        line = self._lines.get(channel)
        return line is not None and line.connection.send(frame)

    def send_rest(self, request: Request) -> bool:
        """See `VenueLink`."""
        return self._rest.send(self._index, request)

    def take_errors(self) -> list[str]:
        """Failed connection attempts since the last call; an address may hold a key and is cut short."""
        found = []
        for channel, line in self._lines.items():
            connection = line.connection
            if connection.connect_errors > self._told.get(channel, 0):
                self._told[channel] = connection.connect_errors
                host = urlsplit(connection.url).netloc
                found.append(f"{channel.name}: {connection.last_error.replace(connection.url, host)}")
        return found

    def note_waits(self, now_ns: int) -> None:
        """Have the session tell that its sockets wait for their turn to connect, if they do."""
        lines = [self._lines.get(channel) for channel in (Channel.ORDER_SOCKET, Channel.PRIVATE_STREAM)]
        missing = [line for line in lines if line is not None and not line.connection.is_connected]
        wait_ns = 0
        if missing and self._connects is not None:
            wait_ns = max(self._connects.next_ns(now_ns) - now_ns, 0)
        self.session.waits.note_costs("the sockets", {"connects": len(missing)}, wait_ns, now_ns)

    def close(self) -> None:
        """Close both sockets for good."""
        self._is_closed = True
        for line in self._lines.values():
            line.connection.close()

    # ---- what arrives ---------------------------------------------------------------------------

    def _guarded(self, call: Callable[..., None], *args: object) -> None:
        # Like a handler: what raises suspends or restarts the gateway, by its fault policy.
        self._context.host.guard(self._context.actor_id, "venue", call, *args)

    def _on_frame(self, frame: bytes, line: Line) -> None:
        if not line.is_over:
            self.session.on_frame(frame, line.channel, self._context.now_ns())
            self._after()

    def _on_open(self, line: Line) -> None:
        # The connection can send only once the task that made it has gone on.
        self._context.call_later(STANDS_NS, lambda: self._stands(line))

    def _stands(self, line: Line) -> None:
        if line.is_over or line.connection.listener is None:
            return
        if not line.connection.is_connected:
            self._on_open(line)
            return
        self.session.on_open(line.channel, self._context.now_ns())
        self._after()

    def _on_end(self, line: Line) -> None:
        if line.is_over:
            return
        listener = line.connection.listener
        why = "" if listener is None else listener.close_text
        self.session.on_lost(line.channel, why or "connection lost", self._context.now_ns())
        self._after()

    def on_answer(self, request: Request, status: int, headers: dict[str, str], body: bytes) -> None:
        """An answer of the account actor."""
        self.session.on_rest(request, status, headers, body, self._context.now_ns())
        self._after()


class VenueOrders:
    """The sessions of a gateway and everything under them.

    Args:
        context: of the gateway.
        accounts: settings rows of `VenueAccount`.
        oms: orders.
        entries: the journal.
        on_wire: told when the bytes of a new order or replace left: its frame_ns, since when it waited.
        after: called after anything that arrived was taken.

    Raises:
        KeysError: keys are missing or do not fit the venue.
    """

    def __init__(
        self,
        context: Context,
        accounts: Sequence[Mapping[str, Any]],
        oms: Oms,
        entries: EntryWriter,
        *,
        on_wire: Callable[[int, int], None],
        after: Callable[[], None],
    ) -> None:
        self._context = context
        self._oms = oms
        self._began_ns = context.now_ns()
        self._wait_told_ns: dict[str, int] = {}
        self._waits: dict[str, str] = {}
        self._safe_ns = 0  # when every account could send new orders for the first time
        host = context.host
        answers: dict[int, Any] = {}
        self._rest = rest = RestPort(host, answers)
        self._links: list[AccountLink] = []
        sessions = []
        for index, row in enumerate(accounts):
            account = read_settings(VenueAccount, row, "order_gateway.accounts")
            link = AccountLink(context, index, account, rest, after)
            link.session = self._make_session(account, link, oms, entries)
            link.session.on_wire = on_wire
            answers[index] = link.on_answer
            self._links.append(link)
            sessions.append(link.session)
        self.sessions = VenueSessions(oms, sessions)
        self._counters = {
            name: context.counter(f"orders.session_{name}") for name in sessions[0].counts.__slots__
        } if sessions else {}  # fmt: skip
        self._base = {name: counter.value for name, counter in self._counters.items()}

    def _make_session(
        self, account: VenueAccount, link: AccountLink, oms: Oms, entries: EntryWriter
    ) -> VenueSession:
        context = self._context
        directory = TableDirectory(context.instruments)
        for text in account.exposed_keys():
            self._tell(account.name, "keys", text)
        protocol = make_protocol(
            account.protocol,
            account.read_keys(),
            tag_of(context.host.spec.instance),
            directory,
            order_url=account.order_url,
            private_url=account.private_url,
            symbols=account.symbols,
            **account.options,
        )
        return VenueSession(
            protocol,
            oms,
            link,
            utc_ns=_steady_utc(context),
            venue_of=lambda instrument_id: directory.row(instrument_id).venue_id,
            venue_ids=[VENUE_ID[name] for name in account.venues],
            entries=entries,
            rates=account.make_rates(context.rates, context.utc_ns),
            times=_times(account),
            on_event=lambda name, text: self._tell(account.name, name, text),
        )

    def _tell(self, account: str, name: str, text: str) -> None:
        host = self._context.host
        line = f"{account}: {name}: {text}"
        if name == "state":
            self._note_states()
        else:
            host.metrics.fault(FAULT_VENUE, line, host.utc_ns())
        if name not in TOLD:
            return
        if name == "wait":
            now_ns = self._context.now_ns()
            if now_ns < self._wait_told_ns.get(account, 0):
                return
            self._wait_told_ns[account] = now_ns + WAIT_TOLD_NS
        host.notify({"op": "venue", "text": line})

    def _note_states(self) -> None:
        """Tell status and report how far each account is, and since when this process is safe to quote."""
        if not self._safe_ns and self.sessions.is_up:
            self._safe_ns = self._context.now_ns()
        states = {link.name: link.session.state.name for link in self._links}
        data = {"states": states, "began_ns": self._began_ns, "safe_ns": self._safe_ns}
        data["waits"] = self._waits = self._waiting()
        data["incarnation"] = self._context.host.spec.incarnation
        self._context.note("accounts", data)

    def _waiting(self) -> dict[str, str]:
        """What each account that may not quote yet waits for because the venue's limits are used up."""
        now_ns = self._context.now_ns()
        held_up = [link for link in self._links if not link.session.is_connected]
        for link in held_up:
            link.note_waits(now_ns)
        waits = {link.name: link.session.waits.text(now_ns) for link in held_up}
        return {name: text for name, text in waits.items() if text}

    @property
    def session(self) -> VenueSessions:
        """All accounts as one session."""
        return self.sessions

    def add_instrument(self, row: Instrument) -> None:
        """Nothing: the instrument table is the directory."""

    def resume(
        self, recovered: Recovered, entries: EntryWriter, clock: Callable[[], int], now_ns: int
    ) -> None:
        """Connect; recovered orders are asked about before anything new is sent."""
        resume_venues(self.sessions, self._oms, recovered, entries, clock, now_ns)

    def before_order(self, instrument_id: int, now_ns: int) -> None:
        """Nothing: the venue has its own book."""

    def on_book(self, instrument_id: int) -> None:
        """Nothing, likewise."""

    def on_trade(self, record: MarketRecord) -> None:
        """Nothing, likewise."""

    def on_status(self, record: MarketRecord) -> None:
        """Nothing, likewise."""

    def on_lapped(self) -> None:
        """Nothing, likewise."""

    def on_cycle(self, now_ns: int) -> None:
        """Put on the wire what this duty cycle gathered."""
        self._rest.look(now_ns)
        # `now_ns` is of the cycle's begin; stamps want the moment.
        self.sessions.flush(self._context.now_ns())

    def publish(self) -> None:
        """Bring the counters up to date."""
        for link in self._links:
            for text in link.take_errors():
                self._tell(link.name, "connect", text)
        if self._waits or self._waiting():
            self._note_states()
        for asset, paid_e8 in self._foreign_fees().items():
            self._context.counter(f"fees_e8.{asset}").set(paid_e8)
        for name, counter in self._counters.items():
            counter.set(self._base[name] + sum(getattr(s.counts, name) for s in self.sessions.sessions))

    def _foreign_fees(self) -> dict[str, int]:
        """What was paid in other assets than the instruments settle in, in 10^-8 of the asset."""
        total: dict[str, int] = {}
        for session in self.sessions.sessions:
            for asset, paid_e8 in session.protocol.foreign_fees.paid_e8.items():
                total[asset] = total.get(asset, 0) + paid_e8
        return total

    def close(self) -> None:
        """End the sessions and close the sockets."""
        self.publish()
        self.sessions.end(self._context.now_ns())
        for link in self._links:
            link.close()


def _steady_utc(context: Context) -> Callable[[], int]:
    """The time of day as it was, plus what has passed since: who sets the clock moves no request's deadline.

    How far that is from the venue's time the session measures.
    """
    base_ns, now_ns = context.utc_ns() - context.now_ns(), context.now_ns
    return lambda: base_ns + now_ns()


def _times(account: VenueAccount) -> SessionTimes:
    times = SessionTimes()
    return replace(times, rotate_ns=round(account.rotate_s * 1e9)) if account.rotate_s else times


def check_accounts(rows: Sequence[Mapping[str, Any]]) -> None:
    """Raise SettingsError for account rows that make no sense; reads no secret."""
    for row in rows:
        read_settings(VenueAccount, row, "order_gateway.accounts")
