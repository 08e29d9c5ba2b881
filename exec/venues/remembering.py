"""Small memories of a protocol: bounded, the oldest forgotten first."""

from __future__ import annotations

from typing import Final

REMEMBERED: Final = 4096


def keep(memory: dict[int, str], key: int, value: str) -> None:
    """Remember a value; forgets the oldest one beyond `REMEMBERED`."""
    memory.pop(key, None)
    if len(memory) >= REMEMBERED:
        del memory[next(iter(memory))]
    memory[key] = value
