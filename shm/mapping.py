"""Mappings of segments in huge pages.

A ring or slab of megabytes in pages of 4 KiB costs a walk of the page table for most records of a cold pass.
A shared mapping can be in pages of 2 MiB only where its address is aligned to that, which `mmap` of the
standard library can not ask for; so the mapping is made here. Pages of a file under /dev/shm become huge at
allocation if that mount has `huge=advise`, `within_size` or `always` (`shmem_enabled` is about other mounts,
but for `deny` and `force`), and otherwise by MADV_COLLAPSE (Linux 6.1), which no setting forbids but `deny`.

Source: Linux `Documentation/admin-guide/mm/transhuge.rst`, madvise(2).
"""

from __future__ import annotations

import ctypes
import mmap
import os
import re
import weakref
from collections.abc import Iterable
from pathlib import Path
from typing import Final

HUGE_BYTES: Final = 2 * 1024 * 1024
MADV_COLLAPSE: Final = 25
_MAP_FIXED: Final = 0x10
_MAP_NORESERVE: Final = 0x4000
_FAILED: Final = ctypes.c_void_p(-1).value

SHMEM_ENABLED: Final = Path("/sys/kernel/mm/transparent_hugepage/shmem_enabled")
MOUNTS: Final = Path("/proc/self/mounts")
SMAPS: Final = Path("/proc/self/smaps")
SHM: Final = "/dev/shm"  # noqa: S108 - the kernel's own mount
FREE_PIECES: Final = "and free memory in pieces of 2 MiB (write 1 to /proc/sys/vm/compact_memory)"

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = [
    ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long,
]  # fmt: skip
_libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
_libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]


class AlignedMap:
    """A shared, pre-faulted mapping of a whole file, aligned to 2 MiB, in huge pages where there are any.

    Args:
        fd: of the file; not needed afterwards.
        size: bytes of the file.
        writable: False maps it read-only.

    Raises:
        OSError: the kernel refused the mapping.
    """

    def __init__(self, fd: int, size: int, *, writable: bool) -> None:
        address = _map_aligned(fd, size, writable=writable)
        array = (ctypes.c_ubyte * size).from_address(address)
        # The pages go with the last view of them, whoever holds it; at exit the kernel takes them.
        weakref.finalize(array, _libc.munmap, address, size).atexit = False
        view = memoryview(array).cast("B")
        self.view: memoryview = view if writable else view.toreadonly()
        whole = size // HUGE_BYTES * HUGE_BYTES
        _libc.madvise(address, whole, mmap.MADV_HUGEPAGE)
        if writable:
            # Refused by old kernels and where memory is in pieces: small pages do as well.
            _libc.madvise(address, whole, MADV_COLLAPSE)

    def __len__(self) -> int:
        return len(self.view)

    def close(self) -> None:
        """Give up this object's view; BufferError while others are taken from it."""
        self.view.release()


def _map_aligned(fd: int, size: int, *, writable: bool) -> int:
    page = mmap.PAGESIZE
    length = (size + page - 1) // page * page
    span = length + HUGE_BYTES
    # Room first, then the file into the aligned part of it.
    base = _libc.mmap(None, span, 0, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _MAP_NORESERVE, -1, 0)
    if base == _FAILED:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    address: int = (base + HUGE_BYTES - 1) // HUGE_BYTES * HUGE_BYTES
    if address > base:
        _libc.munmap(base, address - base)
    if base + span > address + length:
        _libc.munmap(address + length, base + span - address - length)
    protection = mmap.PROT_READ | (mmap.PROT_WRITE if writable else 0)
    flags = mmap.MAP_SHARED | mmap.MAP_POPULATE | _MAP_FIXED
    if _libc.mmap(address, size, protection, flags, fd, 0) == _FAILED:
        number = ctypes.get_errno()
        _libc.munmap(address, length)
        raise OSError(number, os.strerror(number))
    return address


def huge_bytes(names: Iterable[str], smaps: str | None = None) -> dict[str, int]:
    """How much of each mapped segment of this process is in huge pages.

    Args:
        names: file names under /dev/shm.
        smaps: text of /proc/self/smaps, None = read it.

    Returns:
        Bytes by name; 0 for what is not mapped or has none.
    """
    text = SMAPS.read_text() if smaps is None else smaps
    found = dict.fromkeys(names, 0)
    current = ""
    for line in text.splitlines():
        if re.match(r"[0-9a-f]+-[0-9a-f]+ ", line):
            current = line.rpartition("/")[2].removesuffix(" (deleted)")
        elif current in found and line.startswith(("ShmemPmdMapped:", "FilePmdMapped:")):
            found[current] += int(line.split()[1]) * 1024
    return found


def huge_advice(mounts: str | None = None, shmem_enabled: str | None = None) -> str:
    """What to do to get huge pages under /dev/shm, for a person.

    Args:
        mounts: text of /proc/self/mounts, None = read it.
        shmem_enabled: text of the sysfs setting, None = read it; "" = this kernel has none.
    """
    setting = _read(SHMEM_ENABLED) if shmem_enabled is None else shmem_enabled
    if not setting:
        return "this kernel is built without transparent huge pages"
    if "[deny]" in setting:
        return f"{SHMEM_ENABLED} is deny, which forbids them everywhere: write advise to it"
    options = ""
    for line in (_read(MOUNTS) if mounts is None else mounts).splitlines():
        fields = line.split()
        if len(fields) > 3 and fields[1] == SHM:
            options = fields[3]
    huge = re.search(r"huge=(\w+)", options)
    if huge is None or huge[1] == "never":
        return f"mount -o remount,huge=advise {SHM}, or Linux 6.1, which needs no setting; {FREE_PIECES}"
    return f"{SHM} has huge={huge[1]}; {FREE_PIECES}"


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
