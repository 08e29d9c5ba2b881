"""Trading states ACTIVE, REDUCING, HALTED: what each lets pass and who may change it, as a table.

Going up (towards HALTED) is always allowed, from any process, and latches: nothing lowers the state by
accident. Going down takes the operator's two steps, arm then clear, so that one stray command can not
resume trading. The word itself lives in the control segment; this module has no I/O.
"""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

from shm.enums import TradingState


class HaltEvent(IntEnum):
    """What may be asked of the trading state."""

    REDUCE = 1
    HALT = 2
    ARM = 3
    CLEAR = 4


class HaltStep(NamedTuple):
    """The answer to one request: the state afterwards, whether resume is armed, whether it was obeyed."""

    state: TradingState
    armed: bool
    obeyed: bool


_A, _R, _H = TradingState.ACTIVE, TradingState.REDUCING, TradingState.HALTED

# (state, armed, event) -> step; every combination stands here.
TABLE: dict[tuple[TradingState, bool, HaltEvent], HaltStep] = {
    (_A, False, HaltEvent.REDUCE): HaltStep(_R, False, True),
    (_A, False, HaltEvent.HALT): HaltStep(_H, False, True),
    (_A, False, HaltEvent.ARM): HaltStep(_A, False, False),
    (_A, False, HaltEvent.CLEAR): HaltStep(_A, False, False),
    (_A, True, HaltEvent.REDUCE): HaltStep(_R, False, True),
    (_A, True, HaltEvent.HALT): HaltStep(_H, False, True),
    (_A, True, HaltEvent.ARM): HaltStep(_A, False, False),
    (_A, True, HaltEvent.CLEAR): HaltStep(_A, False, False),
    (_R, False, HaltEvent.REDUCE): HaltStep(_R, False, True),
    (_R, False, HaltEvent.HALT): HaltStep(_H, False, True),
    (_R, False, HaltEvent.ARM): HaltStep(_R, True, True),
    (_R, False, HaltEvent.CLEAR): HaltStep(_R, False, False),
    # A new request to reduce or halt disarms: whoever armed did not know of it.
    (_R, True, HaltEvent.REDUCE): HaltStep(_R, False, True),
    (_R, True, HaltEvent.HALT): HaltStep(_H, False, True),
    (_R, True, HaltEvent.ARM): HaltStep(_R, True, True),
    (_R, True, HaltEvent.CLEAR): HaltStep(_A, False, True),
    (_H, False, HaltEvent.REDUCE): HaltStep(_H, False, False),
    (_H, False, HaltEvent.HALT): HaltStep(_H, False, True),
    (_H, False, HaltEvent.ARM): HaltStep(_H, True, True),
    (_H, False, HaltEvent.CLEAR): HaltStep(_H, False, False),
    (_H, True, HaltEvent.REDUCE): HaltStep(_H, True, False),
    (_H, True, HaltEvent.HALT): HaltStep(_H, False, True),
    (_H, True, HaltEvent.ARM): HaltStep(_H, True, True),
    (_H, True, HaltEvent.CLEAR): HaltStep(_A, False, True),
}


def step(state: TradingState, armed: bool, event: HaltEvent) -> HaltStep:
    """Look up what one request does; a request that is not obeyed leaves the state as it was."""
    return TABLE[state, armed, event]
