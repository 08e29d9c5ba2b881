"""Does a simulated venue's faults: between a client's outbox and its socket, and before a REST answer.

Every frame that leaves for a client passes `outgoing`, every REST request `answer`, but only once a fault was
asked for.
"""

from __future__ import annotations

import asyncio
import math
import random
import time
from asyncio import TimerHandle
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import orjson
from picows import WSCloseCode

from tools.venues.faults import Fault, FaultScriptError, Target, parse_faults, refuse_order_faults
from tools.venues.faults_frames import OkxFrames, Seen, frame_reader, join_frames, split_frames
from tools.venues.faults_tracks import Line, Track, fault_ends
from tools.venues.protocol import CONTROL_PATH, Handler, HttpReply, HttpRequest, settled
from tools.venues.synthetic_source import SyntheticSource
from tools.venues.views import ViewMarket

if TYPE_CHECKING:
    from tools.venues.server import Client, Hub
    from tools.venues.trading.desk import TradingDesk

FAULTS_PATH = "/ringlane/faults"
NUMBERS_JUMP = 1_000_000
REASONS = {418: "Way too many requests; IP banned.", 429: "Too many requests."}


class FaultDesk:
    """Does the faults of a script to one venue's clients.

    Args:
        hub: the venue's clients.
        seed: of all that is left to chance; the same script, seed and frames make the same faults.
        arm: called once, with the first fault, to let frames and answers pass through here.
    """

    def __init__(self, hub: Hub, seed: int, arm: Callable[[], None]) -> None:
        self._hub = hub
        self._seed = seed
        self._arm = arm
        self._reader = frame_reader(hub.protocol.name)
        self._tracks: list[Track] = []
        self._lines: dict[Client, Line] = {}
        self._shifts: dict[str, int] = {}
        self._closed_until = 0.0
        #: stream → what it said last of the venue itself
        self.notices: dict[str, bytes] = {}
        self._started_s = time.monotonic()
        self._timers: set[TimerHandle] = set()
        self._trading: TradingDesk | None = None

    def bind_trading(self, desk: TradingDesk) -> None:
        """Say who does the faults that meet orders."""
        self._trading = desk
        desk.faults.bind(self._count, lambda track, key: self._note(track, key, None))

    # ---- the script ---------------------------------------------------------------------------

    def add(self, faults: list[Fault]) -> None:
        """Bring faults into force; their times count from now. Needs the running loop.

        Raises:
            FaultScriptError: one meets orders, and this venue does not trade.
        """
        if self._trading is None:
            refuse_order_faults(faults)
        if faults and not self._tracks:
            self._arm()
        for fault in faults:
            track = Track(fault, random.Random(f"{self._seed}:{len(self._tracks)}"))
            self._tracks.append(track)
            if self._trading is not None and fault.target is Target.ORDER:
                self._trading.faults.add(track)
            when = fault.when
            if when.at_s or when.every_s:
                self._schedule(track, when.at_s or self._period(track, when.every_s))
            elif when.every_frames:
                track.due = round(self._period(track, when.every_frames))
            elif when.after_frames:
                track.due = when.after_frames + 1
            elif not when.on_rest:
                self._happen(track)

    def stop(self) -> None:
        """Let nothing more happen."""
        for timer in self._timers:
            timer.cancel()

    def statistics(self) -> list[dict[str, object]]:
        """Return every fault of the script with how often it happened, when first, and to whom."""
        return [track.statistics() for track in self._tracks]

    def on_http(self, request: HttpRequest) -> HttpReply:
        """Take faults of a POST body into force, or tell with GET what happened."""
        if request.method == "POST":
            try:
                self.add(parse_faults(request.body.decode(), self._hub.protocol.name))
            except (FaultScriptError, UnicodeDecodeError) as error:
                return HttpReply(400, orjson.dumps({"error": str(error)}))
        elif request.method != "GET":
            return HttpReply(405, orjson.dumps({"error": "POST a script or GET what happened"}))
        return HttpReply(200, orjson.dumps({"faults": self.statistics()}))

    def _period(self, track: Track, mean: float) -> float:
        jitter = track.fault.when.jitter
        return max(mean * (1 + jitter * (2 * track.chance.random() - 1)), 0.001)

    def _later(self, seconds: float, what: Callable[..., None], *args: object) -> None:
        loop = asyncio.get_running_loop()

        def run() -> None:
            self._timers.discard(timer)
            what(*args)

        timer = loop.call_later(seconds, run)
        self._timers.add(timer)

    def _schedule(self, track: Track, seconds: float) -> None:
        self._later(seconds, self._on_time, track)

    def _on_time(self, track: Track) -> None:
        self._happen(track)
        if track.fault.when.every_s:
            self._schedule(track, self._period(track, track.fault.when.every_s))

    def _happen(self, track: Track, client: Client | None = None) -> None:
        """Its time has come: do it, or let it meet the next frames or answers that it is meant for."""
        fault = track.fault
        if fault.target is Target.VENUE:
            self._note(track, "", None)
            self._to_venue(track)
        elif fault.target is Target.ACCOUNT:
            if self._trading is not None and self._trading.trading.expire(fault.word("told") == "yes"):
                self._note(track, "", None)
        elif fault.target is Target.CLIENT:
            clients = [
                one for one in sorted(self._hub.clients, key=_number) if self._meets_client(fault, one)
            ]
            if client is not None:
                clients = [client]
            elif not fault.connection and not fault.symbol:
                clients = clients if fault.what == "cut_24h" else clients[: fault.times]
            for one in clients:
                self._to_client(track, one)
        else:
            track.left = fault.times

    def _note(self, track: Track, symbol: str, client: Client | None) -> None:
        if not track.done:
            track.first_s = time.monotonic() - self._started_s
            track.symbol = symbol
            track.client = client.number if client is not None else 0
        track.done += 1

    # ---- frames -------------------------------------------------------------------------------

    def outgoing(self, client: Client, data: bytes) -> bytes:
        """Return what of these frames goes to the client, and what else does."""
        line = self._lines.get(client)
        if line is None:
            line = self._lines[client] = Line()
            self._lines = {
                one: kept for one, kept in self._lines.items() if one in self._hub.clients or one is client
            }
        out: list[bytes] = []
        for payload in split_frames(data):
            seen = self._reader.read(payload)
            if seen is None:
                out.append(payload)
                continue
            self._pass(client, line, payload, seen, out)
            if client.is_deaf or client.closing:
                return b""
        out += line.behind
        line.behind.clear()
        return join_frames(out)

    def _pass(self, client: Client, line: Line, payload: bytes, seen: Seen, out: list[bytes]) -> None:
        by = line.shifts.get(seen.symbol, self._shifts.get(seen.symbol, 0))
        frames = [self._reader.shift(payload, by)] if by and seen.kind in ("depth", "bbo") else [payload]
        for number, track in enumerate(self._tracks):
            if track.fault.target is Target.ORDER or not self._meets_frame(track.fault, client, seen):
                continue
            if track.due:
                self._count(track, client)
            if client.is_deaf or client.closing:
                return
            if track.left and track.fault.target in (Target.FRAME, Target.WINDOW) and frames:
                frames = self._to_frame(track, number, client, line, frames, seen)
            frames = self._hold(track, number, line, frames, seen)
        out += frames

    def _count(self, track: Track, client: Client | None = None) -> None:
        track.matched += 1
        if track.matched < track.due:
            return
        every = track.fault.when.every_frames
        track.due = track.matched + max(1, round(self._period(track, every))) if every else 0
        self._happen(track, client)

    def _meets_client(self, fault: Fault, client: Client) -> bool:
        if fault.connection and fault.connection != client.number:
            return False
        if not fault.symbol:
            return True
        return any(self._is_of(name, fault.symbol) for name in client.subscriptions)

    @staticmethod
    def _meets_frame(fault: Fault, client: Client, seen: Seen) -> bool:
        if fault.connection and fault.connection != client.number:
            return False
        if fault.symbol and fault.symbol != seen.symbol:
            return False
        wanted = fault.stream or ("depth" if fault.target is Target.FRAME else "all")
        return wanted == "all" or wanted in (seen.kind, seen.name)

    def _to_frame(
        self, track: Track, number: int, client: Client, line: Line, frames: list[bytes], seen: Seen
    ) -> list[bytes]:
        """Do a fault to one frame (the last of `frames`), if it can be done to it."""
        changed = self._change(track, number, client, line, frames[-1], seen)
        if changed is None:
            return frames
        track.left -= fault_ends(track.fault)
        self._note(track, seen.symbol, client)
        return frames[:-1] + changed

    def _change(
        self, track: Track, number: int, client: Client, line: Line, frame: bytes, seen: Seen
    ) -> list[bytes] | None:
        fault, reader = track.fault, self._reader
        made: bytes | None
        match fault.what:
            case "drop":
                return [] if not seen.is_whole or fault.stream else None
            case "duplicate":
                return [frame, frame]
            case "reorder":
                if number in line.late:
                    return None
                line.late[number] = (frame, seen, int(fault.number("frames")))
                return []
            case "truncate":
                return [reader.truncate(frame, int(fault.number("bytes")))]
            case "garbage":
                return [fault.word("text").encode(), frame]
            case "unknown_symbol":
                return [reader.rename(frame, seen.symbol), frame] if seen.symbol else None
            case "corrupt_level":
                made = reader.corrupt(frame, fault.word("field"), track.chance)
            case "crossed":
                made = reader.cross(frame)
            case "wrong_checksum":
                made = reader.falsify(frame) if isinstance(reader, OkxFrames) else None
            case "time_backwards":
                made = reader.set_back(frame, int(fault.number("ms")))
            case "sequence_reset":
                made = self._reset(fault, client, line, frame, seen)
            case _ if number in line.quiet_until or number in line.healed:
                return None
            case _:
                self._open_window(track, number, client, line)
                return [frame]
        return None if made is None else [made]

    # ---- frames that wait, streams that pause -------------------------------------------------

    def _open_window(self, track: Track, number: int, client: Client, line: Line) -> None:
        fault = track.fault
        seconds = fault.number("ms") / 1000 if fault.what == "delay" else fault.number("seconds")
        if fault.what == "mute":
            seconds = seconds or math.inf
        line.quiet_until[number] = time.monotonic() + seconds
        if fault.what == "delay":
            line.held[number] = []
            self._later(seconds, self._release, number, client, line)

    def _hold(self, track: Track, number: int, line: Line, frames: list[bytes], seen: Seen) -> list[bytes]:
        late = line.late.get(number)
        if late is not None and frames:
            frame, whose, left = late
            if whose.symbol == seen.symbol and whose.name == seen.name:
                left -= len(frames)
                line.late[number] = (frame, whose, left)
            if left < 1:
                del line.late[number]
                return [*frames, frame]
            return frames
        until = line.quiet_until.get(number)
        if until is None:
            return frames
        if time.monotonic() < until:
            if track.fault.what == "delay":
                line.held[number] += frames
            return []
        if number not in line.held:
            del line.quiet_until[number]
            line.healed.add(number)
        return frames

    def on_subscribe(self, client: Client, name: str) -> None:
        """Let a stream that a client subscribes to anew be heard again, if its silence ends with that."""
        line = self._lines.get(client)
        for number, track in enumerate(self._tracks) if line is not None else ():
            fault = track.fault
            if line is None or fault.what != "mute" or fault.word("until") != "subscribed":
                continue
            if self._is_of(name, fault.symbol) and line.quiet_until.pop(number, None) is not None:
                line.healed.add(number)

    def _is_of(self, name: str, symbol: str) -> bool:
        return self._hub.protocol.symbol_of(name).lower().endswith(symbol.lower())

    def _release(self, number: int, client: Client, line: Line) -> None:
        line.quiet_until.pop(number, None)
        frames = line.held.pop(number, [])
        if frames:
            client.write_raw(join_frames(frames))

    # ---- sequences ----------------------------------------------------------------------------

    def _reset(self, fault: Fault, client: Client, line: Line, frame: bytes, seen: Seen) -> bytes | None:
        """Let a book's numbers begin anew, as its venue does; None when this frame is not the one for it."""
        if seen.is_whole:
            return None
        by = int(fault.number("by"))
        if not self._reader.has_stream_snapshots:
            by = by or NUMBERS_JUMP
            self._shifts[seen.symbol] = self._shifts.get(seen.symbol, 0) + by
            return self._reader.shift(frame, by)
        name = next((one for one in client.subscriptions if _is_stream(one, seen)), "")
        market = self._views()
        if market is None or not isinstance(self._reader, OkxFrames):
            if not by and market is not None:
                self._begin_again(market, name)
                return frame
            line.shifts[seen.symbol] = line.shifts.get(seen.symbol, 0) + (by or NUMBERS_JUMP)
            return self._reader.shift(frame, by or NUMBERS_JUMP)
        by = by or -NUMBERS_JUMP
        line.shifts[seen.symbol] = line.shifts.get(seen.symbol, 0) + by
        if fault.word("mode") == "update":
            return self._reader.shift(frame, by, keep_previous=True)
        whole = self._hub.protocol.source.welcome(name)
        # it holds what lies behind in this batch too
        line.behind += [self._reader.shift(whole, line.shifts[seen.symbol])] if whole else []
        return self._reader.shift(frame, by, keep_previous=True)

    def _views(self) -> ViewMarket | None:
        source = self._hub.protocol.source
        market = source.market if isinstance(source, SyntheticSource) else None
        return market if isinstance(market, ViewMarket) else None

    def _begin_again(self, market: ViewMarket, wanted: str) -> None:
        for index, number, name in self._all_views():
            if not wanted or name == wanted:
                market.begin_again(index, number)

    def _all_views(self) -> Iterator[tuple[int, int, str]]:
        protocol = self._hub.protocol
        for index, item in enumerate(protocol.source.instruments()):
            for number, name in protocol.view_streams(item):
                yield index, number, name

    # ---- connections --------------------------------------------------------------------------

    def _to_client(self, track: Track, client: Client) -> None:
        fault = track.fault
        self._note(track, fault.symbol, client)
        if fault.what == "half_open":
            client.set_deaf(True)
            if fault.number("seconds"):
                self._later(fault.number("seconds"), client.set_deaf, False)
        elif fault.what == "cut_24h":
            client.close(WSCloseCode.GOING_AWAY, "connection lifetime is over")
        elif fault.word("how") == "close":
            client.close(WSCloseCode.INTERNAL_ERROR, "")
        else:
            client.abort()

    def _to_venue(self, track: Track) -> None:
        fault = track.fault
        if fault.what == "disconnect_storm":
            self._storm(int(fault.number("cuts")), fault.number("pause"))
            return
        seconds = fault.number("seconds")
        source = self._hub.protocol.source
        self._say("ongoing", source.now_ms() + round(seconds * 1000))
        self._later(seconds, self._say, "completed", source.now_ms() + round(seconds * 1000))
        if not fault.number("cut"):
            return
        self._closed_until = time.monotonic() + seconds
        by = int(fault.number("by")) or -NUMBERS_JUMP
        for client in list(self._hub.clients):
            client.write()
            client.close(WSCloseCode.SERVICE_RESTART, "maintenance")
        market = self._views()
        if not self._reader.has_stream_snapshots:
            for symbol in source.symbols:
                self._shifts[symbol] = self._shifts.get(symbol, 0) + by
        elif market is not None and not isinstance(self._reader, OkxFrames):
            self._begin_again(market, "")
        else:
            for symbol in source.symbols:
                self._shifts[symbol.rpartition("/")[2]] = by

    def _say(self, state: str, end_ms: int) -> None:
        """Say of the venue itself how far a maintenance has come, to whoever listens and will."""
        source = self._hub.protocol.source
        notice = self._reader.notice(source.now_ms(), end_ms, state)
        stream = source.streams.get(notice[0]) if notice is not None else None
        if notice is not None and stream is not None:
            self.notices[notice[0]] = notice[1]
            stream.publish(notice[1])
            self._hub.send()

    def _storm(self, cuts: int, pause: float) -> None:
        for client in list(self._hub.clients):
            client.abort()
        if cuts > 1:
            self._later(pause, self._storm, cuts - 1, pause)

    @property
    def is_closed(self) -> bool:
        """Whether nobody is let in now."""
        return time.monotonic() < self._closed_until

    # ---- REST ---------------------------------------------------------------------------------

    async def answer(self, request: HttpRequest, handler: Handler) -> HttpReply:
        """Answer a REST request, with what is wrong now."""
        if request.path == FAULTS_PATH or request.path.startswith(CONTROL_PATH):
            return await settled(handler(request))
        if self.is_closed:
            return HttpReply(503, b'{"code":-1016,"msg":"This service is under maintenance."}')
        query = dict(request.query)
        symbol = query.get("symbol") or query.get("instId") or ""
        due: list[Track] = []
        for track in self._tracks:
            if not self._meets_request(track.fault, request, symbol):
                continue
            if track.fault.when.on_rest:
                track.matched += 1
                if track.matched == track.fault.when.after_requests + 1:
                    self._happen(track)
            if track.fault.target is Target.REST and track.left:
                due.append(track)
        refused = next((track for track in due if track.fault.what == "http_status"), None)
        if refused is not None:
            return self._refuse(refused, symbol)
        reply = await settled(handler(request))
        by = self._shifts.get(symbol, 0)
        if by and reply.status == 200:
            reply = HttpReply(200, self._reader.shift_body(reply.body, by), reply.headers)
        for track in due:
            reply = await self._spoil(track, reply, symbol)
        return reply

    @staticmethod
    def _meets_request(fault: Fault, request: HttpRequest, symbol: str) -> bool:
        if fault.path and not request.path.startswith(fault.path):
            return False
        return fault.target is not Target.REST or not fault.symbol or fault.symbol == symbol

    def _refuse(self, track: Track, symbol: str) -> HttpReply:
        track.left -= 1
        self._note(track, symbol, None)
        status, wait = int(track.fault.number("status")), int(track.fault.number("retry_after"))
        text = REASONS.get(status, "Internal error; unable to process your request. Please try again.")
        headers = (("Retry-After", str(wait)),) if wait else ()
        return HttpReply(status, orjson.dumps({"code": -1003, "msg": text}), headers)

    async def _spoil(self, track: Track, reply: HttpReply, symbol: str) -> HttpReply:
        if track.fault.what == "slow_rest":
            track.left -= 1
            self._note(track, symbol, None)
            await asyncio.sleep(track.fault.number("seconds"))
            return reply
        old = self._reader.shift_body(reply.body, -int(track.fault.number("behind")))
        if old == reply.body:
            return reply
        track.left -= 1
        self._note(track, symbol, None)
        return HttpReply(reply.status, old, reply.headers)


def _number(client: Client) -> int:
    return client.number


def _is_stream(name: str, seen: Seen) -> bool:
    """Whether a stream of our naming (`channel:SYMBOL`, `category/topic.SYMBOL`) is the one a frame is of."""
    return name.rpartition("/")[2] in (f"{seen.name}:{seen.symbol}", f"{seen.name}.{seen.symbol}")
