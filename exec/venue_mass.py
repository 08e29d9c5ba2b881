"""Mass cancels of one account: none is forgotten that could not be paid for, was refused, or got lost."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from exec.order_protocol import Action, Answer, Request

#: The venue did nothing, and the same request may be granted a little later.
_LATER = frozenset((Action.WAIT, Action.RELOGIN, Action.RESYNC_TIME))


class MassCancels:
    """Which instruments are still to be emptied, and what was asked for; see the module.

    What can not be paid for waits for its turn in the lane of cancels. Where a request is no way (the venue
    has none, it costs more than the lane ever has, it was refused, no answer came) the orders are canceled
    one by one, and those cancels wait as all cancels do.

    Args:
        make: the requests that empty an instrument; empty = the venue has none.
        send: pays for a request and sends it: 0 = sent, above 0 = after so many ns, -1 = never.
        one_by_one: cancels each of our orders at an instrument.
        again_ns: at least so long until a request that met a lapsed login, clock or limit is made again.
    """

    def __init__(
        self,
        make: Callable[[int], Sequence[Request]],
        send: Callable[[Request, int], int],
        one_by_one: Callable[[int, int], None],
        again_ns: int,
    ) -> None:
        self._make = make
        self._send = send
        self._one_by_one = one_by_one
        self._again_ns = again_ns
        self._wanted: list[int] = []
        self._sent: dict[int, int] = {}
        #: When what waits is tried again; None = nothing waits.
        self.due_ns: int | None = None

    def want(self, instrument_ids: Sequence[int]) -> None:
        """Have these instruments emptied with the next `flush`."""
        self._wanted = list(dict.fromkeys((*self._wanted, *instrument_ids)))

    def flush(self, now_ns: int) -> None:
        """Send what can be paid for."""
        wanted, self._wanted, self.due_ns = self._wanted, [], None
        for instrument_id in wanted:
            requests = self._make(instrument_id)
            wait_ns = -1
            for request in requests:
                wait_ns = self._send(request, now_ns)
                if wait_ns:
                    break
                self._sent[request.request_id] = instrument_id
            if wait_ns > 0:
                self.want([instrument_id])
                self._try_at(now_ns + wait_ns)
            elif wait_ns:
                self._one_by_one(instrument_id, now_ns)

    def on_answer(self, answer: Answer, now_ns: int) -> None:
        """The venue has granted or refused one."""
        instrument_id = self._sent.pop(answer.request_id, None)
        if instrument_id is None or answer.is_ok:
            return
        if answer.action in _LATER:
            self.want([instrument_id])
            self._try_at(now_ns + max(answer.wait_ns, self._again_ns))
        else:
            self._one_by_one(instrument_id, now_ns)

    def on_silence(self, request_id: int, now_ns: int) -> None:
        """No answer came in time: whether it was carried out nobody knows, and a cancel more does no harm."""
        instrument_id = self._sent.pop(request_id, None)
        if instrument_id is not None:
            self._one_by_one(instrument_id, now_ns)

    def lost(self) -> None:
        """The connection is lost: what was not answered is wanted again, once there is one."""
        self.want(list(self._sent.values()))
        self._sent.clear()

    def _try_at(self, due_ns: int) -> None:
        self.due_ns = due_ns if self.due_ns is None else min(self.due_ns, due_ns)
