"""What a venue's codes mean for us; which code means what is each venue's own table (`<venue>/errors`)."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final, NamedTuple

from exec.order_protocol import Action, Answer, RequestKind
from shm.enums import Reason


class Meaning(NamedTuple):
    """What a code means for us."""

    reason: Reason
    action: Action
    wait_ns: int = 0


#: Of a code that is not listed: a refusal where the venue looked at the order, else nobody knows.
OTHER_REFUSED: Final = Meaning(Reason.VENUE_REJECTED, Action.REFUSED)
OTHER: Final = Meaning(Reason.NONE, Action.ASK)

#: Ends that are the order's own nature, not somebody's cancel.
EXPIRES: Final = frozenset((Reason.FOK_NOT_FILLABLE, Reason.IOC_REMAINDER, Reason.SELF_TRADE))


def codes(reason: Reason, action: Action, *numbers: int, wait_ns: int = 0) -> dict[str, Meaning]:
    """Return rows of a table: these codes, as the texts that the venue writes, mean the same."""
    return {str(number): Meaning(reason, action, wait_ns) for number in numbers}


def look_up(
    code: str,
    kind: RequestKind | None,
    table: Mapping[str, Meaning],
    ended: Collection[str],
    *,
    is_refusal: bool,
) -> Meaning:
    """Return what a code means as the answer to a request.

    Args:
        code: as the table writes it.
        kind: of the request, None = not known.
        table: code → meaning.
        ended: codes that say of a cancel that its order can rest no more: what it wanted holds.
        is_refusal: what a code that is not in the table is.
    """
    found = table.get(code)
    if found is None:
        return OTHER_REFUSED if is_refusal else OTHER
    if kind == RequestKind.CANCEL and code in ended:
        return Meaning(found.reason, Action.DONE)
    return found


def refusal(
    found: Meaning, request_id: int, code: str, text: str, *, order_id: int = 0, is_last: bool = True
) -> Answer:
    """Return an answer that is no success, as the table has it."""
    return Answer(
        request_id,
        False,
        found.reason,
        found.action,
        code,
        text,
        order_id=order_id,
        wait_ns=found.wait_ns,
        is_last=is_last,
    )
