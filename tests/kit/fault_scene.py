"""A simulated venue with faults, and the real connection, session and core against it, watched closely.

The venue's true books come from the streams themselves, before any fault: an outbox of our own listens. At
every message a strategy asks the real gate for an order, and the real auditor goes round where a scene is
audited.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import replace
from typing import Any
from unittest.mock import patch

import orjson
import uvloop
from picows import WSFrame, WSMsgType, WSTransport

from actors.feed_care import AuditSettings
from feeds.adapter import HttpRequest, StreamSettings, join_answers
from feeds.auditor import Auditor
from feeds.errors import TransportError
from feeds.resync import snapshot_budget
from feeds.session import FeedSession
from feeds.settings import SessionSettings
from feeds.transport.reconnect import ReconnectPolicy
from feeds.transport.rest import HttpReply, RestClient
from feeds.transport.websocket import FeedConnection, FeedListener
from feeds.validation import ValidationSettings
from feeds.venues import get_adapter
from shm.clock import now_ns
from shm.enums import BookReason, RecordKind
from shm.instruments import Instrument
from shm.records import MarketRecord
from shm.units import parse_units
from tests.kit import feed_rig
from tests.kit.deciding import OF_BOOKS, Decider
from tools.venues.fanout import Outbox
from tools.venues.faults import parse_faults
from tools.venues.faults_frames import split_frames
from tools.venues.run import VenueRun, VenueSettings
from tools.venues.synthetic_source import SyntheticSettings

MS = 1_000_000
LEVELS = 200  # compared of each side: what a snapshot is too short for is no fault
KEPT = 20_000
LOOKED = 8
DEPTH = {
    "binance_usdm": "depth@0ms",
    "okx": "books",
    "bybit_linear": "orderbook.50",
    "bybit_spot": "orderbook.50",
}
#: As short a round as a venue's REST limit allows; every level that all venues' streams carry is compared.
AUDITS = AuditSettings(period_s=0.2, share=1.0, levels=100)
AUDITED = 50
Sides = tuple[dict[int, int], dict[int, int]]


class TrueBook:
    """The naive book of one symbol, fed by the venue before its faults, kept for each sequence."""

    def __init__(self, run: VenueRun, row: Instrument, stream: str) -> None:
        self.row = row
        self.sides: Sides = ({}, {})
        self.sequence = 0
        self.history: dict[int, list[list[tuple[int, int]]]] = {}
        self.outbox = Outbox(False)
        source = run.source
        first = source.welcome(stream)
        if first is None:
            first = source.snapshot(row.symbol, 1000)
        assert first is not None
        self._take(first)
        source.streams[stream].add(self.outbox)

    def drain(self) -> None:
        """Take what the venue has said since."""
        for payload in split_frames(self.outbox.take()):
            self._take(payload)

    def _take(self, payload: bytes) -> None:
        message: Any = orjson.loads(payload)
        data = message.get("data", message)
        data = data[0] if isinstance(data, list) else data
        kind = message.get("action") or message.get("type") or ("snapshot" if "lastUpdateId" in data else "")
        if kind == "snapshot":
            self.sides = ({}, {})
        sides = (data.get("bids", data.get("b")), data.get("asks", data.get("a")))
        for side, levels in zip(self.sides, sides, strict=True):
            for price_text, quantity_text, *_ in levels:
                price = parse_units(price_text, self.row.price_exponent)
                quantity = parse_units(quantity_text, self.row.quantity_exponent)
                side.pop(price, None)
                if quantity:
                    side[price] = quantity
        self.sequence = next(data[name] for name in ("lastUpdateId", "seqId", "u") if name in data)
        self.history[self.sequence] = [sorted(self.sides[0].items())[: -LEVELS - 1 : -1],
                                       sorted(self.sides[1].items())[:LEVELS]]  # fmt: skip
        if len(self.history) > KEPT:
            del self.history[next(iter(self.history))]


class Listening(FeedListener):
    """A listener that lets us send on its socket."""

    transport: WSTransport | None = None
    on_message: Callable[[], None]

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        super().on_ws_frame(transport, frame)
        self.on_message()

    def on_ws_connected(self, transport: WSTransport) -> None:
        self.transport = transport
        super().on_ws_connected(transport)


class FaultScene:
    """One venue, one feed; `wrong` lists when a LIVE or published book was not the venue's own.

    Args:
        shifts: by how much faults of the script shift the venue's numbers.
        settings: times of the session; None: short ones.
    """

    def __init__(
        self,
        venue: str,
        *,
        instruments: int = 2,
        rate_per_s: float = 800.0,
        with_checksum: bool = False,
        shifts: tuple[int, ...] = (),
        **settings: Any,
    ) -> None:
        self.venue = venue
        self.shifts = (0, *shifts)
        self.run = VenueRun(
            VenueSettings(venue, SyntheticSettings(instruments, rate_per_s, 7), every_change=True,
                          with_checksum=with_checksum)
        )  # fmt: skip
        self.adapter = get_adapter(venue)
        self.streams = StreamSettings(depth_stream=DEPTH[venue])
        self.wrong: list[str] = []
        #: Orders that passed on a book that was LIVE but not the venue's own.
        self.misled: list[str] = []
        #: Audits that called a book equal although it had been wrong before they began and still was.
        self.overlooked: list[str] = []
        self.sent: list[tuple[int, int]] = []
        self._wrong_before: dict[int, set[tuple[int, int, int]]] = {}
        self.reasons: set[str] = set()
        self.books_seen = 0
        self.resubscribes = 0
        self.is_ended = False
        self.auditor: Auditor | None = None
        self._turn = 0
        self.start_ns = now_ns()
        self.depth = self.adapter.choose_depth(instruments)
        # what lies deeper than a short snapshot is unknown until it changes
        self.compared = LEVELS if self.depth.levels > LEVELS else LOOKED
        tokens, per_second = snapshot_budget(self.adapter.snapshot_weight_per_minute, self.depth.weight)
        self.settings = replace(
            SessionSettings(
                # A machine that let nobody run shows a late timer long before it shows silent lines.
                silence_ns=150 * MS, reconnect_silence_ns=250 * MS, clock_jump_ns=0, late_ns=50 * MS,
                snapshot_timeout_ns=150 * MS, resync_tokens=tokens, resync_per_second=per_second,
                resync_backoff_ns=2 * MS, resync_backoff_max_ns=50 * MS,
                validation=ValidationSettings(deviation_ns=200 * MS, warm_up=5),
            ),
            **settings,
        )  # fmt: skip
        self.tokens, self.per_second = tokens, per_second
        self._tasks: set[asyncio.Task[None]] = set()
        self._record = MarketRecord()
        self._out = bytearray(feed_rig.SLOT)

    # ---- start and stop -----------------------------------------------------------------------

    async def start(self, stack: ExitStack) -> None:
        """Start the venue, read its instruments, connect."""
        await self.run.start(stack)
        self.rest = RestClient(
            str(self.run.ready["rest"]), now_ns=now_ns, ban_ns=50 * MS,
            timeout_s=10.0 if len(self.run.source.symbols) > LOOKED else 0.4,
            budget=self.adapter.rest_budget(),
            used_weight_header=self.adapter.used_weight_header,
        )  # fmt: skip
        rows = await self._instruments()
        plans = [
            plan for plan in self.adapter.connections([row.symbol for row in rows], self.streams)
            if plan.carries_depth
        ]  # fmt: skip
        carried = {symbol: number for number, plan in enumerate(plans) for symbol in plan.symbols}
        decoder = self.adapter.configure(self.adapter.make_decoder(), self.streams)
        with (
            patch.object(feed_rig, "get_adapter", return_value=self.adapter),
            patch.object(self.adapter, "make_decoder", return_value=decoder),
        ):
            self.rig = feed_rig.Rig(
                rows, self.settings, carried, request_snapshot=self._ask, request_reconnect=self._reconnect,
                request_resubscribe=self._resubscribe,
            )  # fmt: skip
        self.rig.core.virtual_now_ns = 0
        self.session: FeedSession = self.rig.session
        self.decider = Decider(self.rig.slab, self.session, self.rig.rows, self.rig.core.epoch,
                               self.settings.silence_ns)  # fmt: skip
        self.truth = {row.symbol: TrueBook(self.run, row, self._stream(row)) for row in self.rig.rows}
        self.lines = []
        for number, plan in enumerate(plans):
            line = FeedConnection(
                f"{self.run.ready['ws']}{plan.url_path}", self.session, number, subscribe=plan.subscribe,
                random=lambda: 0.0, policy=ReconnectPolicy(initial_ns=5 * MS, maximum_ns=100 * MS),
                subscribe_per_second=200.0, make_listener=self._listener(number),
            )  # fmt: skip
            self.lines.append(line)
            self._spawn(line.run())
        self._spawn(self._beat())

    def _listener(self, number: int) -> Callable[[], Listening]:
        def make() -> Listening:
            listener = Listening(self.session, number)
            listener.on_message = self._decide
            return listener

        return make

    def audit(self) -> None:
        """Have the books audited from now on, round after round."""
        self.auditor = Auditor(
            self.session, self.rig.rows, request=self._ask_for_audit, settle_ns=100 * MS,
            period_ns=AUDITS.period_ns(self.adapter, len(self.rig.rows)), budget=AUDITS.budget(self.adapter),
        )  # fmt: skip
        believe = self.session.on_audit_equal

        def on_audit_equal(instrument_id: int, at_ns: int | None = None) -> None:
            still = self._wrong_levels(instrument_id) & self._wrong_before.get(instrument_id, set())
            if still:
                self.overlooked.append(f"{self.rig.rows[instrument_id].symbol}: {still}")
            believe(instrument_id, at_ns)

        self.session.on_audit_equal = on_audit_equal  # type: ignore[method-assign,assignment]

    async def stop(self) -> None:
        """End everything."""
        for line in self.lines:
            line.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.rest.close()
        await self.run.stop()

    async def _instruments(self) -> list[Instrument]:
        bodies = []
        for first in self.adapter.instruments_requests():
            request = first
            while True:
                reply = await self._answered(request)
                assert reply.is_ok, reply
                bodies.append(reply.body)
                following = self.adapter.next_page(request, reply.body)
                if following is None:
                    break
                request = following
        return self.adapter.parse_instruments(join_answers(bodies), None)

    async def _answered(self, request: HttpRequest) -> HttpReply:
        """An answer, however often a slow machine lets the time for one run out."""
        while True:
            with suppress(TransportError):
                return await self._send(request)

    def _stream(self, row: Instrument) -> str:
        depth = DEPTH[self.venue]
        if self.venue == "binance_usdm":
            return f"{row.symbol.lower()}@{depth}"
        if self.venue == "okx":
            return f"{depth}:{row.symbol}"
        return f"{self.venue.partition('_')[2]}/{depth}.{row.symbol}"

    def _spawn(self, work: Any) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # ---- what the feed asks for ---------------------------------------------------------------

    async def _send(self, request: HttpRequest) -> HttpReply:
        try:
            return await self.rest.send(request.method, request.path, request.weight)
        finally:
            self.sent.append((now_ns(), request.weight))

    def most_sent(self) -> int:
        """Return the most weight that REST was asked for within the venue's window."""
        window_ns = round(self.adapter.rest_limit[1] * 1e9)
        return max(
            sum(weight for at_ns, weight in self.sent if begin_ns <= at_ns < begin_ns + window_ns)
            for begin_ns, _ in self.sent
        )

    def _ask_for_audit(self, instrument_id: int) -> bool:
        self._wrong_before[instrument_id] = self._wrong_levels(instrument_id)
        self._spawn(self._fetch_for_audit(instrument_id))
        return True

    async def _fetch_for_audit(self, instrument_id: int) -> None:
        assert self.auditor is not None
        levels = AUDITS.depth(self.adapter).levels
        try:
            reply = await self._send(
                self.adapter.snapshot_request(self.rig.rows[instrument_id].symbol, levels)
            )
        except TransportError:
            self.auditor.on_failed(instrument_id, now_ns())
            return
        if reply.is_ok:
            self.auditor.on_answer(instrument_id, reply.body, now_ns())
        else:
            self.auditor.on_failed(instrument_id, now_ns())

    def _ask(self, instrument_id: int) -> None:
        self._spawn(self._fetch(instrument_id))

    async def _fetch(self, instrument_id: int) -> None:
        request = self.adapter.snapshot_request(self.rig.rows[instrument_id].symbol, self.depth.levels)
        try:
            reply = await self._send(request)
        except TransportError as error:
            self.session.on_snapshot_failed(instrument_id, str(error), now_ns())
            return
        if reply.is_ok:
            self.session.on_snapshot(instrument_id, reply.body, now_ns())
        else:
            self.session.on_snapshot_failed(instrument_id, f"status {reply.status}", now_ns())

    def _reconnect(self, connection: int) -> None:
        self.lines[connection].reset("silent for too long")

    def _resubscribe(self, instrument_id: int) -> None:
        row = self.rig.rows[instrument_id]
        for line in self.lines:
            listener = line.listener
            if isinstance(listener, Listening) and listener.transport is not None:
                for message in self.adapter.resubscribe(row.symbol, self.streams):
                    listener.transport.send(WSMsgType.TEXT, message)
                self.resubscribes += 1

    async def ask_rest(self) -> HttpReply:
        """Ask the venue's REST side for a book, whether its books need that or not."""
        return await self._send(self.adapter.snapshot_request(self.rig.rows[0].symbol, self.depth.levels))

    # ---- watching -----------------------------------------------------------------------------

    async def _beat(self) -> None:
        while True:
            self.session.on_timer(now_ns())
            if self.auditor is not None:
                self.auditor.on_timer(now_ns())
            self.look()
            self._decide()
            await asyncio.sleep(0.002)

    def _decide(self) -> None:
        """Ask for an order on each book, of hundreds on that of the last message; judge what passes."""
        count = len(self.rig.rows)
        numbers = range(count) if count <= LOOKED else (self.rig.core.instrument_id,)
        for number in numbers:
            if not 0 <= number < count:
                continue
            decided = self.decider.decide(number, now_ns())
            if decided is None:
                continue
            symbol, sequence = self.rig.rows[number].symbol, decided.certificate.last_sequence
            self.truth[symbol].drain()
            shown = [list(decided.bids), list(decided.asks)]
            depth = self.rig.slab.depth
            if not any(
                [side[:depth] for side in true] == shown for true in self.true_books(symbol, sequence)
            ):
                self.misled.append(f"{symbol}: an order passed on a wrong book at {sequence}")

    def _wrong_levels(self, instrument_id: int) -> set[tuple[int, int, int]]:
        """Levels of a book that are not the venue's at its own sequence: (side, price, our quantity or 0)."""
        symbol, sequence = self.rig.rows[instrument_id].symbol, self.rig.core.proven_sequence(instrument_id)
        self.truth[symbol].drain()
        ours = self.rig.core.book(instrument_id, AUDITED)
        found: list[set[tuple[int, int, int]]] = []
        for true in self.true_books(symbol, sequence):
            wrong = set()
            for side, (mine, theirs) in enumerate(zip(ours, true, strict=True)):
                known, other = dict(mine[:AUDITED]), dict(theirs)
                sign = 1 if side else -1
                end = max((sign * price for price in known), default=0)
                prices = known.keys() | {price for price in other if sign * price <= end}
                wrong |= {(side, p, known.get(p, 0)) for p in prices if other.get(p, 0) != known.get(p, 0)}
            found.append(wrong)
        return min(found, key=len, default=set())

    def look(self) -> None:
        """Compare every LIVE book and published top with the venue's own at that sequence."""
        for book in self.truth.values():
            book.drain()
        self._read_records()
        # of hundreds of books a few at a time
        rows = self.rig.rows
        first = self._turn = (self._turn + LOOKED) % len(rows) if len(rows) > LOOKED else 0
        for row in rows[first : first + LOOKED]:
            if self.rig.state(row.symbol) == "LIVE":
                bids, asks = self.rig.core.book(row.instrument_id)
                sequence = self.rig.core.proven_sequence(row.instrument_id)
                if not any(self._same(true, bids, asks) for true in self.true_books(row.symbol, sequence)):
                    self.wrong.append(f"{row.symbol} is LIVE and wrong at {sequence}")

    def is_wrong(self) -> bool:
        """Whether a LIVE book holds a level that the venue does not have."""
        return any(
            self.rig.state(row.symbol) == "LIVE" and self._wrong_levels(row.instrument_id)
            for row in self.rig.rows
        )

    def _same(
        self, true: list[list[tuple[int, int]]], bids: list[tuple[int, int]], asks: list[tuple[int, int]]
    ) -> bool:
        count = self.compared
        bids, asks = bids[: min(count, len(true[0]))], asks[: min(count, len(true[1]))]
        return bids == true[0][:count] and asks == true[1][:count]

    def true_books(self, symbol: str, sequence: int) -> list[list[list[tuple[int, int]]]]:
        """Return the venue's own book under a sequence, also one that a fault shifted: [bids, asks] each."""
        history = self.truth[symbol].history
        return [history[sequence - by] for by in self.shifts if sequence - by in history]

    def _read_records(self) -> None:
        subscriber = self.rig.subscriber
        while subscriber.poll_into(self._out, 1):
            record = self._record
            record.load(self._out)
            if record.kind == RecordKind.STATUS:
                self.reasons.add(BookReason(record.reason).name)
            elif record.kind == RecordKind.BOOK:
                self.books_seen += 1
                symbol = self.rig.rows[record.instrument_id].symbol
                top = (record.value0, record.value1, record.value2, record.value3)
                found = self.true_books(symbol, record.last_sequence)
                if not any((*bids[0], *asks[0]) == top for bids, asks in found):
                    self.wrong.append(f"{symbol}: published {top} at {record.last_sequence}")

    def count(self, name: str) -> int:
        """Return a count of the session, or `refusals` of REST and `connect_errors`."""
        if name == "refusals":
            return self.rest.refusals
        if name == "failures":
            return self.rest.failures
        if name == "connect_errors":
            return sum(line.connect_errors for line in self.lines)
        return self.session.statistics().get(name, 0)

    async def until(self, condition: Callable[[], object], what: str, seconds: float = 60.0) -> None:
        """Wait for something; what is missing after so long is told with all counts."""
        for _ in range(int(seconds * 500)):
            if condition():
                return
            await asyncio.sleep(0.002)
        counts = {name: value for name, value in self.session.statistics().items() if value}
        states = {symbol: state.name for symbol, state in self.session.states().items()}
        raise AssertionError(
            f"never: {what}; {counts} {list(states.items())[:5]} {self.reasons}"
            f" {[line.last_error for line in self.lines]}"
            f" {list(self.session.rejections)[:2]} faults: {self.run.faults.statistics()}"
        )

    async def live(self, seconds: float = 60.0) -> None:
        """Wait until every book is LIVE at a sequence the venue says from now on."""
        for book in self.truth.values():
            book.drain()
        start = {symbol: set(book.history) - {book.sequence} for symbol, book in self.truth.items()}

        def is_live(row: Instrument) -> bool:
            sequence = self.rig.core.proven_sequence(row.instrument_id)
            history, old = self.truth[row.symbol].history, start[row.symbol]
            here = any(sequence - by in history and sequence - by not in old for by in self.shifts)
            return here and self.rig.state(row.symbol) == "LIVE"

        def all_live() -> bool:
            self.look()
            return all(is_live(row) for row in self.rig.rows)

        await self.until(all_live, "every book is LIVE again", seconds)

    def fault(self, script: str) -> None:
        """Bring a script into force now."""
        self.run.faults.add(parse_faults(script, self.venue))

    def injected(self, status: int) -> int:
        """How many REST answers of that status the script asked for."""
        total = 0
        for one in self.run.faults.statistics():
            if one["fault"] == "http_status" and f"status={status}" in str(one["text"]):
                total += int(str(one["count"]))
        return total


def play(scene: FaultScene, act: Callable[[FaultScene], Any]) -> None:
    """Bring all books LIVE, act, see all LIVE and right again, and the REST side never asked too often."""

    async def main() -> None:
        with ExitStack() as stack:
            await scene.start(stack)
            try:
                await scene.live()
                rule = scene.session.validator.rule(0)
                await scene.until(lambda: rule.is_ready, "the offset of the venue's clock is known")
                await act(scene)
                if not scene.is_ended:
                    await scene.live()
                scene.look()
                statuses = scene.run.rest.statuses
                for status in (403, 418, 429):
                    assert statuses.get(status, 0) == scene.injected(status), statuses
                assert all(line.statistics()["faults"] == 0 for line in scene.lines), "no handler raised"
                assert scene.decider.wrong == []
                assert set(scene.decider.verdicts) <= OF_BOOKS, scene.decider.verdicts
                assert scene.overlooked == []
                assert scene.most_sent() <= scene.adapter.rest_limit[0]
            finally:
                await scene.stop()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())
