"""Keeps the gateway's way from intent to wire warm while orders are sent, and its worker awake."""

from __future__ import annotations

import socket
from contextlib import suppress

from actors.gateway_settings import OrderGatewaySettings
from actors.runtime.context import Context
from exec.order_protocol import OrderProtocol
from exec.rehearsal import Rehearsal
from exec.session import OrderSession
from exec.venue_sessions import VenueSessions
from risk.exposure import ExposureBook
from risk.gate import Gate
from shm.enums import IntentKind
from shm.records import IntentRecord

#: Behind the last order it goes on for so long.
LASTS_NS = 1_000_000_000
#: As long as an order's.
FRAME = b"x" * 400
#: The counter part of an order id: a rehearsed one has the numbers from here down, which no real one reaches.
_COUNTER_MAX = (1 << 32) - 1
_NUMBERS = 1 << 10


class SelfTalk:
    """A TCP connection to ourselves: what is sent on it keeps the kernel's part of a send warm."""

    def __init__(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self._out = socket.create_connection(listener.getsockname())
            self._in, _ = listener.accept()
        self._out.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for end in (self._out, self._in):
            end.setblocking(False)

    def say(self, frame: bytes) -> None:
        """Send a frame, and read it so that there is room for the next."""
        with suppress(OSError):
            self._out.send(frame)
            self._in.recv(len(frame))

    def close(self) -> None:
        """Close both ends."""
        self._out.close()
        self._in.close()


class OrderRehearsal:
    """Rehearses the newest order every `rehearse_ns` (`exec.rehearsal`), for a second behind the last one.

    Args:
        context: of the gateway.
        gate: judges the rehearsed intents too, and spends nothing.
        config: how often, and how long the worker spins; neither on a virtual clock.
        session: where real orders go.
    """

    def __init__(
        self, context: Context, gate: Gate, config: OrderGatewaySettings, session: OrderSession
    ) -> None:
        self._context = context
        self._gate = gate
        self._session = session
        is_live = not context.host.scheduler.is_virtual
        self._every_ns = config.rehearse_ns if is_live else 0
        context.host.mailbox.spin_ns = config.spin_ns if is_live else 0
        self._last_ns = 0
        self._is_running = False
        self._number = 0
        self._intent = IntentRecord()
        self._talk: SelfTalk | None = None
        self._rehearsals: dict[OrderProtocol | None, Rehearsal] = {}

    def seen(self, intent: IntentRecord, now_ns: int) -> None:
        """A real order or replace is about to be sent."""
        self._last_ns = now_ns
        if not self._is_running and self._every_ns:
            self._is_running = True
            self._intent = IntentRecord.from_bytes(intent.to_bytes())
            self._intent.kind, self._intent.orig_client_order_id = int(IntentKind.NEW), 0
            self._context.call_later(self._every_ns, self._rehearse)

    def _rehearse(self) -> None:
        now_ns = self._context.now_ns()
        idle_ns = now_ns - self._last_ns
        if idle_ns > LASTS_NS or not self._every_ns:
            self._is_running = False
            return
        self._context.call_later(self._every_ns, self._rehearse)
        if idle_ns < self._every_ns:
            return  # a real one has just passed
        intent = self._intent
        self._number = (self._number + 1) % _NUMBERS
        intent.client_order_id = (intent.client_order_id | _COUNTER_MAX) - self._number
        intent.decide_ns = now_ns
        self._gate.rehearse(intent, now_ns)
        protocol = self._protocol_of(intent.instrument_id)
        self._of(protocol).run(intent, now_ns)
        if protocol is not None:
            if self._talk is None:
                self._talk = SelfTalk()
            self._talk.say(FRAME)

    def _protocol_of(self, instrument_id: int) -> OrderProtocol | None:
        session = self._session
        account = session.session_of(instrument_id) if isinstance(session, VenueSessions) else None
        return None if account is None else account.protocol

    def _of(self, protocol: OrderProtocol | None) -> Rehearsal:
        found = self._rehearsals.get(protocol)
        if found is None:
            context = self._context
            host = context.host
            ledger = ExposureBook(host.instruments.get)
            found = Rehearsal(host.spec.epoch, ledger, protocol, context.now_ns, context.utc_ns)
            self._rehearsals[protocol] = found
        return found

    def close(self) -> None:
        """Rehearse nothing any more."""
        self._every_ns, self._last_ns = 0, 0
        if self._talk is not None:
            self._talk.close()
            self._talk = None
