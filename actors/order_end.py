"""The end of a gateway's trading: everything is canceled, the venue's word on every order waited for."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from exec.oms import Oms
from exec.session import OrderSession

STEP_NS = 2_000_000
#: From the first look for orders that need another cancel (the venue refused one, or did not get it) to the
#: next; twice as long each time: cancels go before questions, and may use up what the questions would cost.
CANCEL_AGAIN_NS, CANCEL_AGAIN_MAX_NS = 50_000_000, 800_000_000
NAMED_MAX = 5


async def settle_orders(
    oms: Oms,
    session: OrderSession,
    cancel_all: Callable[[], object],
    on_cycle: Callable[[int], object],
    now_ns: Callable[[], int],
    sleep: Callable[[int], Awaitable[object]],
    deadline_ns: int,
) -> str:
    """Cancel all orders and wait until none is open, UNKNOWN or asked about.

    Args:
        oms: orders.
        session: where they rest; it is asked which of them it still has questions about.
        cancel_all: sends a cancel for each order that has none under way.
        on_cycle: does what is due, given the time.
        now_ns: the clock.
        sleep: lets that many ns pass.
        deadline_ns: when it ends, settled or not.

    Returns:
        "" = everything is settled, else what is not, in words.
    """
    cancel_ns, again_ns = 0, CANCEL_AGAIN_NS
    while (oms.open_count or session.in_doubt) and (now := now_ns()) < deadline_ns:
        if now >= cancel_ns:
            cancel_all()
            cancel_ns, again_ns = now + again_ns, min(2 * again_ns, CANCEL_AGAIN_MAX_NS)
        on_cycle(now_ns())
        if oms.open_count or session.in_doubt:
            await sleep(STEP_NS)
    return unsettled_text(oms, session)


def unsettled_text(oms: Oms, session: OrderSession) -> str:
    """Name orders of which the venue's last word is missing; "" = there are none."""
    orders, in_doubt = oms.open_orders(), session.in_doubt
    if not orders and not in_doubt:
        return ""
    names = ", ".join(repr(order) for order in orders[:NAMED_MAX])
    more = f" and {len(orders) - NAMED_MAX} more" if len(orders) > NAMED_MAX else ""
    return (
        f"stopped without the venue's word on {len(orders)} open orders ({in_doubt} questions unanswered): "
        f"{names}{more}; the next start asks the venue for its orders and positions"
    )
