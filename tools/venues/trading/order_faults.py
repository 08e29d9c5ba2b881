"""Faults that meet orders: what of a script is in force for the next requests and reports.

The script's language, times and counting are those of `tools.venues.faults`; this is what a fault does.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tools.venues.faults import Target
from tools.venues.faults_tracks import Track
from tools.venues.trading.terms import Why


@dataclass(slots=True)
class Acts:
    """What happens to one request.

    is_lost: it never arrives; slow_ns: it arrives so much later; refuses: why each order of it is refused;
    cut_after: the connection ends behind so many orders of it (0: not); is_cut: it ends behind all of them;
    is_unanswered: no answer comes; late_ns: the answer comes so much later than the reports.
    """

    is_lost: bool = False
    slow_ns: int = 0
    refuses: Why = Why.NONE
    cut_after: int = 0
    is_cut: bool = False
    is_unanswered: bool = False
    late_ns: int = 0


class OrderFaults:
    """The faults of a script that meet orders; empty until one was asked for."""

    def __init__(self) -> None:
        self._tracks: list[Track] = []
        self._happen: Callable[[Track], None] = lambda _track: None
        self._note: Callable[[Track, str], None] = lambda _track, _symbol: None

    def bind(self, happen: Callable[[Track], None], note: Callable[[Track, str], None]) -> None:
        """Say who counts a request (and brings a fault's time on), and who notes that one was done."""
        self._happen, self._note = happen, note

    def add(self, track: Track) -> None:
        """Bring a fault into force."""
        self._tracks.append(track)

    def meet(self, command: str, key: str, count: int) -> Acts | None:
        """Count a request with `count` orders and return what happens to it; None: nothing."""
        if not self._tracks:
            return None
        acts: Acts | None = None
        for track in self._tracks:
            if not self._meets(track, command, key):
                continue
            if track.due:
                for _ in range(count):
                    self._happen(track)
            if track.left and track.fault.what != "duplicate_report":
                if track.fault.what == "kill_in_batch" and count < 2:
                    continue
                acts = acts or Acts()
                self._act(track, acts)
                track.left -= 1
                self._note(track, key)
        return acts

    def is_doubled(self, key: str) -> bool:
        """Whether a report is to be sent twice."""
        for track in self._tracks:
            fault = track.fault
            if track.left and fault.what == "duplicate_report" and fault.symbol in ("", key):
                track.left -= 1
                self._note(track, key)
                return True
        return False

    @staticmethod
    def _meets(track: Track, command: str, key: str) -> bool:
        fault = track.fault
        if fault.target is not Target.ORDER or (fault.symbol and fault.symbol != key):
            return False
        wanted = fault.word("command") if "command" in fault.values else "any"
        return command != "other" if wanted == "any" else wanted == command

    @staticmethod
    def _act(track: Track, acts: Acts) -> None:
        fault = track.fault
        match fault.what:
            case "lost_request":
                acts.is_lost = True
            case "lost_ack":
                acts.is_unanswered = True
            case "ack_after_fill":
                acts.late_ns = int(fault.number("ms") * 1_000_000)
            case "ack_disconnect":
                acts.is_cut = True
            case "kill_in_batch":
                acts.cut_after = int(fault.number("orders"))
            case "slow_cancel":
                acts.slow_ns = int(fault.number("ms") * 1_000_000)
            case "reject_storm":
                acts.refuses = Why.STORM
            case "rate_limited":
                acts.refuses = Why.RATE
