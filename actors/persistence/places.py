"""Where a server is: its address, from the environment or a file, because it may hold a password."""

from __future__ import annotations

import os
from pathlib import Path

from actors.errors import ActorError


def read_address(role: str, url_env: str, url_file: str) -> str:
    """The address in an environment variable or a file.

    Raises:
        ActorError: it is not there; the address itself is never shown.
    """
    if url_env:
        url = os.environ.get(url_env, "")
        if not url:
            raise ActorError(f"{role}: the environment has no {url_env}")
        return url
    try:
        return Path(url_file).read_text(encoding="utf-8").strip()
    except OSError as error:
        raise ActorError(f"{role}: {url_file}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ActorError(f"{role}: {url_file} is not UTF-8 text") from None
