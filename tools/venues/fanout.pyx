# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, freethreading_compatible=False
"""Fan-out of stream payloads to clients as ready websocket frames, many frames per socket write."""
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memcpy


cdef class Outbox:
    """Frames waiting for the next socket write of one client.

    Server frames are not masked (RFC 6455 section 5.1), so a batch of them is plain bytes that one write can carry.
    `combined` says which form this client gets: payloads wrapped with their stream name, or bare.
    """

    def __cinit__(self, bint combined):
        self.combined = combined
        self.capacity = 65536
        self.data = <char*> malloc(self.capacity)
        if self.data == NULL:
            raise MemoryError

    def __dealloc__(self):
        free(self.data)

    def set_combined(self, bint combined):
        """Switch between wrapped and bare payloads for the frames that follow."""
        self.combined = combined

    @property
    def pending_bytes(self):
        """Bytes appended since the last `take`."""
        return self.size

    def append(self, bytes payload not None):
        """Append one text frame."""
        self.append_text(NULL, 0, PyBytes_AS_STRING(payload), PyBytes_GET_SIZE(payload), NULL, 0)

    def take(self):
        """Return all pending bytes and start empty."""
        cdef bytes out = PyBytes_FromStringAndSize(self.data, self.size)
        self.size = 0
        return out

    cdef int reserve(self, Py_ssize_t more) except -1:
        cdef Py_ssize_t wanted
        cdef char* grown
        if self.size + more <= self.capacity:
            return 0
        wanted = self.capacity
        while wanted < self.size + more:
            wanted *= 2
        grown = <char*> realloc(self.data, wanted)
        if grown == NULL:
            raise MemoryError
        self.data = grown
        self.capacity = wanted
        return 0

    cdef int append_text(self, const char* head, Py_ssize_t head_size, const char* body, Py_ssize_t body_size,
                         const char* tail, Py_ssize_t tail_size) except -1:
        cdef Py_ssize_t payload = head_size + body_size + tail_size
        cdef unsigned char* p
        cdef int i
        self.reserve(payload + 10)
        p = <unsigned char*> self.data + self.size
        p[0] = 0x81
        if payload < 126:
            p[1] = <unsigned char> payload
            p += 2
        elif payload < 65536:
            p[1] = 126
            p[2] = <unsigned char> (payload >> 8)
            p[3] = <unsigned char> payload
            p += 4
        else:
            p[1] = 127
            for i in range(8):
                p[2 + i] = <unsigned char> (<unsigned long long> payload >> (56 - 8 * i))
            p += 10
        if head_size:
            memcpy(p, head, head_size)
            p += head_size
        memcpy(p, body, body_size)
        p += body_size
        if tail_size:
            memcpy(p, tail, tail_size)
            p += tail_size
        self.size = <char*> p - self.data
        self.frames += 1
        return 0


cdef class Stream:
    """One named stream of a venue and the clients that subscribed to it.

    name: the venue's stream name; kind: what statistics call it (depth, trade …); prefix: bytes before the
    payload in the wrapped form, whose end is always `}`.
    """

    def __init__(self, str name, str kind, bytes prefix):
        self.name = name
        self.kind = kind
        self.prefix = prefix
        self.outboxes = []

    def add(self, Outbox outbox not None):
        """Subscribe a client; False when it is subscribed already."""
        if outbox in self.outboxes:
            return False
        self.outboxes.append(outbox)
        self.subscribers = len(self.outboxes)
        return True

    def discard(self, Outbox outbox not None):
        """Unsubscribe a client; False when it was not subscribed."""
        if outbox not in self.outboxes:
            return False
        self.outboxes.remove(outbox)
        self.subscribers = len(self.outboxes)
        return True

    def publish(self, bytes payload not None):
        """Queue one bare payload for every subscriber, wrapped where the client asked for the combined form."""
        self.publish_ptr(PyBytes_AS_STRING(payload), PyBytes_GET_SIZE(payload))

    def publish_recorded(self, bytes frame not None, Py_ssize_t start, Py_ssize_t end):
        """Queue a recorded frame: combined clients get it whole, raw clients get `frame[start:end]`.

        `start` and `end` bound the payload inside the wrapper. ValueError when they do not lie in the frame.
        """
        cdef Outbox outbox
        cdef const char* p = PyBytes_AS_STRING(frame)
        cdef Py_ssize_t size = PyBytes_GET_SIZE(frame)
        if start < 0 or end < start or end > size:
            raise ValueError(f"payload [{start}:{end}] is not inside a frame of {size} bytes")
        self.offered += 1
        for outbox in self.outboxes:
            if outbox.combined:
                outbox.append_text(NULL, 0, p, size, NULL, 0)
            else:
                outbox.append_text(NULL, 0, p + start, end - start, NULL, 0)
        self.frames += self.subscribers

    cdef int publish_ptr(self, const char* payload, Py_ssize_t size) except -1:
        cdef Outbox outbox
        self.offered += 1
        if not self.subscribers:
            return 0
        for outbox in self.outboxes:
            if outbox.combined:
                outbox.append_text(PyBytes_AS_STRING(self.prefix), PyBytes_GET_SIZE(self.prefix), payload, size, b"}", 1)
            else:
                outbox.append_text(NULL, 0, payload, size, NULL, 0)
        self.frames += self.subscribers
        return 0
