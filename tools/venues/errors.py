"""Errors of the simulated venues; each message is written for the person who typed the command."""

from __future__ import annotations


class VenueSimulatorError(Exception):
    """Base of everything a simulated venue reports to its user."""


class SettingsError(VenueSimulatorError):
    """A setting is missing, unknown or contradicts another one."""


class CaptureFormatError(VenueSimulatorError):
    """A capture can not be read; the message names file and line."""


class ListenError(VenueSimulatorError):
    """A port can not be listened on."""


class TlsError(VenueSimulatorError):
    """Certificates can not be made or loaded."""
