"""The console that verbs print on."""

from __future__ import annotations

from rich.console import Console

PLAIN_WIDTH = 130


def make_console(*, stderr: bool = False) -> Console:
    """A console that does not squeeze tables into 80 columns when nobody looks at a terminal."""
    console = Console(stderr=stderr)
    return console if console.is_terminal else Console(stderr=stderr, width=PLAIN_WIDTH)
