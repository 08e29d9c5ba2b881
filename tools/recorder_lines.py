"""The connections of one recorder: lines of each group of streams, replaced before the venue ends them.

Nothing is chosen here: every line is recorded as it came, and a replay merges them as the engine does its own
(`feeds.merging`). A line is replaced by opening another one beside it, and is closed once what the new one
brings joins what the others have brought.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from actors.feed_lines import MARGIN_SHARE, PROOF_NS
from feeds.continuity import ContinuityRule
from feeds.decoder import TRAIT_SNAPSHOT, DecodedMessage, MessageKind
from feeds.errors import DecodeError
from feeds.merging import RotationClock
from feeds.settings import SessionSettings

if TYPE_CHECKING:
    from feeds.adapter import ConnectionPlan
    from feeds.decoder import Decoder
    from feeds.transport.websocket import FeedConnection

#: How long a new line must have joined before the old one goes: as long as a line may lag behind another.
LINGER_NS = SessionSettings().reorder_ns

#: A stream of one instrument: kind of message, symbol.
Key = tuple[MessageKind, str]


class Handover:
    """Whether a new line has taken over: what it brings begins no later than where the others have come to.

    Depth is told by the venue's sequence, everything else by the venue's time. No I/O, no clock.

    Args:
        decoder: of the venue's frames, told which streams are subscribed.
        rule: how the venue numbers its updates.
        answers: how many answers to its requests the new line awaits; from then on it owes everything.
    """

    def __init__(self, decoder: Decoder, rule: ContinuityRule, answers: int) -> None:
        self._decoder, self._rule, self._answers = decoder, rule, answers
        self._answered = 0
        self._begun: dict[Key, int] = {}  # what must have been brought before the new line's first message
        self._whole: set[Key] = set()  # ... where that was a whole book, or no book at all
        self._reached: dict[Key, int] = {}  # newest that the others brought meanwhile
        self._owed: set[Key] = set()  # streams of which they brought something since it was answered

    def restart(self) -> None:
        """Forget everything: the new line has another socket, so it begins anew."""
        self._answered = 0
        for kept in (self._begun, self._whole, self._reached, self._owed):
            kept.clear()

    def on_frame(self, frame: bytes, *, is_new: bool) -> None:
        """Look at a frame of the new line, or of another one that carries the same streams."""
        try:
            message = self._decoder.decode_message(frame)
        except DecodeError:
            return
        if message.kind in (MessageKind.CONTROL, MessageKind.NONE):
            self._answered += is_new
            return
        for key, before, last, is_whole in self._positions(message):
            if not is_new:
                newest = self._reached.get(key, last)
                self._reached[key] = last if is_whole else max(last, newest)
                if self._answered >= self._answers:
                    self._owed.add(key)
            elif key not in self._begun or (is_whole and before < self._begun[key]):
                self._begun[key] = before
                if is_whole or key[0] is not MessageKind.DEPTH:
                    self._whole.add(key)

    def _positions(self, message: DecodedMessage) -> Iterator[tuple[Key, int, int, bool]]:
        if message.kind is not MessageKind.DEPTH:
            symbols = {item.symbol for item in message.items} or {message.symbol}
            for symbol in symbols:
                time = message.venue_utc_ns
                yield (message.kind, symbol or message.symbol), time, time, False
            return
        key, last = (message.kind, message.symbol), message.last_sequence
        if message.traits & TRAIT_SNAPSHOT:
            yield key, last, last, True
        elif self._rule is ContinuityRule.PREVIOUS:
            yield key, message.previous_sequence, last, False
        else:
            yield key, message.first_sequence - 1, last, False

    @property
    def is_done(self) -> bool:
        """Whether everything that the others bring is brought by the new line, without a hole between."""
        if self._answered < self._answers or not self._owed <= self._begun.keys():
            return False
        return all(
            self._reached[key] >= before if key in self._reached else key in self._whole
            for key, before in self._begun.items()
        )


@dataclass(slots=True, eq=False)
class RecordedLine:
    """One connection and the name of its lines in the capture."""

    place: Place
    channel: str
    connection: FeedConnection
    heard_ns: int = 0  # when it last brought data


@dataclass(slots=True, eq=False)
class Place:
    """One line of a group: the connection that is it now, and the one that shall be."""

    group: int
    plan: ConnectionPlan
    index: int  # among all places
    lines: list[RecordedLine]  # the one in use, then its successor
    connects: int = 0
    due_ns: int | None = None
    begun_ns: int = 0
    joined_ns: int | None = None


class RecorderLines:
    """Opens, replaces and closes the connections of a recorder; one is replaced at a time.

    Args:
        plans: what each group subscribes to.
        lines: connections of each group.
        life_ns: how long a connection may live, 0 = for ever.
        connect: makes and starts the connection of a line; the line's own `connection` is set by it.
        make_handover: for a group's new line.
    """

    def __init__(
        self,
        plans: Sequence[ConnectionPlan],
        *,
        lines: int,
        life_ns: int,
        connect: Callable[[Place, str], RecordedLine],
        make_handover: Callable[[ConnectionPlan], Handover],
    ) -> None:
        self._connect, self._make_handover = connect, make_handover
        self._clock = RotationClock(life_ns, life_ns // MARGIN_SHARE, len(plans) * lines)
        self._named = [0] * len(plans)  # connections of each group so far
        self.places = [
            Place(group, plan, line * len(plans) + group, [])
            for line in range(lines)
            for group, plan in enumerate(plans)
        ]
        self._handover: Handover | None = None
        self._under_way: Place | None = None
        self.rotations = 0
        self.rotations_failed = 0

    def open(self) -> None:
        """Open every line of every group."""
        for place in self.places:
            self._open(place)

    def _open(self, place: Place) -> RecordedLine:
        number = self._named[place.group]
        self._named[place.group] += 1
        line = self._connect(place, f"{place.group}.{number}" if number else str(place.group))
        place.lines.append(line)
        return line

    def __iter__(self) -> Iterator[RecordedLine]:
        return (line for place in self.places for line in place.lines)

    def others(self, line: RecordedLine) -> list[RecordedLine]:
        """The other lines of a group that stand."""
        group = line.place.group
        return [
            one
            for one in self
            if one is not line and one.place.group == group and one.connection.is_connected
        ]

    def on_open(self, line: RecordedLine) -> None:
        """Note that a line has a new socket."""
        if self._handover is not None and self._is_new(line):
            self._handover.restart()

    def on_frame(self, line: RecordedLine, frame: bytes) -> None:
        """Look at a frame if its group is being handed over."""
        place = self._under_way
        if self._handover is not None and place is not None and line.place.group == place.group:
            self._handover.on_frame(frame, is_new=self._is_new(line))

    def _is_new(self, line: RecordedLine) -> bool:
        return line.place is self._under_way and line is not line.place.lines[0]

    def on_timer(self, now_ns: int) -> None:
        """Go on with what is being replaced, or begin with what is due."""
        for place in self.places:
            connects = place.lines[0].connection.connects
            if connects != place.connects:
                place.connects = connects
                place.due_ns = self._clock.due_ns(now_ns, place.index)
        if self._under_way is not None:
            self._go_on(self._under_way, now_ns)
            return
        due = [
            place
            for place in self.places
            if place.due_ns is not None and place.due_ns <= now_ns and place.lines[0].connection.is_connected
        ]
        if due:
            place = min(due, key=lambda one: one.due_ns or 0)
            self._handover, self._under_way = self._make_handover(place.plan), place
            place.begun_ns, place.joined_ns = now_ns, None
            self._open(place)

    def rotate(self, now_ns: int) -> None:
        """Make every line due now, one after the other."""
        for place in self.places:
            place.due_ns = now_ns

    def _go_on(self, place: Place, now_ns: int) -> None:
        handover, (current, successor) = self._handover, place.lines
        if handover is None:
            return
        if not (successor.connection.is_connected and handover.is_done):
            place.joined_ns = None
            if now_ns - place.begun_ns > PROOF_NS:
                self._close(place, successor)
                place.due_ns = now_ns + PROOF_NS
                self.rotations_failed += 1
            return
        if place.joined_ns is None:
            place.joined_ns = now_ns
        if now_ns - place.joined_ns >= LINGER_NS:
            self._close(place, current)
            place.connects = 0  # its time begins at the next look
            self.rotations += 1

    def _close(self, place: Place, line: RecordedLine) -> None:
        line.connection.close()
        place.lines.remove(line)
        self._handover = self._under_way = None
