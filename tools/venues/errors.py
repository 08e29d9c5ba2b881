"""Errors of the simulated venues; each message is written for the person who typed the command."""

from __future__ import annotations

import os
import socket


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


def bind_reason(error: OSError) -> str:
    """Say why an address can not be listened on, without what the loop wraps around it."""
    if error.errno is not None and not isinstance(error, socket.gaierror):
        return os.strerror(error.errno)
    return error.strerror or str(error)
