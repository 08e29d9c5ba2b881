# cython: language_level=3, freethreading_compatible=False
"""Websocket clients on picows: a compiled listener that stamps and hands on frames, and a connection that comes back.

A frame is stamped first of all, then handed on in place: no copy, no task, no queue between socket and core.
"""

import asyncio
import sys

from cpython.bytearray cimport PyByteArray_AS_STRING, PyByteArray_GET_SIZE
from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport int64_t, uint64_t
from picows.picows cimport WSFrame, WSListener, WSMsgType, WSTransport

from picows import WSError, ws_connect

from feeds.transport.reconnect import ReconnectPolicy, ReconnectState
from feeds.transport import throttle
from shm.clock cimport c_now_ns

CLOSE_TOO_BIG = 1009
TEXT = 1


cdef inline bint is_followed(WSFrame frame) noexcept:
    # picows parses one frame ahead and answers a ping itself: what follows is delivered if it is data, and else maybe not.
    return (
        not frame.last_in_buffer and frame.tail_size > 0
        and (<unsigned char>frame.payload_ptr[frame.payload_size] & 0x0F) <= <int>WSMsgType.BINARY
    )


cdef class FrameListener(WSListener):
    """Base of the listeners: stamps frames at entry, puts fragments together, answers a close, counts faults.

    `frame_bytes_max` bounds a message put together from fragments. A handler that raises costs this one frame: it is
    counted in `faults`, its text kept in `last_fault`, its traceback logged, and the connection goes on. `on_batch_end` is
    called when no other frame of the same socket read will follow, whatever became of the last one.
    """

    def __cinit__(self, *args, **kwargs):
        self.last_fault = ""
        self.close_text = ""

    def __init__(self, Py_ssize_t frame_bytes_max=16 * 1024 * 1024):
        self._frame_bytes_max = frame_bytes_max

    cdef int on_text(self, const char *p, Py_ssize_t n, int64_t frame_ns) except -1:
        return 0

    cdef void on_batch_end(self) noexcept:
        pass

    cpdef on_ws_connected(self, WSTransport transport):
        self.is_open = True

    cdef int _deliver(self, const char *p, Py_ssize_t n, int64_t frame_ns) except -1:
        cdef bint is_done = False
        self.alive_ns = frame_ns
        self.frames += 1
        try:
            self.on_text(p, n, frame_ns)
            is_done = True
        finally:
            if not is_done:
                self.faults += 1
                self.last_fault = repr(sys.exc_info()[1])
        return 0

    cpdef on_ws_frame(self, WSTransport transport, WSFrame frame):
        cdef int64_t frame_ns = c_now_ns()
        try:
            self._take(transport, frame, frame_ns)
        finally:
            if not is_followed(frame):
                self.on_batch_end()

    cpdef is_user_specific_pong(self, WSFrame frame):
        # A pong that is waited for goes no further than here.
        self.on_batch_end()
        return WSListener.is_user_specific_pong(self, frame)

    cdef int _take(self, WSTransport transport, WSFrame frame, int64_t frame_ns) except -1:
        if frame.msg_type == WSMsgType.TEXT and frame.fin:
            self._deliver(frame.payload_ptr, frame.payload_size, frame_ns)
        elif frame.msg_type == WSMsgType.CLOSE:
            self.close_text = f"closed by the peer: code {int(frame.get_close_code())} {frame.get_close_reason() or ''}".rstrip()
            transport.send_close(frame.get_close_code())
            transport.disconnect()
        elif frame.msg_type == WSMsgType.BINARY and frame.fin:
            # No venue of ours sends any: the decoder rejects and keeps it.
            self._deliver(frame.payload_ptr, frame.payload_size, frame_ns)
        elif frame.msg_type in (WSMsgType.TEXT, WSMsgType.BINARY, WSMsgType.CONTINUATION):
            self._on_part(transport, frame, frame_ns)
        return 0

    cdef int _on_part(self, WSTransport transport, WSFrame frame, int64_t frame_ns) except -1:
        cdef bytearray whole
        if frame.msg_type != WSMsgType.CONTINUATION or self._parts is None:
            self._parts = bytearray()
        if PyByteArray_GET_SIZE(self._parts) + frame.payload_size > self._frame_bytes_max:
            self._parts = None
            self.oversized += 1
            self.close_text = f"a fragmented message is over {self._frame_bytes_max} bytes"
            transport.send_close(CLOSE_TOO_BIG)
            transport.disconnect()
            return 0
        self._parts += PyBytes_FromStringAndSize(frame.payload_ptr, frame.payload_size)
        if frame.fin:
            whole = self._parts
            self._parts = None
            self._deliver(PyByteArray_AS_STRING(whole), PyByteArray_GET_SIZE(whole), frame_ns)
        return 0


cdef class CallbackListener(FrameListener):
    """Hands each frame to a Python callable as (bytes, frame_ns).

    `on_open` is called once the handshake is done; what it raises ends the connection.
    """

    def __init__(self, handler, Py_ssize_t frame_bytes_max=16 * 1024 * 1024, *, on_open=None):
        FrameListener.__init__(self, frame_bytes_max)
        self._handler = handler
        self._on_open = on_open

    cpdef on_ws_connected(self, WSTransport transport):
        self.is_open = True
        if self._on_open is not None:
            self._on_open()

    cdef int on_text(self, const char *p, Py_ssize_t n, int64_t frame_ns) except -1:
        self._handler(PyBytes_FromStringAndSize(p, n), frame_ns)
        return 0


cdef class FeedListener(FrameListener):
    """Hands each frame of one connection to a feed session's pump, and tells the session when the socket comes or goes.

    `session` is a `feeds.session.FeedSession`, `connection` its number there.
    """

    def __init__(self, session, int64_t connection, Py_ssize_t frame_bytes_max=16 * 1024 * 1024):
        FrameListener.__init__(self, frame_bytes_max)
        self._session = session
        self._pump = session.pump
        self.connection = connection

    cdef int on_text(self, const char *p, Py_ssize_t n, int64_t frame_ns) except -1:
        self._pump.on_text(p, n, frame_ns, self.connection)
        return 0

    cdef void on_batch_end(self) noexcept:
        self._pump.end_batch()

    cpdef on_ws_connected(self, WSTransport transport):
        self.is_open = True
        self._session.on_connected(self.connection, c_now_ns())

    cpdef on_ws_disconnected(self, WSTransport transport):
        self._pump.end_batch()
        self._session.on_disconnected(self.connection, c_now_ns())


class FeedConnection:
    """One websocket of a feed session that is connected, subscribed and, when lost, connected again.

    `run()` does that until `close()`. Failed attempts and lost connections are counted and named in `last_error`; none
    ends the loop. `make_listener` gives the FrameListener of each new socket, a FeedListener of `session` if it is not given
    (`session` may then be None). `random` returns values in [0, 1) for the jitter; `sleep` waits between attempts. `gate`
    (a ConnectGate that all connections to an address share) says when an attempt may be made.
    """

    def __init__(
        self, url, session, connection_id, *, subscribe=(), random, ssl_context=None, policy=None,
        subscribe_per_second=5.0, handshake_timeout_s=10.0, ping_idle_s=10.0, frame_bytes_max=16 * 1024 * 1024,
        receive_buffer_bytes=0, sleep=asyncio.sleep, make_listener=None, gate=None,
    ):
        self.url = url
        self.session = session
        self.connection_id = connection_id
        self.listener = None
        self.connects = 0
        self.connect_errors = 0
        self.last_error = ""
        self._subscribe = tuple(subscribe)
        self._random = random
        self._ssl_context = ssl_context
        self._state = ReconnectState(policy or ReconnectPolicy())
        self._interval_s = 1.0 / subscribe_per_second
        self._handshake_timeout_s = handshake_timeout_s
        self._ping_idle_s = ping_idle_s
        self._frame_bytes_max = frame_bytes_max
        self._receive_buffer_bytes = receive_buffer_bytes
        self._sleep = sleep
        self._make_listener = make_listener or self._feed_listener
        self._gate = gate
        self._sent_ns = 0
        self._transport = None
        self._pause = None
        self._is_closing = False
        self._totals = {"frames": 0, "faults": 0, "oversized": 0}

    @property
    def is_connected(self):
        """Whether the socket stands now."""
        return self._transport is not None

    async def run(self):
        """Keeps the connection up until `close()`. Must be awaited or held as a task."""
        while not self._is_closing:
            await self._pass_gate()
            if self._is_closing:
                break
            connects = self.connects
            await self._run_once()
            if self._is_closing:
                break
            if self._gate is not None and self.connects == connects:
                self._gate.on_failure(c_now_ns())
            delay_ns = self._state.on_lost(c_now_ns(), self._random())
            await self._wait(delay_ns / throttle.SECOND_NS)

    async def _pass_gate(self):
        while self._gate is not None and not self._is_closing:
            delay_ns = self._gate.delay_ns(c_now_ns())
            if not delay_ns:
                return
            await self._wait(delay_ns / throttle.SECOND_NS)

    def _feed_listener(self):
        return FeedListener(self.session, self.connection_id, self._frame_bytes_max)

    async def _run_once(self):
        listener = self._make_listener()
        # Frames may arrive before ws_connect returns.
        self.listener = listener
        try:
            transport, _ = await ws_connect(
                lambda: listener, self.url, ssl_context=self._ssl_context, disconnect_on_exception=False,
                websocket_handshake_timeout=self._handshake_timeout_s, max_frame_size=self._frame_bytes_max,
                enable_auto_ping=True, auto_ping_idle_timeout=self._ping_idle_s,
                auto_ping_reply_timeout=self._ping_idle_s, max_redirects=0,
            )
        except (OSError, WSError, TimeoutError, asyncio.TimeoutError) as error:
            self.connect_errors += 1
            self.last_error = f"{self.url}: {type(error).__name__}: {error}"
            self._drop_listener()
            return
        if not listener.is_open:  # the peer hung up inside the handshake
            self.connect_errors += 1
            self.last_error = f"{self.url}: the peer ended the connection before the handshake was done"
            self._drop_listener()
            return
        self._transport = transport
        self.connects += 1
        self._sent_ns = c_now_ns()
        self._state.on_connected(self._sent_ns)
        if self._gate is not None:
            self._gate.on_success(self._sent_ns)
        if self._is_closing:  # close() came while the attempt was under way
            self.close()
        try:
            self._limit_receive_buffer(transport)
            await self._send_subscriptions(transport)
            await transport.wait_disconnected()
            self.last_error = f"{self.url}: {listener.close_text or 'connection lost'}"
        except (OSError, WSError) as error:
            self.last_error = f"{self.url}: {type(error).__name__}: {error}"
        finally:
            self._transport = None
            if not transport.is_disconnected:
                transport.disconnect(False)
            self._drop_listener()

    def _limit_receive_buffer(self, transport):
        # A kernel buffer of megabytes lets a fast feed pile up behind a slow reader instead of showing it.
        import socket
        raw = transport.underlying_transport.get_extra_info("socket")
        if raw is not None and self._receive_buffer_bytes:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self._receive_buffer_bytes)

    async def _send_subscriptions(self, transport):
        for index, message in enumerate(self._subscribe):
            if index:
                await self._wait(self._interval_s)
            if transport.is_disconnected or self._is_closing:
                return
            transport.send(WSMsgType.TEXT, message)

    async def _wait(self, seconds):
        self._pause = asyncio.ensure_future(self._sleep(seconds))
        try:
            await self._pause
        except asyncio.CancelledError:
            # close() cancels the pause alone; anything else means this task itself is canceled.
            if not self._is_closing:
                raise
        finally:
            self._pause = None

    @property
    def subscribe(self):
        """What is sent once a socket stands; a change counts from the next socket on."""
        return self._subscribe

    @subscribe.setter
    def subscribe(self, messages):
        self._subscribe = tuple(messages)

    def send(self, message):
        """Sends a text now; False = the socket does not stand, and nothing was sent."""
        if self._transport is None or self._transport.is_disconnected:
            return False
        self._sent_ns = c_now_ns()
        self._transport.send(WSMsgType.TEXT, message)
        return True

    def ping(self, message, after_ns):
        """Sends the venue's own ping if nothing was sent through `send` for `after_ns`."""
        if message and self._transport is not None and c_now_ns() - self._sent_ns >= after_ns:
            self.send(message)

    def reset(self, reason):
        """Drops the socket, so that a new one is made; `reason` is kept in `last_error`."""
        if self._transport is not None:
            self.listener.close_text = reason
            self._transport.disconnect(False)

    def close(self):
        """Ends the connection for good: a close frame is sent and `run()` returns."""
        self._is_closing = True
        if self._pause is not None:
            self._pause.cancel()
        if self._transport is not None:
            self._transport.send_close(1000)
            self._transport.disconnect()

    def _drop_listener(self):
        for name in self._totals:
            self._totals[name] += getattr(self.listener, name)
        self.listener = None

    def statistics(self):
        """Counts since the start, over all sockets this connection had."""
        totals = dict(self._totals)
        if self.listener is not None:
            for name in totals:
                totals[name] += getattr(self.listener, name)
        return {"connects": self.connects, "connect_errors": self.connect_errors, **totals}
