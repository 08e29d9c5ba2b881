"""Segments: named shared-memory mappings, their creation, attachment, proof of life and clearing.

The only module that creates or attaches a segment. A segment is one file under /dev/shm,
`ringlane.<instance>.<epoch>.<short>`: a 256-byte header, then the payload that `ring`, `book` and
the others format. Its creator holds a shared `flock` on it for life; the kernel drops that lock when
the process dies by whatever cause, so a segment nobody locks is garbage.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import re
import struct
import sys
import threading
from contextlib import ExitStack
from multiprocessing import resource_tracker
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol

import posix_ipc  # type: ignore[import-not-found]

from shm.clock import utc_ns
from shm.enums import SegmentKind
from shm.errors import LayoutError, SegmentError
from shm.layout import LAYOUT_HASH, LAYOUT_VERSION, MAGIC, SEGMENT_HEADER_BYTES
from shm.mapping import HUGE_BYTES, AlignedMap

SHM_DIRECTORY: Final = Path("/dev/shm")  # noqa: S108 - the kernel's own mount
PREFIX: Final = "ringlane"

_HEADER: Final = struct.Struct("<QIIQQQIIQ64sQ")  # shm_segment_header up to `ready`
_READY: Final = struct.Struct("<Q")
_READY_OFFSET: Final = _HEADER.size - _READY.size
_INSTANCE_PATTERN: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,40}")
_SHORT_PATTERN: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,61}")


Mapping = mmap.mmap | AlignedMap


class RunName(NamedTuple):
    """Names one run: the instance and its epoch; segments are named by it."""

    instance: str
    epoch: int

    def segment_name(self, short: str) -> str:
        """Return the file name under /dev/shm of the segment `short` of this run."""
        return f"{PREFIX}.{self.instance}.{self.epoch}.{short}"


def is_valid_instance_name(name: str) -> bool:
    """Return whether `name` may be an instance: [a-z0-9][a-z0-9-]{0,40}."""
    return _INSTANCE_PATTERN.fullmatch(name) is not None


class Segment:
    """One mapping: header checked, payload as a writable (or read-only) memoryview.

    Made by `create`, `attach` or `anonymous`. Objects over the payload keep the mapping alive; `close`
    gives up this object's own references.
    """

    __slots__ = ("_map", "_owner", "fd", "kind", "name", "payload", "short", "size_bytes")

    def __init__(
        self, name: str, short: str, kind: SegmentKind, mapping: Mapping, fd: int, owner: bool
    ) -> None:
        self.name = name
        self.short = short
        self.kind = kind
        self.fd = fd
        self.size_bytes = len(mapping)
        self._map: Mapping | None = mapping
        self._owner = owner
        self.payload = _view(mapping)[SEGMENT_HEADER_BYTES:]

    def __repr__(self) -> str:
        return f"<Segment {self.name or self.short} {self.kind.name} {self.size_bytes} bytes>"

    @classmethod
    def create(
        cls, run: RunName, short: str, kind: SegmentKind, payload_bytes: int, *, huge_pages: bool = False
    ) -> Segment:
        """Create a named segment with a zeroed payload, allocated and pre-faulted.

        Args:
            run: The run it belongs to.
            short: Short name, at most 62 characters of a-z 0-9 . _ -
            kind: What it holds.
            payload_bytes: Bytes behind the header.
            huge_pages: Map it in huge pages if it fills one and the kernel has some; small ones do as well.

        Raises:
            SegmentError: It exists and its creator lives, /dev/shm is full, or a name is not valid.
        """
        _check_names(run, short)
        name = run.segment_name(short)
        size = SEGMENT_HEADER_BYTES + payload_bytes
        with ExitStack() as undo:
            fd = _open_new(name)
            undo.callback(_unlink, name)
            undo.callback(os.close, fd)
            fcntl.flock(fd, fcntl.LOCK_SH)  # proof of life, held until this descriptor closes
            try:
                os.posix_fallocate(fd, 0, size)
            except OSError as error:
                free = _free_bytes()
                raise SegmentError(
                    f"segment {name} needs {size} bytes, {SHM_DIRECTORY} has {free} free: {error.strerror}"
                ) from error
            mapping = _map_file(fd, size, writable=True, huge_pages=huge_pages)
            _write_header(mapping, short, kind, run.epoch)
            undo.pop_all()
        return cls(name, short, kind, mapping, fd, True)

    @classmethod
    def attach(
        cls, run: RunName, short: str, kind: SegmentKind, *, writable: bool = True, huge_pages: bool = False
    ) -> Segment:
        """Attach a segment that another process (or this one) created.

        Args:
            run: The run it belongs to.
            short: Short name.
            kind: What it must hold.
            writable: False maps it read-only.
            huge_pages: Map it so that huge pages its creator got serve this process too.

        Raises:
            SegmentError: There is no such segment, or its creator has not finished it.
            LayoutError: It is not a Ringlane segment, of another layout, of another kind, or cut short.
        """
        _check_names(run, short)
        name = run.segment_name(short)
        flags = os.O_RDWR if writable else os.O_RDONLY
        try:
            fd = os.open(SHM_DIRECTORY / name, flags | os.O_CLOEXEC | os.O_NOFOLLOW)
        except FileNotFoundError:
            raise SegmentError(f"segment {name} does not exist: no such run, or it has ended") from None
        except OSError as error:
            raise SegmentError(f"segment {name} can not be opened: {error.strerror}") from error
        with ExitStack() as undo:
            undo.callback(os.close, fd)
            size = os.fstat(fd).st_size
            if size < SEGMENT_HEADER_BYTES:
                raise SegmentError(f"segment {name} is not ready: its creator has not finished it")
            mapping = _map_file(fd, size, writable=writable, huge_pages=huge_pages)
            _check_header(mapping, name, kind, size)
            undo.pop_all()
        return cls(name, short, kind, mapping, fd, False)

    @classmethod
    def anonymous(cls, short: str, kind: SegmentKind, payload_bytes: int) -> Segment:
        """Create a private segment without a name, for one process: replay and tests."""
        mapping = mmap.mmap(-1, SEGMENT_HEADER_BYTES + payload_bytes, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        _write_header(mapping, short, kind, 0)
        return cls("", short, kind, mapping, -1, False)

    @property
    def epoch(self) -> int:
        """Epoch of the run in the header, 0 if anonymous."""
        return int(self._header()[5])

    @property
    def creator_pid(self) -> int:
        """Process id of the creator: for people; proof of life is the lock."""
        return int(self._header()[6])

    def _header(self) -> tuple[Any, ...]:
        if self._map is None:
            raise SegmentError(f"segment {self.name or self.short} is closed")
        return _HEADER.unpack_from(_view(self._map), 0)

    def close(self) -> None:
        """Give up the mapping and the descriptor (for a creator: its proof of life).

        Objects still using the payload keep the pages; they go with the last of them.
        """
        if self._map is None:
            return
        mapping, self._map = self._map, None
        try:
            self.payload.release()
            mapping.close()
        except BufferError:
            pass  # a ring or book still holds the payload; the mapping goes with it
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def unlink(self) -> None:
        """Remove the name; mappings stay usable. Does nothing if it is gone or anonymous."""
        if self.name:
            _unlink(self.name)

    def __enter__(self) -> Segment:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
        if self._owner:
            self.unlink()


class SegmentSource(Protocol):
    """Where a worker gets its segments from."""

    def open(self, short: str, kind: SegmentKind, *, writable: bool = True) -> Segment:
        """Return the segment `short`, checked to hold `kind`."""
        ...


class NamedSegments:
    """The segments of a run, attached by name; each is attached once and kept."""

    def __init__(self, run: RunName, *, huge_pages: bool = False) -> None:
        self.run = run
        self._huge_pages = huge_pages
        self._open: dict[tuple[str, bool], Segment] = {}

    def open(self, short: str, kind: SegmentKind, *, writable: bool = True) -> Segment:
        """Attach `short` or return it if it is attached already; errors as `Segment.attach`."""
        segment = self._open.get((short, writable))
        if segment is None:
            segment = self._open[short, writable] = Segment.attach(
                self.run, short, kind, writable=writable, huge_pages=self._huge_pages
            )
        return segment

    def close(self) -> None:
        """Close all that were opened."""
        for segment in self._open.values():
            segment.close()
        self._open.clear()


class AnonymousSegments:
    """Private segments by short name, for one process: replay, backtest and tests."""

    def __init__(self) -> None:
        self._segments: dict[str, Segment] = {}

    def create(self, short: str, kind: SegmentKind, payload_bytes: int) -> Segment:
        """Create `short`; SegmentError if it exists."""
        if short in self._segments:
            raise SegmentError(f"segment {short} exists already")
        segment = self._segments[short] = Segment.anonymous(short, kind, payload_bytes)
        return segment

    def open(self, short: str, kind: SegmentKind, *, writable: bool = True) -> Segment:  # noqa: ARG002
        """Return the object that `create` made; `writable` makes no difference here."""
        segment = self._segments.get(short)
        if segment is None:
            raise SegmentError(f"segment {short} does not exist: it was not created")
        if segment.kind != kind:
            raise LayoutError(f"segment {short} holds {segment.kind.name}, not {kind.name}")
        return segment

    def close(self) -> None:
        """Close all."""
        for segment in self._segments.values():
            segment.close()
        self._segments.clear()


def clear_dead_runs(instance: str, keep_epoch: int) -> list[str]:
    """Unlink what dead runs of one instance left; return the names removed.

    A segment whose creator lives (it holds the lock) is left alone, whatever its epoch.

    Args:
        instance: Only segments of this instance are looked at.
        keep_epoch: Epoch of the caller's own run, never touched.
    """
    prefix = f"{PREFIX}.{instance}."
    removed = []
    for entry in sorted(os.listdir(SHM_DIRECTORY)):
        if not entry.startswith(prefix):
            continue
        epoch = entry[len(prefix) :].partition(".")[0]
        if not epoch.isdecimal() or int(epoch) == keep_epoch:
            continue
        if _unlink_if_dead(entry):
            removed.append(entry)
    return removed


_register_lock = threading.Lock()


def open_for_readers(name: str) -> SharedMemory:
    """Open a live segment as a standard-library SharedMemory, for outside tools and numpy.

    Before Python 3.13 the standard library registers each *attached* segment with its resource
    tracker, which unlinks it when the reader exits (bpo-38119), under a running engine. Here the
    registration is left out. The payload starts at byte 256 of `.buf`.

    Args:
        name: File name under /dev/shm, e.g. "ringlane.default-1.7.books.0".
    """
    if sys.version_info >= (3, 13):
        return SharedMemory(name, track=False)
    with _register_lock:
        register = resource_tracker.register
        resource_tracker.register = _register_nothing
        try:
            return SharedMemory(name)
        finally:
            resource_tracker.register = register


def _register_nothing(name: object, rtype: object) -> None:
    """Stand in for resource_tracker.register while a reader attaches."""


def _check_names(run: RunName, short: str) -> None:
    if not is_valid_instance_name(run.instance):
        raise SegmentError(f"instance name {run.instance!r} is not valid: a-z 0-9 -, at most 41")
    if _SHORT_PATTERN.fullmatch(short) is None:
        raise SegmentError(f"segment name {short!r} is not valid: a-z 0-9 . _ -, at most 62 characters")


def _open_new(name: str) -> int:
    for last in (False, True):
        try:
            shared = posix_ipc.SharedMemory("/" + name, posix_ipc.O_CREX, mode=0o600)
        except posix_ipc.ExistentialError:
            # A dead run of an equal name and epoch can only stem from another state directory.
            if last or not _unlink_if_dead(name):
                raise SegmentError(f"segment {name} exists and its creator lives") from None
        except OSError as error:
            raise SegmentError(f"segment {name} can not be created: {error.strerror}") from error
        else:
            fd = int(shared.fd)
            os.set_inheritable(fd, False)
            return fd
    raise AssertionError("unreachable")


def _unlink_if_dead(name: str) -> bool:
    """Unlink `name` unless a creator holds its lock; True if it is gone now by our hand."""
    try:
        fd = os.open(SHM_DIRECTORY / name, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return False  # gone meanwhile, or another user's
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return _unlink(name)
    except BlockingIOError:
        return False
    finally:
        os.close(fd)


def _unlink(name: str) -> bool:
    try:
        posix_ipc.unlink_shared_memory("/" + name)
    except posix_ipc.Error:
        return False
    return True


def _free_bytes() -> int:
    status = os.statvfs(SHM_DIRECTORY)
    return status.f_bavail * status.f_frsize


def _map_file(fd: int, size: int, *, writable: bool, huge_pages: bool) -> Mapping:
    if huge_pages and size >= HUGE_BYTES:
        return AlignedMap(fd, size, writable=writable)
    protection = mmap.PROT_READ | (mmap.PROT_WRITE if writable else 0)
    return mmap.mmap(fd, size, mmap.MAP_SHARED | mmap.MAP_POPULATE, protection)


def _view(mapping: Mapping) -> memoryview:
    return mapping.view if isinstance(mapping, AlignedMap) else memoryview(mapping)


def _write_header(mapping: Mapping, short: str, kind: SegmentKind, epoch: int) -> None:
    name = short.encode()  # struct pads it with zeros
    size, pid = len(mapping), os.getpid()
    fields = (MAGIC, LAYOUT_VERSION, kind, LAYOUT_HASH, size, epoch, pid, 0, utc_ns(), name, 0)
    view = _view(mapping)
    _HEADER.pack_into(view, 0, *fields)
    # Last: an attacher that sees `ready` sees the rest (x86 keeps the order of stores).
    _READY.pack_into(view, _READY_OFFSET, 1)


def _check_header(mapping: Mapping, name: str, kind: SegmentKind, size: int) -> None:
    header = _HEADER.unpack_from(_view(mapping), 0)
    magic, version, found, layout_hash, size_bytes = header[:5]
    if magic == 0 or (magic == MAGIC and header[10] != 1):
        raise SegmentError(f"segment {name} is not ready: its creator has not finished it")
    if magic != MAGIC:
        raise LayoutError(f"segment {name} is not a Ringlane segment (magic {magic:#018x})")
    if version != LAYOUT_VERSION:
        raise LayoutError(f"segment {name} has layout version {version}, this build has {LAYOUT_VERSION}")
    if layout_hash != LAYOUT_HASH:
        raise LayoutError(
            f"segment {name} has layout hash {layout_hash:#018x}, this build has {LAYOUT_HASH:#018x}"
        )
    if found != kind:
        known = next((k.name for k in SegmentKind if k == found), f"unknown kind {found}")
        raise LayoutError(f"segment {name} holds {known}, not {kind.name}")
    if size_bytes != size:
        raise LayoutError(f"segment {name} states {size_bytes} bytes, its file has {size}")
