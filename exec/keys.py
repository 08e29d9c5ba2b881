"""A venue account's keys: read from the environment or a file, shown to nobody."""

from __future__ import annotations

import os
import resource
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, NoReturn

from exec.errors import KeysError

KeyKind = Literal["hmac", "ed25519"]
KINDS: tuple[KeyKind, ...] = ("hmac", "ed25519")


class Keys:
    """What signs the requests of one account.

    Its text, whatever way it is asked for, holds no part of a key, and it can not be pickled or copied into a
    report by accident.

    Args:
        api_key: the public half; goes over the wire, and is shown nowhere all the same.
        secret: HMAC secret, or the private key as PEM (PKCS8) for `ed25519`.
        passphrase: where the venue has one.
        kind: how requests are signed.

    Raises:
        KeysError: the API key or secret is empty, holds what no header may hold, or the kind is not known.
    """

    __slots__ = ("api_key", "kind", "passphrase", "secret")

    def __init__(self, api_key: str, secret: str, passphrase: str = "", kind: KeyKind = "hmac") -> None:
        if kind not in KINDS:
            raise KeysError(f"key kind {kind!r} is not known (known: {', '.join(KINDS)})")
        for name, value in (("API key", api_key), ("secret", secret)):
            if not value:
                raise KeysError(f"the {name} is empty")
        if not (api_key.isascii() and api_key.isprintable() and " " not in api_key):
            raise KeysError("the API key holds characters that no request may hold")
        self.api_key = api_key
        self.secret = secret
        self.passphrase = passphrase
        self.kind: KeyKind = kind

    def __repr__(self) -> str:
        return f"Keys({self.kind})"

    def __reduce__(self) -> NoReturn:
        raise KeysError("keys are not pickled")

    @property
    def texts(self) -> tuple[str, ...]:
        """Everything that must be seen nowhere; for tests and redaction."""
        return tuple(text for text in (self.api_key, self.secret, self.passphrase) if text)


def read_secret(
    what: str, env: str | None, file: str | None, environment: Mapping[str, str] | None = None
) -> str:
    """Read one secret from where the configuration says it is.

    Args:
        what: its name in errors, for example `venues.x.account.secret`.
        env: name of an environment variable, or None.
        file: path of a file, or None.
        environment: instead of the process's own.

    Returns:
        The secret without blanks around it; "" when neither place is given.

    Raises:
        KeysError: both places are given, the variable is not set, or the file can not be read. Names the
            place, never the secret.
    """
    if env is not None and file is not None:
        raise KeysError(f"{what}: give an environment variable or a file, not both")
    if env is not None:
        value = (os.environ if environment is None else environment).get(env)
        if value is None:
            raise KeysError(f"{what}: the environment variable {env} is not set")
        return value.strip()
    if file is not None:
        try:
            return Path(file).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
            raise KeysError(f"{what}: {file} can not be read: {reason}") from error
    return ""


def open_to_others(file: str) -> str:
    """Say who but its owner may read a file that holds a secret; "" = nobody, or it can not be looked at."""
    try:
        mode = stat.S_IMODE(Path(file).stat().st_mode)
    except OSError:
        return ""
    if not mode & (stat.S_IRGRP | stat.S_IROTH):
        return ""
    return f"{file} can be read by others (mode {mode:04o}): chmod 600 {file}"


def forbid_core_dump() -> None:
    """Keep the memory of this process, which holds keys from now on, out of core files and core handlers.

    One byte: less than any core file has, and the one limit that the kernel obeys for handlers, too (core(5),
    "Piping core dumps to a program").
    """
    hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
    most = 1 if hard == resource.RLIM_INFINITY or hard >= 1 else 0
    resource.setrlimit(resource.RLIMIT_CORE, (most, most))
