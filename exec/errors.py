"""Errors of the package: edges only; refusals of orders are values (`enums.Reason`), never exceptions."""

from __future__ import annotations


class ExecError(Exception):
    """Base of every error raised by `exec`."""


class OrderError(ExecError):
    """An order or identity was malformed, or an invariant of an order was broken."""


class SessionError(ExecError):
    """A command was given to a session that can not take it (not connected)."""


class RecoveryError(ExecError):
    """The journal contradicts itself; the text names the sequence and what disagrees."""
