"""Make before break for both sockets of an account: a second one stands before the first one ends.

Venues end connections after a day, and a listen key may end with one. Losing a socket costs a comparison
with every order UNKNOWN until it is answered; changing it in time costs nothing. While two private streams
tell, each frame is taken once: the copy that comes by the other socket is dropped. Of two order sockets the
new one takes the commands, and the old one stays until what was sent by it has been answered.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from enum import IntEnum

from exec.errors import OrderError
from exec.order_protocol import Channel, ControlWord, OrderProtocol, Request, RequestKind, Sign
from exec.venue_commands import SECOND_NS, SessionTimes, VenueLink

#: A second socket that does not tell by then is given up, and tried again after the longer time.
ATTEMPT_NS = 15 * SECOND_NS
AGAIN_NS = 60 * SECOND_NS
#: Both tell for so long: what the venue sent by the first one alone is here by then.
OVERLAP_NS = 1 * SECOND_NS


class Stage(IntEnum):
    """How far a change of sockets is."""

    IDLE = 0
    ASKING = 1  # for a listen key
    OPENING = 2  # the spare socket connects, logs in, subscribes
    OVERLAP = 3  # the new one is in force, the old one still tells


class Rotation:
    """Changes one of the two sockets in time; see the module.

    Args:
        protocol: of the venue.
        link: has the sockets; the second one is its spare.
        times: `rotate_ns` says how long a socket is used.
        send: sends a REST request; 0 = sent.
        take_id: makes a request id, leaving room for those of one set of frames.
        utc_ns: the venue's clock.
        on_rotated: told when the new socket is in force, with its address.
        of: which of the two sockets.
    """

    def __init__(
        self,
        protocol: OrderProtocol,
        link: VenueLink,
        times: SessionTimes,
        *,
        send: Callable[[Request, int], int],
        take_id: Callable[[], int],
        utc_ns: Callable[[], int],
        on_rotated: Callable[[str], None],
        of: Channel = Channel.PRIVATE_STREAM,
    ) -> None:
        self.stage = Stage.IDLE
        self._of = of
        self._overlap_ns = OVERLAP_NS if of is Channel.PRIVATE_STREAM else times.socket_answer_ns
        self._protocol = protocol
        self._link = link
        self._times = times
        self._send = send
        self._take_id = take_id
        self._utc_ns = utc_ns
        self._on_rotated = on_rotated
        self._due_ns: int | None = None
        self._asked = 0
        self._url = ""
        self._subscribed = 0
        # frame → how much oftener the socket in force has told it than the spare one
        self._ahead: Counter[bytes] = Counter()

    @property
    def due_ns(self) -> int | None:
        """When `on_timer` has something to do."""
        return self._due_ns

    def begin(self, now_ns: int) -> None:
        """The socket stands anew: count its time from now."""
        self.stop()
        life_ns = self._times.rotate_ns
        # Not both at once.
        later_ns = 0 if self._of is Channel.PRIVATE_STREAM else life_ns // 12
        self._due_ns = now_ns + life_ns + later_ns if life_ns else None

    def stop(self) -> None:
        """Give up whatever is under way; the socket is gone or will be."""
        if self.stage is not Stage.IDLE:
            self._link.drop_spare(self._of)
        self.stage, self._due_ns = Stage.IDLE, None
        self._ahead.clear()

    def on_timer(self, now_ns: int) -> None:
        """Do what is due."""
        if self._due_ns is None or self._due_ns > now_ns:
            return
        if self.stage is Stage.IDLE:
            self._ask(now_ns)
        elif self.stage is Stage.OVERLAP:
            self.begin(now_ns)
        else:
            self._give_up(now_ns)

    def _ask(self, now_ns: int) -> None:
        self._due_ns = now_ns + ATTEMPT_NS
        if self._of is Channel.ORDER_SOCKET:
            self._open(now_ns)
            return
        requests = self._protocol.opening_requests(self._take_id(), self._utc_ns())
        wanted = next((one for one in requests if one.kind is RequestKind.LISTEN_KEY), None)
        if wanted is None:
            self._open(now_ns)
        elif self._send(wanted, now_ns):
            self._give_up(now_ns)
        else:
            self.stage, self._asked = Stage.ASKING, wanted.request_id

    def _give_up(self, now_ns: int) -> None:
        self.stop()
        self._due_ns = now_ns + min(AGAIN_NS, self._times.rotate_ns)

    def on_done(self, request_id: int, now_ns: int) -> None:
        """A request was answered: if it was for the listen key, connect."""
        if self.stage is Stage.ASKING and request_id == self._asked:
            self._open(now_ns)

    def _open(self, now_ns: int) -> None:
        try:
            is_orders = self._of is Channel.ORDER_SOCKET
            self._url = self._protocol.order_url() if is_orders else self._protocol.private_url()
        except OrderError:
            self._give_up(now_ns)
            return
        self.stage = Stage.OPENING
        self._link.open_spare(self._url, self._of)

    def on_open(self, now_ns: int) -> None:
        """The spare socket stands."""
        if self.stage is Stage.OPENING:
            frames = self._protocol.logins(self._of, self._take_id(), self._utc_ns())
            for frame in frames:
                self._link.send_spare(frame, self._of)
            if not frames:
                self._logged_in(now_ns)

    def _logged_in(self, now_ns: int) -> None:
        self._subscribed = 0
        if self._of is Channel.ORDER_SOCKET:
            self._rotate(now_ns)
            return
        frames = self._protocol.subscribes(self._take_id(), self._utc_ns())
        for frame in frames:
            self._link.send_spare(frame, self._of)
        if not frames:
            self._rotate(now_ns)

    def _rotate(self, now_ns: int) -> None:
        self._link.swap_spare(self._of)
        # From here on the socket in force is the other one.
        self._ahead = Counter({frame: -count for frame, count in self._ahead.items() if count})
        self.stage, self._due_ns = Stage.OVERLAP, now_ns + self._overlap_ns
        self._on_rotated(self._url)

    def on_lost(self, now_ns: int) -> None:
        """The spare socket is gone: an attempt failed, or the old one ended by itself."""
        if self.stage is Stage.OVERLAP:
            self.begin(now_ns)
        elif self.stage is not Stage.IDLE:
            self._give_up(now_ns)

    def on_control(self, word: ControlWord, now_ns: int) -> None:
        """Take a word about the spare socket; what the old one says of itself is of no interest any more."""
        if word.sign is Sign.PING:
            self._link.send_spare(word.reply, self._of)
        if self.stage is not Stage.OPENING:
            return
        if word.sign is Sign.LOGGED_IN:
            self._logged_in(now_ns)
        elif word.sign is Sign.SUBSCRIBED:
            self._subscribed += 1
            if self._subscribed == self._protocol.subscriptions:
                self._rotate(now_ns)
        elif word.sign in (Sign.LOGIN_REFUSED, Sign.SUBSCRIBE_REFUSED, Sign.LISTEN_KEY_EXPIRED):
            self._give_up(now_ns)

    def is_copy(self, frame: bytes, channel: Channel) -> bool:
        """Whether the other socket has told this frame already; notes it."""
        if self.stage not in (Stage.OPENING, Stage.OVERLAP) or channel.meaning is not self._of:
            return False
        step = -1 if channel is Channel.SPARE_STREAM else 1
        self._ahead[frame] += step
        return self._ahead[frame] * step <= 0
