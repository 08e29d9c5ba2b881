"""Errors of the package: edges only; refusals of orders are values (`enums.Reason`), never exceptions."""

from __future__ import annotations


class ExecError(Exception):
    """Base of every error raised by `exec`."""


class OrderError(ExecError):
    """An order or identity was malformed, or an invariant of an order was broken."""


class SessionError(ExecError):
    """A command was given to a session that can not take it (not connected)."""


class SimulatorError(ExecError):
    """A queue model or latency of the simulator was described in words that mean none; the text says why."""


class RecoveryError(ExecError):
    """The journal contradicts itself; the text names the sequence and what disagrees."""


class DecodeError(ExecError):
    """A venue's answer could not be understood; the text names the field and what stood there."""


class KeysError(ExecError):
    """An account's keys are missing or malformed; the text never holds any part of them."""
