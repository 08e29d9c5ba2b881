"""Folders that a verb is told to write into."""

from __future__ import annotations

from pathlib import Path

from engine.errors import ConfigError, Problem


def make_folder(folder: Path, option: str) -> None:
    """Make the folder that an option names; told before the run, not after it.

    Raises:
        ConfigError: it can not be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        raise ConfigError(option, [Problem(str(folder), "is a file; expected a folder")]) from error
    except OSError as error:
        raise ConfigError(option, [Problem(str(folder), str(error.strerror))]) from error
