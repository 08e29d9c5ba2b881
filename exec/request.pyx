# cython: language_level=3, freethreading_compatible=False
"""One thing to send to a venue; compiled, because every order makes one."""


cdef class Request:
    """One thing to send; nothing of it changes.

    Args:
        request_id: ours, unique within the session; on the wire wherever the venue has a place for it.
        kind: what it asks (`exec.order_protocol.RequestKind`).
        lane: whose budget it takes.
        way: socket or REST.
        order_ids: root client order ids it is about, in the order of the venue's array.
        instrument_id: of its orders; -1 = no particular one.
        frame: the bytes of a socket request.
        method, path, body, headers: of a REST request; `path` includes the query, everything is signed.
        rates: (bucket name of the venue's limits table, weight) that it costs.
    """

    def __init__(
        self, request_id, kind, lane, way, tuple order_ids=(), instrument_id=-1, bytes frame=b"", str method="",
        str path="", bytes body=b"", tuple headers=(), tuple rates=(),
    ):
        self.request_id = request_id
        self.kind = kind
        self.lane = lane
        self.way = way
        self.order_ids = order_ids
        self.instrument_id = instrument_id
        self.frame = frame
        self.method = method
        self.path = path
        self.body = body
        self.headers = headers
        self.rates = rates

    cdef tuple _fields(self):
        return (
            self.request_id, self.kind, self.lane, self.way, self.order_ids, self.instrument_id, self.frame,
            self.method, self.path, self.body, self.headers, self.rates,
        )

    def __eq__(self, other):
        if type(other) is not Request:
            return NotImplemented
        return self._fields() == (<Request> other)._fields()

    def __hash__(self):
        return hash(self._fields())

    def __repr__(self):
        # Frames, paths and headers hold signatures and keys.
        return f"Request({self.request_id}, {self.kind!r}, {self.way!r}, orders {self.order_ids})"
