"""How late a new order or an amendment may reach a venue, alike at all three.

Every venue takes a limit with the request and refuses what comes later. Until it is over nobody can say of an
order that the venue does not know that it never will: the shorter, the sooner a restarted gateway may quote.
Cancels and questions keep longer limits, for they are welcome at any time.
"""

from __future__ import annotations

from typing import Final

from exec.errors import OrderError

#: A quote that is a second late is not wanted any more.
ORDER_WINDOW_MS: Final = 1_000
SHORTEST_MS, LONGEST_MS = 100, 60_000


def life_s(window_ms: int) -> float:
    """Return a window as `OrderProtocol.request_life_s`; raises OrderError for one that makes no sense."""
    if isinstance(window_ms, bool) or not isinstance(window_ms, int):
        raise OrderError(f"order_window_ms is no whole number: {window_ms!r}")
    if not SHORTEST_MS <= window_ms <= LONGEST_MS:
        raise OrderError(f"order_window_ms {window_ms} is outside {SHORTEST_MS} to {LONGEST_MS}")
    return window_ms / 1_000
