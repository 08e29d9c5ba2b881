"""What actors tell about themselves: the newest of each name, for status and report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from engine.processes import Child

#: Names of notes that are kept; an actor that invents more of them is not heard.
NOTES_MAX = 256


class Notes:
    """Notes by name and actor."""

    def __init__(self) -> None:
        self._notes: dict[str, dict[str, Any]] = {}
        self._count = 0

    def take(self, child: Child, message: Mapping[str, Any]) -> None:
        """Keep one; a worker's mistake in it is dropped."""
        name, actor, data = message.get("name"), message.get("actor", child.name), message.get("data")
        if not isinstance(name, str) or not isinstance(actor, str) or not isinstance(data, dict):
            return
        actors = self._notes.setdefault(name, {})
        if actor not in actors:
            if self._count >= NOTES_MAX:
                return
            self._count += 1
        actors[actor] = data

    def section(self) -> dict[str, dict[str, dict[str, Any]]]:
        """The part `notes` of status and report: by name, then by actor."""
        return {"notes": {name: dict(actors) for name, actors in self._notes.items() if actors}}
