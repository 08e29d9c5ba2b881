"""Where the facts of a machine are read: files under a root, and the few facts that are no files.

A test plants a tree of files and gives its own clock state and free space; everything above reads through
this and nothing else, so it never needs root and never changes the machine.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from profiles.host.hiccup import clock_state

CPU = "sys/devices/system/cpu"
MIB = 1 << 20


class Unreadable(Exception):
    """A fact that this user or this kernel does not give; the check that wanted it says *unknown*."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"/{path.lstrip('/')}: {reason}")


@dataclass(frozen=True, slots=True)
class ClockState:
    """The kernel's view of the wall clock.

    Attributes:
        synchronized: whether something disciplines it.
        offset_ns: correction that the kernel has still to make.
        max_error_ns: bound of the error that the discipline claims.
    """

    synchronized: bool
    offset_ns: int
    max_error_ns: int


@dataclass(frozen=True, slots=True)
class Space:
    """Bytes of one file system."""

    total: int
    free: int


def read_clock_state() -> ClockState:
    """Ask the kernel.

    Raises:
        Unreadable: it does not answer here.
    """
    try:
        raw = clock_state()
    except OSError as error:
        raise Unreadable("adjtimex", str(error)) from error
    return ClockState(not raw["unsynchronized"], raw["offset_ns"], raw["max_error_ns"])


def read_space(path: str) -> Space:
    """Space of the file system that holds a path, or that its nearest existing parent is on.

    Raises:
        Unreadable: there is none.
    """
    place = Path(path)
    while not place.exists() and place != place.parent:
        place = place.parent
    try:
        stat = os.statvfs(place)
    except OSError as error:
        raise Unreadable(path, error.strerror or "can not be read") from error
    return Space(stat.f_blocks * stat.f_frsize, stat.f_bavail * stat.f_frsize)


@dataclass(frozen=True, slots=True)
class Host:
    """Reads one machine.

    Args:
        root: where `proc`, `sys` and `dev` are.
        clock: gives the state of the wall clock.
        space: gives the space of the file system that holds a path.
    """

    root: Path = Path("/")
    clock: Callable[[], ClockState] = read_clock_state
    space: Callable[[str], Space] = read_space

    def text(self, path: str) -> str:
        """Content of a file, without white space around it.

        Raises:
            Unreadable: it is not there or may not be read.
        """
        try:
            return (self.root / path.lstrip("/")).read_text(errors="replace").strip()
        except OSError as error:
            raise Unreadable(path, error.strerror or "can not be read") from error

    def get(self, path: str, default: str = "") -> str:
        """Content of a file, or the default when it can not be read."""
        try:
            return self.text(path)
        except Unreadable:
            return default

    def number(self, path: str) -> int:
        """A file that holds one integer.

        Raises:
            Unreadable: as `text`, or it holds something else.
        """
        text = self.text(path)
        try:
            return int(text.split()[0])
        except (ValueError, IndexError):
            raise Unreadable(path, f"holds no number: {text[:40]!r}") from None

    def names(self, folder: str) -> list[str]:
        """Names in a folder, sorted; none when it can not be read."""
        try:
            return sorted(os.listdir(self.root / folder.lstrip("/")))
        except OSError:
            return []

    def exists(self, path: str) -> bool:
        """Whether there is a file or folder of that name."""
        return (self.root / path.lstrip("/")).exists()

    def writable(self, path: str) -> bool:
        """Whether this user may write the file, as far as its mode tells."""
        return os.access(self.root / path.lstrip("/"), os.W_OK)

    def cores(self) -> tuple[int, ...]:
        """Cores this process may run on, ascending.

        Raises:
            Unreadable: the kernel does not say.
        """
        for line in self.text("proc/self/status").splitlines():
            if line.startswith("Cpus_allowed_list:"):
                return parse_list(line.partition(":")[2])
        raise Unreadable("proc/self/status", "has no Cpus_allowed_list")

    def kernel_parameters(self) -> dict[str, str]:
        """The kernel command line, by parameter; one without a value has an empty one.

        Raises:
            Unreadable: it may not be read.
        """
        words = self.text("proc/cmdline").split()
        return {name: value for name, _, value in (word.partition("=") for word in words)}

    def capability(self, bit: int) -> bool:
        """Whether this process has a capability in force, by its number in linux/capability.h."""
        for line in self.get("proc/self/status").splitlines():
            if line.startswith("CapEff:"):
                return bool(int(line.partition(":")[2], 16) >> bit & 1)
        return False

    def processes(self) -> Iterator[int]:
        """Process ids."""
        return (int(name) for name in self.names("proc") if name.isdigit())

    def process_names(self) -> dict[str, int]:
        """A process id by command name."""
        return {name: pid for pid in self.processes() if (name := self.get(f"proc/{pid}/comm"))}


def parse_list(text: str) -> tuple[int, ...]:
    """Cores of a kernel list such as `0-2,5`; empty for an empty one."""
    cores: set[int] = set()
    for part in text.strip().split(","):
        first, _, last = part.partition("-")
        # A stride, `0-6:2/4`, is only written by people; the kernel writes plain ranges.
        if first.strip().isdigit():
            cores.update(range(int(first), int(last if last.isdigit() else first) + 1))
    return tuple(sorted(cores))


def format_list(cores: tuple[int, ...] | list[int]) -> str:
    """Cores as a kernel list: the reverse of `parse_list`."""
    parts: list[str] = []
    ordered = sorted(set(cores))
    start = 0
    for i, core in enumerate(ordered):
        if i + 1 == len(ordered) or ordered[i + 1] != core + 1:
            parts.append(f"{ordered[start]}-{core}" if i > start else str(core))
            start = i + 1
    return ",".join(parts)
