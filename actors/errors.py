"""Exceptions of the actors package."""

from __future__ import annotations


class ActorError(Exception):
    """Base of every error raised by this package."""


class SpecError(ActorError):
    """A worker spec that can not be read."""


class SettingsError(ActorError):
    """A role's settings with an unknown key, a wrong type or a senseless value."""


class RoleError(ActorError):
    """A role that the registry does not know."""


class StateError(ActorError):
    """A saved state that is too large or can not be stored."""


class VirtualClockError(ActorError):
    """An actor awaited something that does not exist on the virtual clock."""
