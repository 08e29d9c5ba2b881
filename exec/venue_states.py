"""The states of a venue session as a table: (state, event) → state; every pair is decided."""

from __future__ import annotations

from enum import IntEnum


class SessionState(IntEnum):
    """How far a session is; only in UP may anything new be sent."""

    DOWN = 0  # not started, or ended by us
    CONNECTING = 1  # what must be had first (listen key, clock) and the sockets
    LOGGING_IN = 2  # sockets stand; login and subscriptions are under way
    SYNCING = (
        3  # commands and questions pass; every order in doubt is asked, orders and positions are compared
    )
    UP = 4
    STOPPED = 5  # key, permission or account was refused: nothing new is sent until a human looks


class SessionEvent(IntEnum):
    """What moves a session."""

    START = 0
    OPENED = 1  # all that CONNECTING waits for
    LOGGED_IN = 2
    SYNCED = 3
    LOST = 4  # a socket, or the venue's word that the session is over
    REFUSED = 5
    END = 6


_S, _E = SessionState, SessionEvent
TABLE: dict[tuple[SessionState, SessionEvent], SessionState] = {
    (state, event): state for state in SessionState for event in SessionEvent
}
TABLE |= {
    (_S.DOWN, _E.START): _S.CONNECTING,
    (_S.CONNECTING, _E.OPENED): _S.LOGGING_IN,
    (_S.LOGGING_IN, _E.LOGGED_IN): _S.SYNCING,
    (_S.SYNCING, _E.SYNCED): _S.UP,
    **{(s, _E.LOST): _S.CONNECTING for s in (_S.LOGGING_IN, _S.SYNCING, _S.UP)},
    **{(s, _E.REFUSED): _S.STOPPED for s in (_S.CONNECTING, _S.LOGGING_IN, _S.SYNCING, _S.UP)},
    **{(s, _E.END): _S.DOWN for s in SessionState},
}
#: Sockets stand and are logged in: frames can be sent.
REACHES_VENUE = frozenset((_S.SYNCING, _S.UP))


def step(state: SessionState, event: SessionEvent) -> SessionState:
    """Look up one pair."""
    return TABLE[state, event]
