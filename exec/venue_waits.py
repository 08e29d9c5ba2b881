"""What a session waits for because the venue's limits are used up, in words: nobody decides by it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping

from exec.order_protocol import Request
from exec.venue_commands import SECOND_NS

#: A wait is told once it will have lasted so long, and again after so long.
TOLD_FROM_NS = 2 * SECOND_NS
TOLD_AGAIN_NS = 10 * SECOND_NS
TOLD_NEVER_NS = 60 * SECOND_NS


class RateWaits:
    """What could not be paid for since both views agreed the last time, by what it is for.

    Args:
        tell: told what a person should know: a wait that lasts, and a request that no wait will pay for.
    """

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell
        self._due: dict[str, tuple[int, str]] = {}
        self._never: dict[str, str] = {}
        self._since_ns: int | None = None
        self._told_ns = 0
        self._never_told_ns: dict[str, int] = {}

    def note(
        self, what: str, requests: Iterable[Request], wait_ns: int, now_ns: int, behind: int = 0
    ) -> None:
        """Take what paying for requests came to.

        Args:
            what: they are for.
            requests: that were to be paid for.
            wait_ns: 0 = paid; above 0 = to be asked again after so long; -1 = no wait pays for them.
            now_ns: monotonic time.
            behind: how many requests wait behind these.
        """
        costs: Counter[str] = Counter()
        for request in requests if wait_ns else ():
            costs.update(dict(request.rates))
        self.note_costs(what, costs, wait_ns, now_ns, behind)

    def note_costs(
        self, what: str, costs: Mapping[str, int], wait_ns: int, now_ns: int, behind: int = 0
    ) -> None:
        """The same as `note`, of what no request stands for: units by what counts them."""
        self._due.pop(what, None)
        self._never.pop(what, None)
        if not wait_ns:
            return
        cost = ", ".join(f"{weight} of {purpose}" for purpose, weight in costs.items())
        if wait_ns < 0:
            text = f"{what} ({cost}) cost more than this lane's share of the limit ever is"
            self._never[what] = text
            if now_ns >= self._never_told_ns.get(what, now_ns):
                self._never_told_ns[what] = now_ns + TOLD_NEVER_NS
                self._tell(f"{text}: it needs a larger rate_share")
            return
        if self._since_ns is None:
            self._since_ns = now_ns
            self._told_ns = now_ns
        due_ns = now_ns + wait_ns
        self._due[what] = due_ns, f"{what} ({cost})" + (f", {behind} more behind it" if behind else "")
        if due_ns - self._since_ns >= TOLD_FROM_NS and now_ns >= self._told_ns:
            self._told_ns = now_ns + TOLD_AGAIN_NS
            self._tell(self.text(now_ns))

    def agreed(self) -> None:
        """Both views agree: nothing is waited for."""
        self._due.clear()
        self._since_ns = None

    def text(self, now_ns: int) -> str:
        """What is waited for, how long yet at least, how long so far; "" = nothing."""
        found = list(self._never.values())
        if self._due and self._since_ns is not None:
            due_ns, what = max(self._due.values())
            left_s = max(due_ns - now_ns, 0) / SECOND_NS
            spent_s = (now_ns - self._since_ns) / SECOND_NS
            found.append(f"waits {left_s:.1f} s for rate: {what}; {spent_s:.1f} s so far")
        return "; ".join(found)
