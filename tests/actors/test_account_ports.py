"""A gateway's way to the account actor: what a dead one took along is answered for by nobody, and known."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from actors.account_ports import LIFE_MASK, TAKEN_UP_NS, RestPort, pack_answer
from actors.runtime.host import Host
from exec.order_protocol import Lane, Request, RequestKind, Way
from shm.blobs import BlobConsumer, BlobProducer
from shm.control import Control
from shm.enums import WorkerState
from shm.spsc import SpscRing

GATEWAY, ACCOUNT, SLOT_BYTES = 2, 1, 128
SECOND = 1_000_000_000


class Scene:
    """A port, its two rings, and the account actor's slot."""

    def __init__(self) -> None:
        self.rings: dict[str, SpscRing] = {}
        self.control = Control.create(bytearray(Control.bytes_needed()), 1, 1)
        self.account = self.control.slot(ACCOUNT)
        self.account.incarnation, self.account.state = 1, int(WorkerState.RUNNING)
        self.answers: list[tuple[int, int, bytes]] = []
        self.polls: list[Any] = []
        host = SimpleNamespace(
            spec=SimpleNamespace(slot=GATEWAY, account_slot=ACCOUNT, incarnation=3),
            control=self.control,
            bells=None,
            spsc=self._ring,
            inbound=self._ring,
            add_source=self.polls.append,
        )
        self.port = RestPort(cast(Host, host), {0: self._answer})
        self.reader = BlobConsumer(self.rings[f"rest.{GATEWAY}.{ACCOUNT}"], None)
        self.writer = BlobProducer(self.rings[f"rest-answers.{ACCOUNT}.{GATEWAY}"], None, ACCOUNT)

    def _ring(self, name: str, _kind: object) -> SpscRing:
        size = SpscRing.bytes_needed(64, SLOT_BYTES)
        return self.rings.setdefault(name, SpscRing.create(bytearray(size), 64, SLOT_BYTES))

    def _answer(self, request: Request, status: int, _headers: dict[str, str], body: bytes) -> None:
        self.answers.append((request.request_id, status, body))

    def ask(self, number: int) -> None:
        kind = RequestKind.OPEN_ORDERS
        request = Request(number, kind, Lane.RECONCILE, Way.REST, method="GET", path="/x")
        assert self.port.send(0, request)

    def serve(self) -> None:
        """The account actor answers all it finds."""
        for blob in self.reader.poll():
            assert self.writer.offer(blob.key, 200, pack_answer({}, b"yes"))
        self.port._poll(0)

    def reborn(self) -> None:
        self.account.incarnation += 1
        self.account.state = int(WorkerState.RUNNING)


def test_what_a_dead_account_actor_took_along_is_answered_for_once_its_successor_runs() -> None:
    scene = Scene()
    scene.ask(1)
    scene.port.look(SECOND)
    scene.reader.poll()  # taken, and never answered
    scene.account.state = int(WorkerState.FAILED)
    scene.ask(2)  # nobody reads now
    scene.port.look(2 * SECOND)
    assert scene.answers == []
    scene.reborn()
    scene.port.look(3 * SECOND)
    scene.serve()
    scene.ask(3)
    scene.port.look(3 * SECOND + TAKEN_UP_NS)
    # What still stood in the ring was served; what was asked of the successor is its to answer.
    assert scene.answers == [(2, 200, b"yes"), (1, 0, b"the account actor ended")]
    scene.serve()
    assert scene.answers[2:] == [(3, 200, b"yes")]
    scene.port.look(9 * SECOND)
    assert len(scene.answers) == 3


def test_a_successor_that_is_not_up_yet_is_waited_for() -> None:
    scene = Scene()
    scene.ask(1)
    scene.reader.poll()
    scene.account.incarnation, scene.account.state = 2, int(WorkerState.STARTING)
    for second in range(1, 5):
        scene.port.look(second * SECOND)
    assert scene.answers == []
    scene.reborn()  # it died while it started: the third is the one that runs
    scene.port.look(5 * SECOND)
    scene.port.look(5 * SECOND + TAKEN_UP_NS)
    assert [answer[:2] for answer in scene.answers] == [(1, 0)]


def test_an_answer_that_comes_after_all_is_nobodys() -> None:
    scene = Scene()
    scene.ask(1)
    (blob,) = scene.reader.poll()
    scene.reborn()
    scene.port.look(SECOND)
    scene.port.look(2 * SECOND)
    assert scene.writer.offer(blob.key, 200, pack_answer({}, b"late"))
    scene.port._poll(0)
    assert [answer[:2] for answer in scene.answers] == [(1, 0)]
    assert blob.key >> 32 & LIFE_MASK == 3  # numbers of one life of the gateway are not those of another
