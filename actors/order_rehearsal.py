"""Keeps the gateway's way from intent to wire warm while orders are sent, and its worker awake."""

from __future__ import annotations

import socket
from contextlib import suppress

from actors.gateway_settings import OrderGatewaySettings
from actors.order_lane import Lane, OnIntent
from actors.runtime.context import Context
from actors.runtime.host import ORDER_INTENTS
from actors.runtime.mailboxes import IntentSource
from exec.order_protocol import OrderProtocol
from exec.rehearsal import Rehearsal
from exec.session import OrderSession
from exec.venue_sessions import VenueSessions
from risk.exposure import ExposureBook
from risk.gate import Gate
from shm.enums import IntentKind
from shm.metrics import Metrics
from shm.records import INTENT_RECORD_BYTES, IntentRecord
from shm.spsc import Consumer, Producer, SpscRing

#: Behind the last order it goes on for so long.
LASTS_NS = 1_000_000_000
#: The counter part of an order id: a rehearsed one has the numbers from here down, which no real one reaches.
_COUNTER_MAX = (1 << 32) - 1
_NUMBERS = 1 << 10
_RING = 2


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


class Stage:
    """Where the orders of one venue are rehearsed: a ring, a lane behind it; what leaves goes to ourselves.

    Args:
        context: of the gateway.
        gate: judges as for real orders, and spends nothing.
        protocol: of the venue, None = paper.
        take: the gateway's handler of intents.
    """

    def __init__(self, context: Context, gate: Gate, protocol: OrderProtocol | None, take: OnIntent) -> None:
        host = context.host
        self._mailbox = host.mailbox
        self._talk = None if protocol is None else SelfTalk()
        ledger = ExposureBook(host.instruments.get)
        self._rehearsal = Rehearsal(host.spec.epoch, ledger, protocol, context.utc_ns, self._say)
        metrics = Metrics.create(bytearray(Metrics.bytes_needed()), 0)
        lane = Lane(
            slot=0,
            consumed=0,
            judge=gate.rehearse,
            oms=self._rehearsal.oms,
            session=self._rehearsal.session,
            entries=self._rehearsal.entries,
            intent_ns=metrics.histogram("intent_ns"),
            gate_ns=metrics.histogram("gate_ns"),
            is_real=False,
        )
        room = bytearray(SpscRing.bytes_needed(_RING, INTENT_RECORD_BYTES))
        ring = SpscRing.create(room, _RING, INTENT_RECORD_BYTES)
        self._producer = Producer(ring)
        self._source = IntentSource(Consumer(ring), ORDER_INTENTS, take, lane)

    def run(self, intent: IntentRecord, now_ns: int) -> None:
        """Rehearse an intent of kind NEW."""
        self._producer.offer(intent.to_bytes())
        self._source.poll_now(1)
        self._rehearsal.end(intent, now_ns)

    def _say(self, frame: bytes) -> None:
        if self._talk is not None and not self._mailbox.has_pending():  # real ones wait for nothing
            self._talk.say(frame)

    def close(self) -> None:
        """Close what it talks to."""
        if self._talk is not None:
            self._talk.close()
            self._talk = None


class OrderRehearsal:
    """Rehearses the newest order every `rehearse_ns` (`exec.rehearsal`), for a second behind the last one.

    A rehearsed intent comes out of a ring like a real one and runs through the gateway's own handler. It
    begins only while nothing real waits, and leaves its longest step out if something has come meanwhile.

    Args:
        context: of the gateway.
        gate: judges the rehearsed intents too, and spends nothing.
        config: how often, and how long the worker spins; neither on a virtual clock.
        session: where real orders go.
        take: the gateway's handler of intents.
    """

    def __init__(
        self,
        context: Context,
        gate: Gate,
        config: OrderGatewaySettings,
        session: OrderSession,
        take: OnIntent,
    ) -> None:
        self._context = context
        self._gate = gate
        self._session = session
        self._take = take
        is_live = not context.host.scheduler.is_virtual
        self._every_ns = config.rehearse_ns if is_live else 0
        context.host.mailbox.spin_ns = config.spin_ns if is_live else 0
        self._last_ns = 0
        self._is_running = False
        self._number = 0
        self._intent = IntentRecord()
        self._stages: dict[OrderProtocol | None, Stage] = {}

    def seen(self, intent: IntentRecord, now_ns: int) -> None:
        """A real order or replace was sent."""
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
        host = self._context.host
        if idle_ns < self._every_ns or host.mailbox.has_pending():
            return  # a real one has just passed, or waits
        intent = self._intent
        self._number = (self._number + 1) % _NUMBERS
        intent.client_order_id = (intent.client_order_id | _COUNTER_MAX) - self._number
        intent.decide_ns = now_ns
        self._stage(intent.instrument_id).run(intent, now_ns)
        host.drain()  # a real order comes with a duty cycle

    def _stage(self, instrument_id: int) -> Stage:
        session = self._session
        account = session.session_of(instrument_id) if isinstance(session, VenueSessions) else None
        protocol = None if account is None else account.protocol
        found = self._stages.get(protocol)
        if found is None:
            found = self._stages[protocol] = Stage(self._context, self._gate, protocol, self._take)
        return found

    def close(self) -> None:
        """Rehearse nothing any more."""
        self._every_ns, self._last_ns = 0, 0
        for stage in self._stages.values():
            stage.close()
