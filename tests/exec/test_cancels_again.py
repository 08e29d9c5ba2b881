"""Cancels of an order that the venue says not to know, while nothing answers what became of it."""

from __future__ import annotations

import itertools
from typing import Any

from shm.enums import OrderStatus
from tests.exec.venue_rig import MS, SECOND, Rig


def canceled(rig: Rig, refused: int, for_ns: int) -> list[int]:
    """Cancel an order whenever the OMS takes a cancel; the venue refuses so many. When cancels arrived."""
    order = rig.buy()
    rig.run(SECOND)
    assert rig.status(order) == OrderStatus.NEW
    answer, arrived = rig.venue._do, list[int]()

    def answer_no_question(number: str, method: str, params: dict[str, Any]) -> None:
        if method == "order.cancel":
            arrived.append(rig.now_ns)
        if method != "order.status":
            answer(number, method, params)

    rig.venue._do = answer_no_question  # type: ignore[method-assign]
    rig.venue.script.refuse = [(400, -2011, "Unknown order sent.")] * refused
    end = rig.now_ns + for_ns
    while rig.now_ns < end and not order.is_terminal:
        if not order.is_pending_cancel:
            rig.cancel(order)
        rig.run(50 * MS)
    assert rig.status(order) == OrderStatus.CANCELED
    return arrived


def test_they_become_rarer_and_the_order_is_canceled_without_an_answer() -> None:
    arrived = canceled(Rig().up(), 3, 20 * SECOND)
    gaps = [after - before for before, after in itertools.pairwise(arrived)]
    assert len(arrived) == 4
    assert [round(gap / SECOND) for gap in gaps] == [1, 2, 4]
