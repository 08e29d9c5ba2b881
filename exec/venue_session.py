"""One account's order entry at a venue: connections, logins, time limits, doubts, reconciliation. No I/O.

It hands bytes to a `VenueLink` and is fed with frames, answers and times, so it runs on a virtual clock too.
What became of an order is never guessed: see `README.md`, "The venue session".
"""

from __future__ import annotations

from collections.abc import Callable, Collection

from exec.entries import EntryWriter
from exec.errors import OrderError
from exec.oms import Oms
from exec.order import Order
from exec.order_protocol import (
    Action,
    Answer,
    BalanceWord,
    Channel,
    ControlWord,
    OrderProtocol,
    RequestKind,
    Sign,
)
from exec.venue_answers import CANCEL_AGAIN_NS
from exec.venue_clock import VenueClock
from exec.venue_commands import SECOND_NS, NoRates, Rates, SessionTimes, VenueLink
from exec.venue_comparer import OPENING, Comparer
from exec.venue_comparison import Comparison
from exec.venue_mass import MassCancels
from exec.venue_rotation import Rotation
from exec.venue_states import REACHES_VENUE, SessionEvent, SessionState, step
from exec.venue_waits import RateWaits
from shm.enums import OrderStatus

_SOCKETS = (Channel.ORDER_SOCKET, Channel.PRIVATE_STREAM)
_UNKNOWN = int(OrderStatus.UNKNOWN)
LOGINS_MAX = 3
_OF_SOCKET = frozenset(
    (
        Sign.LOGGED_IN,
        Sign.LOGIN_REFUSED,
        Sign.SUBSCRIBED,
        Sign.SUBSCRIBE_REFUSED,
        Sign.PING,
        Sign.LISTEN_KEY_EXPIRED,
        Sign.CLOSING,
    )
)


class VenueSession(Comparer):
    """Order entry of one account; see the module and `OrderSession`.

    Args:
        protocol: of the venue.
        oms: orders; those at instruments of the protocol's venues are this session's.
        link: does the I/O.
        utc_ns: our wall clock.
        entries: the journal, for discrepancies; None = they are not journaled.
        rates: the account's lanes of the rate ledger.
        times: time limits.
        on_event: told what a person should know: a short name and a text.
        venue_of: venue id of an instrument; raises KeyError for one that does not exist.
        venue_ids: the venues of this account, () = all of the protocol.
    """

    def __init__(
        self,
        protocol: OrderProtocol,
        oms: Oms,
        link: VenueLink,
        *,
        utc_ns: Callable[[], int],
        venue_of: Callable[[int], int],
        venue_ids: Collection[int] = (),
        entries: EntryWriter | None = None,
        rates: Rates | None = None,
        times: SessionTimes | None = None,
        on_event: Callable[[str, str], None] = lambda _name, _text: None,
    ) -> None:
        super().__init__(
            protocol,
            oms,
            link,
            utc_ns=utc_ns,
            rates=rates or NoRates(),
            times=times or SessionTimes(),
            on_event=on_event,
        )
        self.entries = entries
        self.comparison = Comparison(oms, self.owns, protocol.has_position)
        self.traded = self.comparison.instruments
        self.balances: dict[str, BalanceWord] = {}
        self._venue_of = venue_of
        self._venue_ids = frozenset(venue_ids or protocol.venue_ids)
        self.waits = RateWaits(self._tell_wait)
        self._mine: dict[int, bool] = {}
        self._stream_due: dict[int, int] = {}
        self._told_ns: dict[int, int] = {}
        self._roots: dict[int, int] = {}
        self._missed: dict[int, int] = {}
        self._opened = dict.fromkeys(_SOCKETS, False)
        self._ready = dict.fromkeys(_SOCKETS, False)
        self._private_url = ""
        self._subscribed = 0
        self._opening: set[int] = set()
        self._has_opened = False  # what the sockets need is there
        self._open_again_ns: int | None = None
        self._logins_refused = 0
        self._login_due_ns = 0
        self._clock = VenueClock(self.times.clock_ns)
        self.rotation = Rotation(
            protocol,
            link,
            self.times,
            send=self.send,
            take_id=self.take_id,
            utc_ns=lambda: self.utc_ns,
            on_rotated=self._rotated,
        )
        self.order_rotation = Rotation(
            protocol,
            link,
            self.times,
            send=self.send,
            take_id=self.take_id,
            utc_ns=lambda: self.utc_ns,
            on_rotated=self._orders_rotated,
            of=Channel.ORDER_SOCKET,
        )
        self._rotations = {Channel.SPARE_STREAM: self.rotation, Channel.SPARE_ORDERS: self.order_rotation}
        self.mass = MassCancels(
            lambda instrument_id: self.protocol.mass_cancel([instrument_id], self._next_id, self.utc_ns),
            self.send,
            self._cancel_each,
            CANCEL_AGAIN_NS,
        )
        self._keep_due_ns: int | None = None
        self._ping_due_ns: int | None = None
        self._compare_due_ns: int | None = None

    def owns(self, instrument_id: int) -> bool:
        """Whether an instrument is traded through this session."""
        mine = self._mine.get(instrument_id)
        if mine is None:
            try:
                mine = self._venue_of(instrument_id) in self._venue_ids
            except KeyError:
                return False
            self._mine[instrument_id] = mine
        return mine

    def open_orders(self) -> list[Order]:
        """This session's orders that are not terminal."""
        return [order for order in self.oms.open_orders() if self.owns(order.instrument_id)]

    # ---- life -----------------------------------------------------------------------------------

    def start(self, now_ns: int, agreed_utc_ns: int = 0) -> None:
        """Connect; orders held from before are asked about first. `agreed_utc_ns`: see `begin_behind`."""
        for order in self.oms:
            if self.owns(order.instrument_id):
                self.comparison.instruments.add(order.instrument_id)
                if order.venue_order_id:
                    self._roots[order.venue_order_id] = order.root_client_order_id
        for order in self.open_orders():
            self.doubt(order, now_ns, must_ask=True)
        self.begin_behind(agreed_utc_ns)
        self._step(SessionEvent.START)
        self._open(now_ns)

    def end(self, now_ns: int) -> None:
        """End for good: what is queued is refused, sockets are dropped; resting orders rest on."""
        self._step(SessionEvent.END)
        self.refuse_queue(now_ns, cancels=True)
        self._stop_rotations()
        self.link.drop_orders("the session ended")
        self.link.drop_private("the session ended")

    def _step(self, event: SessionEvent) -> bool:
        before, self.state = self.state, step(self.state, event)
        self.is_connected = self.state is SessionState.UP
        if before is not self.state:
            self.on_event("state", f"{self.protocol.name}: {before.name} → {self.state.name}")
        return before is not self.state

    def _open(self, now_ns: int) -> None:
        """Ask for what the sockets need: the venue's time, a listen key."""
        self._open_again_ns = None
        self._opening.clear()
        clock = self.protocol.server_time(self.take_id())
        keys = self.protocol.opening_requests(self._next_id, self.utc_ns)
        wanted = (clock, *keys)
        # As a whole, for the same reason as rounds: see `_compare`.
        wait_ns = self.pay(wanted, now_ns)
        self.waits.note("what the sockets need", wanted, wait_ns, now_ns)
        if wait_ns:
            self._open_again_ns = now_ns + (wait_ns if wait_ns > 0 else self.times.open_retry_ns)
            return
        for request in wanted:
            if self.send(request, now_ns, is_paid=True):
                self._open_again_ns = now_ns + self.times.open_retry_ns
                return
            self._opening.add(request.request_id)

    def on_done(self, request_id: int, now_ns: int) -> None:
        """See `WordTaker`; connect once everything the sockets need is there."""
        self.rotation.on_done(request_id, now_ns)
        if request_id not in self._opening:
            return
        self._opening.discard(request_id)
        if self._opening or self.state is not SessionState.CONNECTING or self._open_again_ns is not None:
            return
        try:
            private = self.protocol.private_url()
        except OrderError as error:
            self.on_event("listen key", str(error))
            self._open_again_ns = now_ns + self.times.open_retry_ns
            return
        self._has_opened = True
        if self.protocol.keep_alive_s:
            self._keep_due_ns = now_ns + round(self.protocol.keep_alive_s * SECOND_NS)
        if private != self._private_url:
            # The link replaces the socket: that one goes is no loss.
            self._private_url = private
            self._opened[Channel.PRIVATE_STREAM] = self._ready[Channel.PRIVATE_STREAM] = False
        self.link.connect_orders(self.protocol.order_url())
        self.link.connect_private(private)
        self._all_open(now_ns)

    def on_open(self, channel: Channel, now_ns: int) -> None:
        """A socket stands."""
        if channel in self._rotations:
            self._rotations[channel].on_open(now_ns)
            return
        self._opened[channel], self._ready[channel] = True, False
        self._all_open(now_ns)

    def _all_open(self, now_ns: int) -> None:
        """Log in once both sockets stand, on each that is not."""
        if not (self._has_opened and all(self._opened.values())):
            return
        if self.state is SessionState.CONNECTING:
            self._step(SessionEvent.OPENED)
        if self.state is not SessionState.LOGGING_IN:
            return
        self._login_due_ns = now_ns + self.times.login_ns
        for channel in _SOCKETS:
            if self._ready[channel]:
                continue
            frames = self.protocol.logins(channel, self.take_id(), self.utc_ns)
            for frame in frames:
                self._send_on(channel, frame)
            if not frames:
                self._logged_in(channel, now_ns)

    def _send_on(self, channel: Channel, frame: bytes) -> bool:
        send = self.link.send_order if channel is Channel.ORDER_SOCKET else self.link.send_private
        return send(frame)

    def _logged_in(self, channel: Channel, now_ns: int) -> None:
        self._logins_refused = 0
        if channel is Channel.PRIVATE_STREAM:
            frames = self.protocol.subscribes(self.take_id(), self.utc_ns)
            self._subscribed = 0
            for frame in frames:
                self.link.send_private(frame)
            if frames:
                return
        self._set_ready(channel, now_ns)

    def _set_ready(self, channel: Channel, now_ns: int) -> None:
        self._ready[channel] = True
        if all(self._ready.values()) and self._step(SessionEvent.LOGGED_IN):
            if self.protocol.ping_s:
                self._ping_due_ns = now_ns + round(self.protocol.ping_s * SECOND_NS)
            self._begin_to_compare(now_ns)
            for rotation in self._rotations.values():
                rotation.begin(now_ns)
            self.mass.flush(now_ns)
            self.flush(now_ns)
            self.on_timer(now_ns)

    def on_lost(self, channel: Channel, why: str, now_ns: int) -> None:
        """A socket is gone, or never stood; it is opened again by the link."""
        if channel in self._rotations:
            self._rotations[channel].on_lost(now_ns)
            return
        was_open = self._opened[channel]
        self._opened[channel] = self._ready[channel] = False
        if was_open:
            self._lose(f"{channel.name}: {why}", now_ns, open_anew=channel is Channel.PRIVATE_STREAM)

    def _rotated(self, url: str) -> None:
        self._private_url = url
        self.counts.rotations += 1

    def _orders_rotated(self, _url: str) -> None:
        self.counts.order_rotations += 1

    def _stop_rotations(self) -> None:
        for rotation in self._rotations.values():
            rotation.stop()

    def _lose(self, why: str, now_ns: int, *, open_anew: bool) -> None:
        """What is on its way has no answer any more; every order is UNKNOWN until the venue's word."""
        if self._step(SessionEvent.LOST):
            self._stop_rotations()
            self.counts.reconnects += 1
            self.on_event("lost", f"{self.protocol.name}: {why}")
            self.refuse_queue(now_ns, cancels=False)
            self.requests.abandon()
            self.mass.lost()
            self.comparison.reset()
            self._stream_due.clear()
            self.doubts.forget_questions(now_ns)
            for order in self.open_orders():
                self.oms.lose(order, now_ns)
                self.doubt(order, now_ns, must_ask=True)
        if open_anew and self.state is SessionState.CONNECTING:
            self._has_opened = False
            self._open(now_ns)

    def relogin(self, why: str, now_ns: int) -> None:
        """Begin anew: the listen key or login is over, or the private stream went silent."""
        self._ready = dict.fromkeys(_SOCKETS, False)
        self._opened[Channel.PRIVATE_STREAM] = False
        self.link.drop_private(why)
        self._lose(why, now_ns, open_anew=True)

    # ---- words about connection and account -----------------------------------------------------

    def on_control(self, word: ControlWord, channel: Channel, sent_ns: int, now_ns: int) -> None:
        """See `WordTaker`."""
        sign = word.sign
        if channel in self._rotations and sign in _OF_SOCKET:
            self._rotations[channel].on_control(word, now_ns)
        elif sign is Sign.USED:
            for purpose, used in word.values.items():
                self.rates.on_used(purpose, used, sent_ns, now_ns)
            for purpose, stated in word.limits.items():
                limit = self.rates.on_limit(purpose, stated, now_ns)
                if limit:
                    text = f"{self.protocol.name}: {purpose}: the venue allows {stated}; {limit} from now on"
                    self.on_event("limit", text)
        elif sign is Sign.SERVER_TIME:
            took_ns = now_ns - sent_ns
            self.offset_ns = self._clock.measured(word.venue_utc_ns, self._utc_ns(), took_ns, now_ns)
        elif sign is Sign.SNAPSHOT_END:
            self._snapshot_end(word.request_id, now_ns)
        elif sign is Sign.MORE:
            self._next_page(word, now_ns)
        elif sign is Sign.LOGGED_IN:
            self._logged_in(channel, now_ns)
        elif sign is Sign.SUBSCRIBED:
            self._subscribed += 1
            if self._subscribed == self.protocol.subscriptions:
                self._set_ready(Channel.PRIVATE_STREAM, now_ns)
        elif sign is Sign.PING:
            self._send_on(channel, word.reply)
        elif sign in (Sign.LOGIN_REFUSED, Sign.SUBSCRIBE_REFUSED):
            self._login_refused(word, channel, now_ns)
        elif sign is Sign.LISTEN_KEY_EXPIRED:
            self.on_event("listen key", "the listen key expired")
            self.relogin("the listen key expired", now_ns)
        elif sign in (Sign.CLOSING, Sign.MAINTENANCE, Sign.MARGIN_CALL, Sign.FORCED):
            self.on_event(sign.name.lower(), f"{self.protocol.name}: {word.text}")

    def _login_refused(self, word: ControlWord, channel: Channel, now_ns: int) -> None:
        self.on_event("login", f"{self.protocol.name}: refused: {word.text}")
        self._logins_refused += 1
        if self._logins_refused >= LOGINS_MAX:
            self._shut_out(now_ns)
        else:
            drop = self.link.drop_orders if channel is Channel.ORDER_SOCKET else self.link.drop_private
            drop("login refused")

    def on_action(self, answer: Answer, kind: RequestKind, now_ns: int) -> None:
        """See `WordTaker`."""
        action = answer.action
        if action is Action.STOP:
            self.on_event("refused", f"{self.protocol.name}: {answer.code} {answer.text}")
            self._shut_out(now_ns)
        elif action is Action.RELOGIN:
            self.relogin(f"{answer.code} {answer.text}", now_ns)
        elif action is Action.RESYNC_TIME:
            self.counts.clock_resyncs += 1
            self._clock.restart(now_ns)
        elif action is Action.WAIT:
            self.on_event("wait", f"{self.protocol.name}: {answer.code} {answer.text}")
        if kind in OPENING and answer.request_id in self._opening:
            self._open_again_ns = now_ns + max(self.times.open_retry_ns, answer.wait_ns)

    def _shut_out(self, now_ns: int) -> None:
        """The venue has refused key or account: nothing new, and cancels would be refused as well."""
        if self._step(SessionEvent.REFUSED):
            self.refuse_queue(now_ns, cancels=True)

    # ---- other commands -------------------------------------------------------------------------

    def mass_cancel(self, now_ns: int, instrument_id: int | None = None) -> None:
        """Cancel all that rests at an instrument, or at all that have orders of ours, whoever placed it.

        What can not be sent now waits for its turn in the lane of cancels (`MassCancels`). At a venue that
        has no such request, ours are canceled one by one; others' are the sentinel's affair.
        """
        ids = (
            {order.instrument_id for order in self.open_orders()}
            if instrument_id is None
            else {instrument_id}
        )
        self.mass.want(sorted(ids))
        if self.state in REACHES_VENUE:
            self.mass.flush(now_ns)

    def _cancel_each(self, instrument_id: int, now_ns: int) -> None:
        for order in self.open_orders():
            if order.instrument_id == instrument_id:
                self.cancel(order, now_ns)
        self.flush(now_ns)

    def query(self, order: Order, now_ns: int) -> None:
        """Ask the venue what became of an order."""
        self.doubt(order, now_ns, must_ask=True)

    # ---- time -----------------------------------------------------------------------------------

    def on_timer(self, now_ns: int) -> None:
        """Do what is due."""
        self.expire(now_ns)
        if self._open_again_ns is not None and self._open_again_ns <= now_ns:
            self._open_again_ns = None
            if self.state is SessionState.CONNECTING and not self._has_opened:
                self._open(now_ns)
        if self.state is SessionState.LOGGING_IN and self._login_due_ns <= now_ns:
            self.on_event("login", f"{self.protocol.name}: not answered")
            self.link.drop_orders("the login was not answered")
            self.relogin("the login was not answered", now_ns)
        if self.state not in REACHES_VENUE:
            return
        late = self.take_untold(now_ns)
        if late:
            self.counts.stale_streams += 1
            text = f"{self.protocol.name}: nothing was told of what was acknowledged: {late}"
            self.on_event("stale stream", text)
            self.relogin("the private stream is silent", now_ns)
            return
        if self.mass.due_ns is not None and self.mass.due_ns <= now_ns:
            self.mass.flush(now_ns)
        if self._retry_ns is not None and self._retry_ns <= now_ns:
            self.flush(now_ns)
        self.ask(now_ns)
        if self._clock.due_ns is not None and self._clock.due_ns <= now_ns:
            self._clock.asked(now_ns)
            self.send(self.protocol.server_time(self._next_id), now_ns)
        if self.state is SessionState.UP:
            for rotation in self._rotations.values():
                rotation.on_timer(now_ns)
        self._keep_up(now_ns)
        is_quiet = self.doubts.is_quiet or self.state is SessionState.UP or bool(self.comparison.unsent)
        if self._is_compare_due(now_ns) and is_quiet:
            self._compare(now_ns)

    def _is_compare_due(self, now_ns: int) -> bool:
        return (
            self._compare_due_ns is not None
            and self._compare_due_ns <= now_ns
            and (not self.comparison.is_running or bool(self.comparison.unsent))
        )

    def _keep_up(self, now_ns: int) -> None:
        if self._keep_due_ns is not None and self._keep_due_ns <= now_ns:
            self._keep_due_ns = now_ns + round(self.protocol.keep_alive_s * SECOND_NS)
            request = self.protocol.keep_alive(self._next_id, self.utc_ns)
            if request is not None and self.send(request, now_ns):
                self._keep_due_ns = now_ns + self.times.open_retry_ns
        if self._ping_due_ns is not None and self._ping_due_ns <= now_ns:
            self._ping_due_ns = now_ns + round(self.protocol.ping_s * SECOND_NS)
            for channel in _SOCKETS:
                self._send_on(channel, self.protocol.ping(self.utc_ns))

    def next_due_ns(self) -> int | None:
        """When `on_timer` should be called next."""
        times: list[int | None] = [self.requests.next_due_ns(), self._open_again_ns]
        if self.state is SessionState.LOGGING_IN:
            times.append(self._login_due_ns)
        if self.state in REACHES_VENUE:
            times += [self._retry_ns, self.doubts.next_due_ns(), self._clock.due_ns]
            times += [self._keep_due_ns, self._ping_due_ns, self.mass.due_ns]
            times.append(min(self._stream_due.values(), default=None))
            if self.state is SessionState.UP:
                times += [rotation.due_ns for rotation in self._rotations.values()]
            is_quiet = self.state is SessionState.UP or self.doubts.is_quiet
            if self.comparison.unsent or (not self.comparison.is_running and is_quiet):
                times.append(self._compare_due_ns)
        due = [time for time in times if time is not None]
        return min(due) if due else None
