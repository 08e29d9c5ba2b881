"""What the sending half of a venue session (`exec.command_sender`) needs: link, rates, times, counts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from exec.order_protocol import Channel, Request

MS_NS = 1_000_000
SECOND_NS = 1_000_000_000


class VenueLink(Protocol):
    """What does a session's I/O: two sockets, opened again when lost, and the way to REST."""

    def connect_orders(self, url: str) -> None:
        """Have the order socket at this address."""

    def connect_private(self, url: str) -> None:
        """Have the private stream at this address; another address than before replaces the socket."""

    def drop_orders(self, reason: str) -> None:
        """Drop the order socket; it is opened again, or not if the session ended."""

    def drop_private(self, reason: str) -> None:
        """Drop the private stream."""

    def send_order(self, frame: bytes) -> bool:
        """Send on the order socket; False = it does not stand, nothing was sent."""

    def send_private(self, frame: bytes) -> bool:
        """Send on the private stream."""

    def open_spare(self, url: str, of: Channel) -> None:
        """Open a second order socket or private stream beside the first; its channel is `of.spare`."""

    def send_spare(self, frame: bytes, of: Channel) -> bool:
        """Send on a spare socket."""

    def swap_spare(self, of: Channel) -> None:
        """From now on the spare socket is the one in force, and that one the spare."""

    def drop_spare(self, of: Channel) -> None:
        """Close a spare socket for good, if there is one."""

    def send_rest(self, request: Request) -> bool:
        """Send by REST; False = not taken now. The answer comes to `VenueSession.on_rest`."""


class Rates(Protocol):
    """One account's lanes of the rate ledger (`exec.rate_limits.AccountRates`)."""

    def take(self, rates: tuple[tuple[str, int], ...], lane: int, instrument_id: int, now_ns: int) -> int:
        """0 = paid; above 0 = ask again after so many ns; -1 = more than the lane ever has."""

    def on_refused(
        self, code: str, rates: tuple[tuple[str, int], ...], instrument_id: int, until_ns: int
    ) -> bool:
        """The venue refused for too much: all processes wait."""

    def on_used(self, purpose: str, used: int, sent_ns: int, now_ns: int) -> None:
        """The venue says what it has counted."""

    def on_limit(self, purpose: str, stated: int, now_ns: int) -> int:
        """The venue says what it allows; returns the limit now in force, 0 = as before."""


class NoRates:
    """No limits: tests, and venues that count nothing."""

    def take(self, rates: tuple[tuple[str, int], ...], lane: int, instrument_id: int, now_ns: int) -> int:
        """Always paid."""
        del rates, lane, instrument_id, now_ns
        return 0

    def on_refused(
        self, code: str, rates: tuple[tuple[str, int], ...], instrument_id: int, until_ns: int
    ) -> bool:
        """Nothing to stop."""
        del code, rates, instrument_id, until_ns
        return False

    def on_used(self, purpose: str, used: int, sent_ns: int, now_ns: int) -> None:
        """Nothing to correct."""

    def on_limit(self, purpose: str, stated: int, now_ns: int) -> int:
        """Nothing to limit."""
        del purpose, stated, now_ns
        return 0


@dataclass(frozen=True, slots=True)
class SessionTimes:
    """Time limits of a venue session, in ns.

    Args:
        socket_answer_ns: of a request on the order socket, and of commands by REST.
        rest_answer_ns: of any other REST request.
        new_wait_ns: a new order or replace that can not be paid for by then is refused; cancels wait on.
        stream_ns: after an acknowledgment the private stream must have told of the order by then.
        doubt_ns: from doubt to the first question, and between the first two.
        doubt_max_ns: at most between two questions about an order.
        life_margin_ns: added to the venue's own limit on late requests before a NOT_FOUND is believed.
        clock_ns: between two measurements of the venue's clock.
        compare_ns: between two comparisons of orders and positions; 0 = only after a (re)connection.
        open_retry_ns: between two attempts at what must be had before the sockets.
        login_ns: logins and subscriptions that are not answered by then are begun anew, on new sockets.
        sync_retry_ns: between two attempts at a snapshot that failed.
        rotate_ns: after that each of the two sockets is replaced; venues end them after a day. 0 = never.
    """

    socket_answer_ns: int = 2 * SECOND_NS
    rest_answer_ns: int = 5 * SECOND_NS
    new_wait_ns: int = 100 * MS_NS
    stream_ns: int = 3 * SECOND_NS
    doubt_ns: int = 250 * MS_NS
    doubt_max_ns: int = 5 * SECOND_NS
    life_margin_ns: int = 500 * MS_NS
    clock_ns: int = 60 * SECOND_NS
    compare_ns: int = 60 * SECOND_NS
    open_retry_ns: int = 1 * SECOND_NS
    login_ns: int = 5 * SECOND_NS
    sync_retry_ns: int = 1 * SECOND_NS
    rotate_ns: int = 12 * 3_600 * SECOND_NS


@dataclass(slots=True)
class SessionCounts:
    """What a session has done, for counters."""

    requests: int = 0
    batches: int = 0
    batched: int = 0
    timeouts: int = 0
    refused: int = 0
    rate_waits: int = 0
    rate_refused: int = 0
    late_answers: int = 0
    duplicates: int = 0
    questions: int = 0
    resolved: int = 0
    reconnects: int = 0
    stale_streams: int = 0
    discrepancies: int = 0
    ghosts_canceled: int = 0
    foreign_orders: int = 0
    external_fills: int = 0
    decode_errors: int = 0
    clock_resyncs: int = 0
    rotations: int = 0
    order_rotations: int = 0
