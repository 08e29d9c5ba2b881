"""Books that fall silent on a connection which goes on: asked about, made STALE, their streams begun anew.

Drives `feeds.quiet` for the books of one session. The table of `feeds.continuity` decides the states.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from feeds.continuity import Event
from feeds.quiet import Quiet, QuietWatch
from shm.enums import BookState

if TYPE_CHECKING:
    from feeds.core import FeedCore
    from feeds.resync import BookTrack

RENEW_NS = 30_000_000_000  # a stream begun anew has so long to bring something, then twice as long …
RENEW_MAX_NS = 600_000_000_000


class MuteBooks:
    """Looks at the books of one session now and then.

    Args:
        core: holds the certificates.
        watch: what is usual for each book.
        fire: takes a book one step of the table.
        renew: has a book's depth stream ended and begun anew; False = not now.
    """

    def __init__(
        self,
        core: FeedCore,
        watch: QuietWatch,
        fire: Callable[[BookTrack, Event, int], None],
        renew: Callable[[BookTrack], bool],
    ) -> None:
        self._core, self.watch, self._fire, self._renew = core, watch, fire, renew
        #: Called with an instrument_id when the venue shall be asked what its book is; None = nobody can ask.
        self.ask: Callable[[int], None] | None = None
        self._looked_ns = -watch.settings.look_ns
        self.mutes = 0
        self.vouched = 0
        self.renewals = 0

    def is_due(self, now_ns: int) -> bool:
        """Whether it is time to look at every book; True at most once in `look_ns`."""
        if not self.watch.is_on or now_ns - self._looked_ns < self.watch.settings.look_ns:
            return False
        self._looked_ns = now_ns
        return True

    def look(self, track: BookTrack, now_ns: int) -> None:
        """Look at a book whose stream stands and is not silent."""
        if track.state is BookState.LIVE:
            self._look_at_live(track, now_ns)
        elif track.mute_ns is not None:
            self._look_at_mute(track, now_ns)

    def _look_at_live(self, track: BookTrack, now_ns: int) -> None:
        certificate = self._core.certificate(track.instrument_id)
        if certificate is None:  # being written just now
            return
        match self.watch.look(track.instrument_id, certificate.data_ns, now_ns):
            case Quiet.ASK:
                if self.ask is not None:
                    self.ask(track.instrument_id)
            case Quiet.MUTE:
                self.mutes += 1
                self._begin(track, now_ns)
                self._fire(track, Event.SILENCE, now_ns)

    def _begin(self, track: BookTrack, now_ns: int) -> None:
        track.mute_ns = track.asked_ns = now_ns
        track.renewals = 0
        self._begin_anew(track, now_ns)

    def _begin_anew(self, track: BookTrack, now_ns: int) -> None:
        track.renewed_ns = now_ns
        if self._renew(track):
            self.renewals += 1
            track.renewals += 1

    def _look_at_mute(self, track: BookTrack, now_ns: int) -> None:
        if now_ns - track.renewed_ns >= min(RENEW_NS << max(min(track.renewals, 10) - 1, 0), RENEW_MAX_NS):
            self._begin_anew(track, now_ns)
        if track.state is not BookState.STALE or self.ask is None:
            return  # disproved: a proof is under way
        if now_ns - track.asked_ns >= self.watch.limit_ns(track.instrument_id):
            track.asked_ns = now_ns
            self.ask(track.instrument_id)

    def may_be_asked_about(self, track: BookTrack) -> bool:
        """Whether an answer of the venue says something of a book: it is LIVE, or only too quiet."""
        is_mute = track.mute_ns is not None and track.state is BookState.STALE
        return track.state is BookState.LIVE or is_mute

    def on_equal(self, track: BookTrack, now_ns: int) -> None:
        """Note that a book equals what the venue says: it is quiet, not mute."""
        if not self.may_be_asked_about(track):
            return
        self.watch.vouch(track.instrument_id, now_ns)
        if track.mute_ns is not None:
            self.vouched += 1
            self._fire(track, Event.VOUCHED, now_ns)

    def on_different(self, track: BookTrack, now_ns: int) -> None:
        """Note that a book is not what the venue says; if nothing came meanwhile, its stream is mute."""
        certificate = self._core.certificate(track.instrument_id)
        if not self.watch.is_on or certificate is None or track.mute_ns is not None:
            return
        limit_ns = self.watch.limit_ns(track.instrument_id)
        if limit_ns and now_ns - certificate.data_ns > limit_ns // 2:
            self.mutes += 1
            self._begin(track, now_ns)
