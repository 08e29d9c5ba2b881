"""Signed REST requests between a gateway and the account actor: what travels in the two blob rings.

A request is signed where the keys are, in the gateway's worker; the account actor only sends it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import orjson

from actors.runtime import spec as names
from actors.runtime.mailboxes import CallSource
from exec.order_protocol import Request
from shm.blobs import BlobConsumer, BlobProducer
from shm.enums import SegmentKind, WorkerState

if TYPE_CHECKING:
    from actors.runtime.host import Host

ORDER_ANSWERS = 15  # behind intents, before anything cold
NUMBER_BITS = 48
#: The upper bits of a number are the incarnation that asked.
LIFE_SHIFT, LIFE_MASK = 32, 0xFFFF
#: Requests whose answer never came are forgotten beyond so many.
WAITING_MAX = 4_096
#: What a dead account actor left in the ring its successor has sent, and mostly answered, by then.
TAKEN_UP_NS = 250_000_000
_RUNNING = int(WorkerState.RUNNING)

OnAnswer = Callable[[Request, int, dict[str, str], bytes], None]


def pack_request(request: Request) -> bytes:
    """The body of a request blob."""
    return orjson.dumps(
        [request.method, request.path, list(request.headers), request.body.decode("utf-8", "strict")]
    )


def unpack_request(body: bytes) -> tuple[str, str, dict[str, str], bytes]:
    """(method, path, headers, body) of a request blob."""
    method, path, headers, text = orjson.loads(body)
    return method, path, dict(headers), text.encode()


def pack_answer(headers: dict[str, str], body: bytes) -> bytes:
    """The body of an answer blob: headers as one JSON line, then the venue's body as it came."""
    return orjson.dumps(headers) + b"\n" + body


def unpack_answer(body: bytes) -> tuple[dict[str, str], bytes]:
    """(headers, body) of an answer blob."""
    line, _, rest = body.partition(b"\n")
    return orjson.loads(line), rest


class RestPort:
    """A gateway's way to the account actor.

    Args:
        host: of the gateway's worker.
        on_answer: by account number, told each answer.
    """

    def __init__(self, host: Host, on_answer: dict[int, OnAnswer]) -> None:
        slot, account = host.spec.slot, host.spec.account_slot
        self._on_answer = on_answer
        # By number: the request, and which incarnation of the account actor it was for.
        self._waiting: dict[int, tuple[Request, int]] = {}
        self._worker = host.control.slot(account)
        self._asked_of = self._worker.incarnation
        self._successor_ns = 0
        # Request numbers begin anew with each process: what its predecessor asked is not its answer.
        self._life = (host.spec.incarnation & LIFE_MASK) << LIFE_SHIFT
        ring = host.spsc(names.rest_requests_name(slot, account), SegmentKind.BLOB_RING)
        self._producer = BlobProducer(ring, host.bells, slot)
        answers = host.inbound(names.rest_answers_name(account, slot), SegmentKind.BLOB_RING)
        self._answers = BlobConsumer(answers, host.bells)
        host.add_source(CallSource(ORDER_ANSWERS, self._poll, self._answers.pending))

    def send(self, account: int, request: Request) -> bool:
        """Hand a request over; False = the account actor is behind."""
        key = account << NUMBER_BITS | self._life | request.request_id
        if not self._producer.offer(key, 0, pack_request(request)):
            return False
        if len(self._waiting) >= WAITING_MAX:
            del self._waiting[next(iter(self._waiting))]
        self._waiting[key] = request, self._worker.incarnation
        return True

    def look(self, now_ns: int) -> None:
        """Answer for an account actor that died what it took along: nobody else will (status 0)."""
        life = self._worker.incarnation
        if life == self._asked_of or self._worker.state != _RUNNING:
            self._successor_ns = 0
            return
        self._successor_ns = self._successor_ns or now_ns
        if now_ns - self._successor_ns < TAKEN_UP_NS:
            return
        self._asked_of = life
        for key in [key for key, (_, asked_of) in self._waiting.items() if asked_of != life]:
            waiting = self._waiting.pop(key, None)
            handler = self._on_answer.get(key >> NUMBER_BITS)
            if waiting is not None and handler is not None:
                handler(waiting[0], 0, {}, b"the account actor ended")

    def _poll(self, limit: int) -> int:
        del limit  # bodies are few and whole
        answers = self._answers.poll()
        for blob in answers:
            waiting = self._waiting.pop(blob.key, None)
            handler = self._on_answer.get(blob.key >> NUMBER_BITS)
            if waiting is not None and handler is not None:
                headers, body = unpack_answer(blob.body)
                handler(waiting[0], blob.status, headers, body)
        return len(answers)
