"""Instance and run: a name locked by one process, and an epoch that rises with each start.

The state directory `<state root>/<name>` holds the lock, the epoch and whatever the engine keeps
there (journals, audit). The lock is a `flock`: it vanishes with the process, however that dies. A
second lock, an abstract socket named after the instance, keeps two state roots from using one name
at once, because segment names know nothing of state roots.
"""

from __future__ import annotations

import fcntl
import os
import socket
import struct
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from shm.errors import InstanceError
from shm.segment import PREFIX, RunName, is_valid_instance_name

_DEFAULT_NAMES: Final = 1000


def default_state_root() -> Path:
    """Return XDG_STATE_HOME/ringlane, else ~/.local/state/ringlane."""
    base = os.environ.get("XDG_STATE_HOME")
    return (Path(base) if base else Path.home() / ".local" / "state") / "ringlane"


class _Busy(Exception):
    """Another process has the name; the argument is its pid, 0 if unknown."""


class Instance:
    """A locked instance with a fresh epoch; lives until `close` or the end of the process."""

    def __init__(
        self, name: str, state_dir: Path, epoch: int, lock_fd: int, name_lock: socket.socket
    ) -> None:
        self.name = name
        self.state_dir = state_dir
        self.epoch = epoch
        self._lock_fd = lock_fd
        self._name_lock = name_lock

    def __repr__(self) -> str:
        return f"<Instance {self.name} epoch {self.epoch} in {self.state_dir}>"

    @property
    def run(self) -> RunName:
        """The name of this run."""
        return RunName(self.name, self.epoch)

    @classmethod
    def open(cls, state_root: Path | None = None, name: str | None = None) -> Instance:
        """Lock an instance and increment its epoch, fsynced before anything else happens.

        Args:
            state_root: Folder of state directories; None means `default_state_root()`.
            name: Instance name; None takes the first free of default-1, default-2, …

        Raises:
            InstanceError: The name is not valid or already running, or the state directory or its
                epoch can not be used.
        """
        root = default_state_root() if state_root is None else state_root
        if name is not None:
            if not is_valid_instance_name(name):
                raise InstanceError(
                    f"instance name {name!r} is not valid: a-z, 0-9 and -, beginning with a letter or digit, "
                    "at most 41 characters"
                )
            try:
                return cls._lock(root, name)
            except _Busy as busy:
                raise InstanceError(f"instance '{name}' is already running (pid {busy.args[0]})") from None
        for number in range(1, _DEFAULT_NAMES + 1):
            try:
                return cls._lock(root, f"default-{number}")
            except _Busy:
                continue
        raise InstanceError(f"no free instance name among default-1 … default-{_DEFAULT_NAMES}")

    @classmethod
    def _lock(cls, root: Path, name: str) -> Instance:
        state_dir = root / name
        try:
            state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            fd = os.open(state_dir / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise InstanceError(f"state directory {state_dir} can not be used: {error.strerror}") from error
        with ExitStack() as undo:
            undo.callback(os.close, fd)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise _Busy(_pid_in(fd)) from None
            name_lock = _bind_name(name)
            undo.callback(name_lock.close)
            os.ftruncate(fd, 0)
            os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
            epoch = _next_epoch(state_dir)
            undo.pop_all()
        return cls(name, state_dir, epoch, fd, name_lock)

    def close(self) -> None:
        """Release both locks; the name is free for another process."""
        if self._lock_fd >= 0:
            os.close(self._lock_fd)
            self._lock_fd = -1
            self._name_lock.close()

    def __enter__(self) -> Instance:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _pid_in(lock_fd: int) -> int:
    text = os.pread(lock_fd, 32, 0).strip()
    return int(text) if text.isdigit() else 0


def _bind_name(name: str) -> socket.socket:
    """Hold the instance name machine-wide; abstract sockets vanish with their process."""
    address = f"\0{PREFIX}.{name}"
    lock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        lock.bind(address)
        lock.listen(1)  # so that the next one can ask who we are
    except OSError:
        lock.close()
        raise _Busy(_pid_behind(address)) from None
    return lock


def _pid_behind(address: str) -> int:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(address)
            credentials = probe.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        except OSError:
            return 0
    pid: int = struct.unpack("3i", credentials)[0]
    return pid


def _next_epoch(state_dir: Path) -> int:
    """Increment the epoch durably: write aside, fsync, rename, fsync the directory."""
    path = state_dir / "epoch"
    try:
        text = path.read_text(encoding="ascii").strip()
    except FileNotFoundError:
        text = "0"
    except (OSError, UnicodeDecodeError) as error:
        raise InstanceError(f"epoch file {path} can not be read: {error}") from error
    # Guessing an epoch could reuse client order ids: better not to start.
    if not text.isdecimal():
        raise InstanceError(f"epoch file {path} holds {text[:40]!r}, not a number")
    epoch = int(text) + 1
    aside = state_dir / "epoch.new"
    try:
        fd = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            os.write(fd, f"{epoch}\n".encode())
            os.fsync(fd)
        finally:
            os.close(fd)
        os.replace(aside, path)
        directory = os.open(state_dir, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
    except OSError as error:
        raise InstanceError(f"epoch file {path} can not be written: {error.strerror}") from error
    return epoch
