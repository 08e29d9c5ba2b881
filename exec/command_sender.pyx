# cython: language_level=3, freethreading_compatible=False
"""The sending half of a venue session: commands gathered per duty cycle, batched, paid for, sent."""

from libc.stdint cimport int64_t

from exec.entry_writer cimport OrderEntries
from exec.order cimport Order
from exec.request cimport Request
from exec.venue_report cimport VenueReport

from exec.errors import OrderError
from exec.lifecycle import Event
from exec.order_protocol import RequestKind, Way
from exec.venue_commands import SessionCounts
from exec.venue_doubts import DoubtBook
from exec.venue_requests import RequestBook, Sent
from exec.venue_states import REACHES_VENUE, SessionState
from shm.enums import IntentKind, Reason
from shm.errors import JournalError

cdef object NEW = RequestKind.NEW
cdef object CANCEL = RequestKind.CANCEL
cdef object REPLACE = RequestKind.REPLACE
cdef object REST = Way.REST
cdef object UP = SessionState.UP
cdef object STOPPED = SessionState.STOPPED
cdef object DOWN = SessionState.DOWN
cdef object REACHES = REACHES_VENUE
cdef int I_NEW = int(IntentKind.NEW)
cdef int I_CANCEL = int(IntentKind.CANCEL)
cdef int I_REPLACE = int(IntentKind.REPLACE)
cdef int E_REJECTED = int(Event.REJECTED)
cdef int R_JOURNAL = int(Reason.JOURNAL)
cdef int R_VENUE_REJECTED = int(Reason.VENUE_REJECTED)
cdef int R_VENUE_LIMIT = int(Reason.VENUE_LIMIT)
cdef int R_NOT_RECEIVED = int(Reason.NOT_RECEIVED)
cdef int64_t SECOND = 1_000_000_000
#: A socket or ring that takes nothing now is tried again after so long.
RETRY_NS = 1_000_000
cdef int64_t _RETRY = RETRY_NS


def _unheard(_frame_ns, _since_ns):
    """Nobody wants to know when bytes left."""


cdef class Command:
    """A command that is not on the wire yet; `new_id` is a replace's own, `is_held`: the journal says so."""

    def __init__(self, kind, Order order, int64_t since_ns, int64_t not_before_ns=0):
        self.kind = kind
        self.order = order
        self.since_ns = since_ns
        self.not_before_ns = not_before_ns
        self.new_id = order.new_client_order_id if kind is REPLACE else 0
        self.is_held = False


cdef bint _is_settled(Command command) noexcept:
    """Whether a replace that waited means nothing any more: its order ended, or an answer settled it."""
    return not command.order.is_pending_replace or command.order.new_client_order_id != command.new_id


cdef class CommandSender:
    """The half of `exec.venue_session.VenueSession` that sends; see there."""

    def __init__(self, protocol, oms, link, *, utc_ns, rates, times, on_event):
        self.on_report = oms.apply_report
        self.protocol = protocol
        self.oms = oms
        self.link = link
        self.rates = rates
        self.times = times
        self.state = SessionState.DOWN
        self.is_connected = False
        #: Where it is journaled that a command waits here; None = nowhere.
        self.entries = None
        self.offset_ns = 0
        self.on_event = on_event
        #: Told each new order or replace when its bytes left: its frame_ns (0 = none), since when it waited.
        self.on_wire = _unheard
        self.counts = SessionCounts()
        self.requests = RequestBook()
        self.doubts = DoubtBook(times.doubt_ns, times.doubt_max_ns)
        self._utc_ns = utc_ns
        self._next_id = 1
        self._news, self._replaces, self._cancels = [], [], []
        self._is_eager = protocol.batch_from > 2
        self._retry_ns = None
        self._new_sent_ns = {}
        #: Instruments of all orders that were sent.
        self.traded = set()

    # ---- commands -------------------------------------------------------------------------------

    def accepts(self, int kind, instrument_id):
        """New orders and replaces pass when UP; cancels always, but when the venue has shut us out."""
        if kind == I_CANCEL:
            return self.state is not STOPPED and self.state is not DOWN
        if kind == I_REPLACE and not self.protocol.has_replace:
            return False
        return self.state is UP

    def new(self, Order order not None, int64_t now_ns):
        """Take a new order; it leaves now or with the next `flush`."""
        self.traded.add(order.instrument_id)
        self._take_command(NEW, order, now_ns)

    def cancel(self, Order order not None, int64_t now_ns):
        """Take a cancel; while the venue can not be reached it waits, and goes first when it can."""
        self._take_command(CANCEL, order, now_ns)

    def replace(self, Order order not None, int64_t now_ns):
        """Take a replace."""
        self._take_command(REPLACE, order, now_ns)

    cdef int _take_command(self, object kind, Order order, int64_t now_ns) except -1:
        """Send at once where gathering would only cost time, because batches go a slower way there."""
        cdef list queue = self._queue_of(kind)
        cdef Command held
        cdef bint is_free
        cdef int64_t wait_ns
        if kind is CANCEL:
            for held in queue:
                if held.order is order:
                    return 0  # one is enough, and each costs what the account may send
        is_free = self._is_eager and not self._news and not self._cancels and not self._replaces
        held = Command(kind, order, now_ns)
        if not is_free or self.state not in REACHES or order.root_client_order_id in self.requests.slow:
            queue.append(held)
            return 0
        try:
            wait_ns = self.send(self._encode(kind, [order]), now_ns, [order])
        except OrderError:
            queue.append(held)  # said with the next flush: never from inside a command
            return 0
        if not wait_ns:
            self._left(kind, [held])
            return 0
        queue.append(held)
        if wait_ns > 0:
            self._keep_back(held, now_ns)
        return 0

    cdef list _queue_of(self, object kind):
        if kind is NEW:
            return self._news
        return self._cancels if kind is CANCEL else self._replaces

    cdef int _set_queue(self, object kind, list commands) except -1:
        if kind is NEW:
            self._news = commands
        elif kind is CANCEL:
            self._cancels = commands
        else:
            self._replaces = commands
        return 0

    @property
    def utc_ns(self):
        """The venue's clock, as far as it was measured."""
        return self._utc_ns() + self.offset_ns

    @property
    def in_doubt(self):
        """See `OrderSession`."""
        return self.doubts.unanswered()

    @property
    def queued(self):
        """Commands that are not on the wire."""
        return len(self._news) + len(self._replaces) + len(self._cancels)

    def flush(self, int64_t now_ns):
        """Put on the wire what was gathered: cancels first, in as few requests as the venue makes worth it.

        A cancel never overtakes the order it is for, nor a replace that is still on its way by REST.
        """
        self._retry_ns = None
        if self.state not in REACHES:
            return
        self._send_queue(CANCEL, now_ns)
        if self._replaces:
            self._send_queue(REPLACE, now_ns)
        if self._news:
            self._send_queue(NEW, now_ns)
        if self._cancels:
            self._send_queue(CANCEL, now_ns)

    cdef int _send_queue(self, object kind, int64_t now_ns) except -1:
        cdef list commands = self._queue_of(kind)
        cdef list ready, later
        cdef set ahead
        cdef Command command
        cdef int64_t wait_ns
        cdef dict slow
        if not commands:
            return 0
        ready, later = [], []
        ahead = self._roots_ahead(kind)
        slow = self.requests.slow
        for command in commands:
            root = command.order.root_client_order_id
            if kind is CANCEL and command.order.is_terminal:
                continue
            if kind is REPLACE and _is_settled(command):
                continue
            if root in slow or (ahead is not None and root in ahead) or command.not_before_ns > now_ns:
                later.append(command)
                self._keep_back(command, now_ns)
            else:
                ready.append(command)
            if command.not_before_ns > now_ns:
                self._retry_at(command.not_before_ns)
        self._set_queue(kind, later)
        for group in self._groups(kind, ready):
            wait_ns = self._send_group(kind, group, now_ns)
            if wait_ns:
                self._hold(kind, group, wait_ns, now_ns)
        return 0

    cdef set _roots_ahead(self, object kind):
        """Orders with another command in the queue that must go first; None = there are none."""
        cdef Command command
        if kind is NEW:
            return None
        cdef list before = self._news if kind is REPLACE else self._news + self._replaces
        if not before:
            return None
        cdef set roots = set()
        for command in before:
            roots.add(command.order.root_client_order_id)
        return roots

    cdef list _groups(self, object kind, list commands):
        cdef Command command
        cdef int most, batch_from = self.protocol.batch_from
        cdef dict by_key
        cdef list groups = [], rows
        if len(commands) < batch_from:
            for command in commands:
                groups.append([command])
            return groups
        protocol = self.protocol
        if kind is NEW:
            most = protocol.max_new_batch
        else:
            most = protocol.max_cancel_batch if kind is CANCEL else protocol.max_replace_batch
        by_key = {}
        for command in commands:
            key = protocol.batch_key(kind, command.order)
            found = by_key.get(key)
            if found is None:
                by_key[key] = [command]
            else:
                (<list> found).append(command)
        for rows in by_key.values():
            if len(rows) < batch_from:
                for command in rows:
                    groups.append([command])
            else:
                for at in range(0, len(rows), most):
                    groups.append(rows[at : at + most])
        return groups

    cdef int64_t _send_group(self, object kind, list group, int64_t now_ns) except? -2:
        """Send one request; 0 = done (or refused for good), else how long to wait."""
        cdef Command command
        cdef Request request
        cdef int64_t wait_ns
        cdef bint is_paid = False
        cdef list orders = []
        for command in group:
            orders.append(command.order)
            is_paid = is_paid or command.is_held
        try:
            request = self._encode(kind, orders)
        except OrderError as error:
            if len(group) == 1:
                self._refuse_unsent(group[0], R_VENUE_REJECTED, now_ns)
                self.on_event("encode", str(error))
                return 0
            wait_ns = -1
        else:
            # What waited is journaled once more before it leaves, and it does not leave unpaid.
            wait_ns = self.pay([request], now_ns) if is_paid and request.rates else 0
            if not wait_ns:
                if is_paid and not self._release(kind, group, now_ns):
                    return 0
                wait_ns = self.send(request, now_ns, orders, is_paid)
            if wait_ns >= 0:
                if not wait_ns:
                    self._left(kind, group)
                return wait_ns
        if len(group) > 1:
            # Each is sent or held by itself: one that left must not be sent again, nor refused as if it had not.
            for command in group:
                wait_ns = self._send_group(kind, [command], now_ns)
                if wait_ns:
                    self._hold(kind, [command], wait_ns, now_ns)
            return 0
        self._refuse_unsent(group[0], R_VENUE_LIMIT, now_ns)
        return 0

    cdef Request _encode(self, object kind, list orders):
        cdef int64_t utc_ns = <int64_t> self._utc_ns() + self.offset_ns
        if kind is NEW:
            return self.protocol.new(orders, self._next_id, utc_ns)
        if kind is CANCEL:
            return self.protocol.cancel(orders, self._next_id, utc_ns)
        return self.protocol.replace(orders, self._next_id, utc_ns)

    cdef int _left(self, object kind, list group) except -1:
        cdef Command command
        if len(group) > 1:
            self.counts.batches += 1
            self.counts.batched += len(group)
        if kind is not CANCEL:
            for command in group:
                self.on_wire(command.order.frame_ns if kind is NEW else 0, command.since_ns)
        return 0

    def pay(self, requests, int64_t now_ns):
        """Pay for requests of one lane and instrument, all or none of them; returns as `send`."""
        costs = {}
        for request in requests:
            for purpose, weight in request.rates:
                costs[purpose] = costs.get(purpose, 0) + weight
        first = requests[0]
        wait_ns = self.rates.take(tuple(costs.items()), int(first.lane), first.instrument_id, now_ns)
        self.counts.rate_waits += wait_ns > 0
        return wait_ns

    cpdef int64_t send(self, Request request, int64_t now_ns, orders=(), bint is_paid=False) except? -2:
        """Pay for a request, unless that is done, and send it.

        Returns:
            0 = sent; above 0 = try again after so many ns; -1 = it can never be paid for.
        """
        cdef int64_t wait_ns, limit_ns
        cdef bint by_rest = request.way is REST
        cdef Order order
        cdef dict waiting
        if not is_paid and request.rates:
            wait_ns = self.rates.take(request.rates, int(request.lane), request.instrument_id, now_ns)
            if wait_ns:
                self.counts.rate_waits += wait_ns > 0
                return wait_ns
        if not (self.link.send_rest(request) if by_rest else self.link.send_order(request.frame)):
            return _RETRY
        if request.request_id >= self._next_id:
            self._next_id = request.request_id + 1
        self.counts.requests += 1
        waiting = {}
        for order in orders:
            waiting[order.root_client_order_id] = order
        # Of a command by REST no answer is waited for beyond its life: by then a question says more.
        limit_ns = self.times.rest_answer_ns if by_rest and not waiting else self.times.socket_answer_ns
        self.requests.add(Sent(request, now_ns, now_ns + limit_ns, waiting))
        for order in orders:
            if by_rest and request.kind is not CANCEL:  # another cancel may well overtake a cancel
                self.requests.slow[order.root_client_order_id] = request.request_id
            if request.kind is NEW:
                order.send_ns = now_ns
                self._new_sent_ns[order.root_client_order_id] = now_ns
        return 0

    cdef int _hold(self, object kind, list group, int64_t wait_ns, int64_t now_ns) except -1:
        """Keep what can not be paid for now; what waited too long is refused, cancels never are."""
        cdef Command command
        cdef int64_t most_ns = self.times.new_wait_ns
        for command in group:
            if kind is not CANCEL and now_ns - command.since_ns >= most_ns:
                self.counts.rate_refused += 1
                self._refuse_unsent(command, R_VENUE_LIMIT, now_ns)
                continue
            self._keep_back(command, now_ns)
            command.not_before_ns = now_ns + wait_ns
            if kind is not CANCEL:
                command.not_before_ns = min(command.not_before_ns, command.since_ns + most_ns)
            self._queue_of(kind).append(command)
            self._retry_at(command.not_before_ns)
        return 0

    cdef int _keep_back(self, Command command, int64_t now_ns) except -1:
        """Journal once that a new order or replace waits here: behind a kill it has then certainly not left.

        Of a cancel nothing is said: one that was wanted is sent again in any case.
        """
        if self.entries is None or command.is_held or command.kind is CANCEL:
            return 0
        try:
            self.entries.held(I_NEW if command.kind is NEW else I_REPLACE, command.order, now_ns)
        except JournalError:
            return 0  # it counts as sent, and is asked about
        command.is_held = True
        return 0

    cdef int _release(self, object kind, list group, int64_t now_ns) except -1:
        """Journal that commands which waited leave now; 0 = it can not be journaled: they were refused."""
        cdef Command command
        try:
            for command in group:
                if command.is_held:
                    self.entries.released(I_NEW if kind is NEW else I_REPLACE, command.order, now_ns)
                    command.is_held = False
        except JournalError:
            for command in group:
                self._refuse_unsent(command, R_JOURNAL, now_ns)
            return 0
        return 1

    cdef int _retry_at(self, int64_t due_ns) except -1:
        if self._retry_ns is None or due_ns < <int64_t> self._retry_ns:
            self._retry_ns = due_ns
        return 0

    cdef int _refuse_unsent(self, Command command, int reason, int64_t now_ns) except -1:
        """It never left this process, and never will: that much we know ourselves."""
        cdef Order order = command.order
        if command.kind is CANCEL:
            if order.is_pending_cancel:
                self.oms.cancel_not_sent(order, reason, now_ns)
        elif command.kind is REPLACE:
            if order.is_pending_replace:
                self.oms.replace_not_sent(order, reason, now_ns)
        else:
            self.oms.apply_report(self.report_of(E_REJECTED, order, reason), now_ns)
        return 0

    def refuse_queue(self, int64_t now_ns, *, bint cancels):
        """Refuse what is queued: new orders and replaces, and cancels too if nothing can be sent any more."""
        cdef Command command
        for kind in (REPLACE, NEW, CANCEL) if cancels else (REPLACE, NEW):
            commands = self._queue_of(kind)
            self._set_queue(kind, [])
            for command in commands:
                self._refuse_unsent(command, R_NOT_RECEIVED, now_ns)

    def requeue_cancel(self, Order order not None, int64_t not_before_ns, int64_t now_ns):
        """A cancel of which the venue did nothing is sent again; one that waits already is enough."""
        cdef Command command
        for command in self._cancels:
            if command.order is order:
                return
        self._cancels.append(Command(CANCEL, order, now_ns, not_before_ns))
        self._retry_at(not_before_ns)

    def hasten_cancel(self, Order order not None, int64_t now_ns):
        """Let a cancel that waits for its time go with the next flush; none waits: nothing is done."""
        cdef Command command
        for command in self._cancels:
            if command.order is order:
                command.not_before_ns = now_ns
                self._retry_at(now_ns)

    @staticmethod
    def report_of(int event, Order order not None, int reason):
        """A report about one of our orders that the venue did not put into words."""
        return VenueReport(event, order.root_client_order_id, order.instrument_id, order.side, reason=reason)

    def forget(self):
        """Wait for no answer to what was sent: the orders are nobody's (a rehearsal's)."""
        self.requests = RequestBook()
        self._new_sent_ns.clear()

    def take_id(self):
        """The number of the next request."""
        self._next_id += 1
        return self._next_id - 1

    def not_found_ns(self, Order order not None, int64_t now_ns):
        """From when on a question that finds nothing proves that the venue will never have the order."""
        life_ns = round(self.protocol.request_life_s * SECOND) + self.times.life_margin_ns
        # Of one that the process before this one sent: no later than the first time it was in doubt here.
        sent_ns = self._new_sent_ns.setdefault(order.root_client_order_id, order.send_ns or now_ns)
        return min(sent_ns, now_ns) + life_ns

    def doubt(self, Order order not None, int64_t now_ns, int64_t delay_ns=0, *, bint must_ask=False):
        """Have the venue asked about an order."""
        self.doubts.add(order, now_ns + delay_ns, self.not_found_ns(order, now_ns), must_ask=must_ask)
