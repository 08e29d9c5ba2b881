"""Errors of the package: edges only; a refused order is a value (`enums.Reason`), never an exception."""

from __future__ import annotations


class RiskError(Exception):
    """Base of every error raised by `risk`."""


class LimitsError(RiskError):
    """A limit is out of its range; the text names the limit and the value."""


class ExposureError(RiskError):
    """Open orders or positions were asked to become impossible (for example negative open units)."""
