"""What actors tell: the newest of each name stands, nonsense and floods do not."""

from __future__ import annotations

from typing import Any, cast

from engine.notes import NOTES_MAX, Notes
from engine.processes import Child


class Named:
    name = "trade"


def test_the_newest_note_of_each_actor_stands() -> None:
    notes, child = Notes(), cast(Child, Named())
    for number in (1, 2):
        notes.take(child, {"name": "slippage", "actor": "maker", "data": {"orders": number}})
    notes.take(child, {"name": "slippage", "data": {"orders": 7}})
    assert notes.section() == {"notes": {"slippage": {"maker": {"orders": 2}, "trade": {"orders": 7}}}}


def test_nonsense_is_dropped_and_a_flood_of_names_is_bounded() -> None:
    notes, child = Notes(), cast(Child, Named())
    nonsense: list[dict[str, Any]] = [{}, {"name": 1, "data": {}}, {"name": "a", "data": [1]}, {"data": {}}]
    for message in nonsense:
        notes.take(child, message)
    assert notes.section() == {"notes": {}}
    for number in range(2 * NOTES_MAX):
        notes.take(child, {"name": f"n{number}", "data": {}})
    assert len(notes.section()["notes"]) == NOTES_MAX
