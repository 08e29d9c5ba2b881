# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, freethreading_compatible=False
"""Journal: append-only mapped files of what was decided and reported, written before acting.

An append is a copy into a mapped page and one release store; a process killed at any instruction leaves a
whole record or none, and the next writer of the same epoch goes on behind the last one. Files are allocated
before they are mapped, because a mapped write on a full file system would be a SIGBUS. Each epoch has files
and a chain of its own.
"""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_FromStringAndSize
from posix.unistd cimport close as close_fd

from shm.layout cimport (
    SHM_JOURNAL_HEADER_BYTES, SHM_LAYOUT_VERSION, SHM_MAGIC, shm_journal_header, shm_journal_record,
)

import errno
import mmap
import os
import time
from pathlib import Path

from shm.errors import JournalError, JournalLayoutError
from shm.journal_files import (
    JournalEntry, JournalPosition, file_name, journal_files, map_to_read, map_to_write, release_tail, take_lock,
)

cdef extern from "shm/native/shm_journal.h" nogil:
    enum:
        SHM_JOURNAL_END
        SHM_JOURNAL_GOOD
    uint32_t shm_crc32c(uint32_t crc, const void *data, size_t size_bytes)
    uint32_t shm_crc32c_table(uint32_t crc, const void *data, size_t size_bytes)
    uint32_t shm_journal_length(const shm_journal_record *record)
    uint64_t shm_journal_record_bytes(uint64_t payload_bytes)
    uint64_t shm_journal_append(unsigned char *file, uint64_t size, uint64_t offset, uint32_t *chain,
                                uint64_t sequence, int64_t append_ns, uint16_t kind, const void *payload,
                                uint32_t length)
    enum:
        SHM_JOURNAL_RESIDUE
    uint32_t shm_journal_header_chain(const unsigned char *file)
    uint64_t shm_journal_first_set(const unsigned char *file, uint64_t begin, uint64_t end)
    uint32_t shm_journal_crc(uint32_t previous, uint64_t sequence, int64_t append_ns, uint16_t kind,
                             const void *payload, uint32_t length)
    int shm_journal_header_is_good(const unsigned char *file)
    void shm_journal_header_seal(unsigned char *file)
    int shm_journal_check(const unsigned char *file, uint64_t size, uint64_t offset, uint32_t chain,
                          uint64_t sequence)
    uint64_t shm_journal_successor(const unsigned char *file, uint64_t size, uint64_t offset, uint32_t chain,
                                   uint64_t sequence)

HEADER_BYTES = SHM_JOURNAL_HEADER_BYTES
FILE_BYTES_MIN = 2 * SHM_JOURNAL_HEADER_BYTES
# Linux 5.14; mmap names it from Python 3.14 on.
_MADV_POPULATE_WRITE = 23


def crc32c(const uint8_t[::1] data, seed: int = 0, hardware: bool = True) -> int:
    """CRC-32C of bytes, extending `seed`; `hardware=False` takes the portable code (RFC 3720 B.4)."""
    cdef const uint8_t *start = &data[0] if data.shape[0] else NULL
    if hardware:
        return shm_crc32c(seed, start, data.shape[0])
    return shm_crc32c_table(seed, start, data.shape[0])


cdef class FileView:
    """One journal file being read: its bytes, its header and how far it was followed.

    Raises JournalError when it is no journal file, not the one of that epoch and index, or its header is damaged;
    JournalLayoutError when it is another build's.
    """

    cdef const uint8_t[::1] view
    cdef const unsigned char *start
    cdef shm_journal_header header
    cdef readonly bint is_early  # by a build that started each file's chain from a constant
    cdef readonly uint64_t size
    cdef readonly object path
    cdef readonly uint64_t offset
    cdef readonly uint32_t chain
    cdef readonly uint64_t sequence

    def __init__(self, path: Path, mapping, epoch: int, index: int):
        self.path = path
        self.size = len(mapping)
        if self.size < HEADER_BYTES:
            raise JournalError(f"a file of {self.size} bytes has no journal header", path, 0)
        self.view = mapping
        self.start = &self.view[0]
        memcpy(&self.header, self.start, sizeof(shm_journal_header))
        if self.header.magic != SHM_MAGIC or not shm_journal_header_is_good(self.start):
            raise JournalError("the header is damaged", path, 0)
        if self.header.layout_version != SHM_LAYOUT_VERSION:
            version = self.header.layout_version
            raise JournalLayoutError(
                f"another build's: layout version {version}, this build reads {SHM_LAYOUT_VERSION}", path, 0)
        if self.header.epoch != epoch or self.header.file_index != index:
            raise JournalError(
                f"the file states epoch {self.header.epoch} and index {self.header.file_index}", path, 0)
        if self.size > self.header.size_bytes:
            raise JournalError(f"a file of {self.size} bytes states {self.header.size_bytes}", path, 0)
        self.offset = SHM_JOURNAL_HEADER_BYTES
        self.chain = shm_journal_header_chain(self.start)
        self.sequence = self.header.first_sequence
        self.is_early = False
        if not self.is_good():
            self.is_early = shm_journal_check(
                self.start, self.size, self.offset, SHM_JOURNAL_RESIDUE, self.sequence) == SHM_JOURNAL_GOOD
            if self.is_early:
                self.chain = SHM_JOURNAL_RESIDUE

    @property
    def instance(self) -> str:
        """Name of the instance that wrote the file."""
        return bytes(self.header.instance[:64]).split(b"\0")[0].decode("utf-8", "replace")

    @property
    def first_sequence(self) -> int:
        """Sequence of the file's first record."""
        return self.header.first_sequence

    @property
    def previous_chain(self) -> int:
        """End of the previous file's chain, as the header states it; 0 in the first file of an epoch."""
        return self.header.previous_crc

    @property
    def stated_bytes(self) -> int:
        """Size that the file was made with."""
        return self.header.size_bytes

    @property
    def created_utc_ns(self) -> int:
        """Wall clock at its making."""
        return self.header.created_utc_ns

    @property
    def created_ns(self) -> int:
        """The same moment on the clock of the records' stamps; 0 = not stated."""
        return self.header.created_ns

    @property
    def position(self) -> JournalPosition:
        """How far it was followed."""
        return JournalPosition(
            self.header.epoch, self.header.file_index, self.offset, self.sequence - 1, self.chain)

    def seek(self, position: JournalPosition) -> None:
        """Go on behind a record that was read before; the next record's checksum proves the place.

        Raises:
            JournalError: the place is not in this file.
        """
        if not HEADER_BYTES <= position.offset <= self.size or position.sequence + 1 < self.header.first_sequence:
            raise JournalError(
                f"no position behind record {position.sequence}: the file has {self.size} bytes "
                f"from record {self.header.first_sequence}", self.path, position.offset,
            )
        self.offset = position.offset
        self.chain = position.chain
        self.sequence = position.sequence + 1

    cpdef bint is_good(self) noexcept:
        """Whether a whole record stands where reading is."""
        return shm_journal_check(
            self.start, self.size, self.offset, self.chain, self.sequence) == SHM_JOURNAL_GOOD

    cdef void step(self) noexcept nogil:
        cdef const shm_journal_record *record = <const shm_journal_record *> (self.start + self.offset)
        self.chain = record.crc
        self.offset += shm_journal_record_bytes(shm_journal_length(record))
        self.sequence += 1

    def read(self, limit: int) -> list:
        """Up to `limit` entries from where reading is; reading is behind them afterwards."""
        cdef const shm_journal_record *record
        cdef int64_t rest = limit
        entries = []
        while rest > 0 and self.is_good():
            record = <const shm_journal_record *> (self.start + self.offset)
            payload = PyBytes_FromStringAndSize(
                <const char *> (self.start + self.offset + sizeof(shm_journal_record)),
                shm_journal_length(record),
            )
            entries.append(JournalEntry(self.sequence, self.header.epoch, record.kind, record.append_ns,
                                        payload, self.path, self.offset))
            self.step()
            rest -= 1
        return entries

    def skip(self) -> int:
        """Check all records from where reading is, without the interpreter lock; returns how many are good."""
        cdef uint64_t before = self.sequence
        with nogil:
            while shm_journal_check(
                self.start, self.size, self.offset, self.chain, self.sequence) == SHM_JOURNAL_GOOD:
                self.step()
        return self.sequence - before

    def skip_damage(self) -> bool:
        """Go on behind a damaged record whose successor is whole; False = there is none."""
        cdef uint64_t after = shm_journal_successor(
            self.start, self.size, self.offset, self.chain, self.sequence)
        if not after:
            return False
        # The next checksum builds on what stands here or on what should: whichever the successor fits.
        cdef const shm_journal_record *record = <const shm_journal_record *> (self.start + self.offset)
        cdef uint32_t length = shm_journal_length(record)
        self.sequence += 1
        if shm_journal_check(self.start, self.size, after, record.crc, self.sequence) == SHM_JOURNAL_GOOD:
            self.chain = record.crc
        else:
            self.chain = shm_journal_crc(
                self.chain, self.sequence - 1, record.append_ns, record.kind,
                self.start + self.offset + sizeof(shm_journal_record), length)
        self.offset = after
        return True

    def rest(self) -> tuple:
        """What stands from here on: (first byte that is not zero, size); equal when all is zero."""
        cdef uint64_t first
        with nogil:
            first = shm_journal_first_set(self.start, self.offset, self.size)
        return first, self.size

    def stated_length(self) -> int:
        """Payload bytes that the record here states; 0 = none was committed here."""
        if self.size - self.offset < sizeof(shm_journal_record):
            return 0
        return shm_journal_length(<const shm_journal_record *> (self.start + self.offset))

    def damage(self):
        """What ends this file: None = its clean end, or an error that says what is wrong there.

        Raises:
            JournalError: a later record of this file is whole, so the chain is broken in the middle.
        """
        cdef uint64_t after = shm_journal_successor(
            self.start, self.size, self.offset, self.chain, self.sequence)
        where = f"record {self.sequence}"
        if after and not self.is_good():
            message = f"{where} is damaged; record {self.sequence + 1} is whole"
            raise JournalError(message, self.path, self.offset)
        if self.size < self.header.size_bytes:
            return JournalError(
                f"{where}: the file is cut off at byte {self.size} of {self.header.size_bytes}",
                self.path, self.offset,
            )
        cdef int verdict = shm_journal_check(self.start, self.size, self.offset, self.chain, self.sequence)
        if verdict == SHM_JOURNAL_END:
            return None
        return JournalError(f"{where} is torn", self.path, self.offset)


cdef class Journal:
    """The one writer of a journal. Not for use by two threads."""

    def __cinit__(self):
        self.lock_fd = -1

    def __init__(self):
        raise TypeError("use Journal.open")

    def __dealloc__(self):
        if self.lock_fd >= 0:
            close_fd(self.lock_fd)

    @staticmethod
    def open(directory: Path, instance: str, epoch: int, *, file_bytes: int = 64 << 20) -> Journal:
        """Open the journal of an epoch to append: behind its last record, or in a new file.

        Args:
            directory: where the files are; made if it is not there.
            instance: name of the instance, at most 63 bytes.
            epoch: of the run, from 1.
            file_bytes: size of each new file, at least 8192.

        Raises:
            JournalFull: the disk has no room for a file; nothing is left behind.
            JournalError: another process has it open, a file is damaged in the middle or belongs to another
                instance, or an argument is out of range.
        """
        directory = Path(directory)
        if not 1 <= len(instance.encode()) < 64:
            raise JournalError(f"instance name {instance!r} is not of 1 to 63 bytes", directory)
        if epoch < 1 or file_bytes < FILE_BYTES_MIN:
            raise JournalError(f"epoch {epoch} or file size {file_bytes} is too small", directory)
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        cdef Journal journal = Journal.__new__(Journal)
        journal.lock_fd = take_lock(directory)
        journal.directory = directory
        journal.instance = instance
        journal.epoch = epoch
        journal.file_bytes = file_bytes - file_bytes % mmap.PAGESIZE
        journal.room = journal.file_bytes - SHM_JOURNAL_HEADER_BYTES - sizeof(shm_journal_record)
        for path in directory.glob("journal-*.tmp"):
            path.unlink()
        journal.resume()
        return journal

    cdef int resume(self) except -1:
        """Find the end of the newest file of this epoch, or make the first."""
        files = [f for f in journal_files(self.directory) if f[0] == self.epoch]
        if not files:
            self.rotate()
            return 0
        _, index, path = files[len(files) - 1]
        cdef FileView view = FileView(path, map_to_read(path), self.epoch, index)
        if view.instance != self.instance:
            raise JournalError(f"belongs to instance {view.instance!r}, not {self.instance!r}", path, 0)
        view.skip()
        view.damage()
        # A file cut short gets its room back: behind the last whole record it is empty anyway.
        self.use(path, map_to_write(path, view.header.size_bytes))
        self.file_index = index
        self.offset = view.offset
        self.chain = view.chain
        self.sequence = view.sequence - 1
        # What a killed append or a torn end left here is no record.
        if self.size - self.offset >= sizeof(shm_journal_record):
            memset(self.start + self.offset, 0, sizeof(shm_journal_record))
        return 0

    cdef int use(self, object path, object mapping) except -1:
        self.mapping = mapping
        self.view = mapping
        self.start = &self.view[0]
        self.size = len(mapping)
        self.path = path
        self.warm = 0
        return 0

    cdef int rotate(self) except -1:
        """Go on in a new file; when there is no room, the current file stays in use."""
        index = self.file_index + 1 if self.mapping is not None else 0
        path = self.directory / file_name(self.epoch, index)
        temporary, mapping = self.spare if self.spare is not None else self._make_file()
        cdef shm_journal_header header
        memset(&header, 0, sizeof(header))
        header.magic = SHM_MAGIC
        header.layout_version = SHM_LAYOUT_VERSION
        header.file_index = index
        header.epoch = self.epoch
        header.size_bytes = len(mapping)
        header.first_sequence = self.sequence + 1
        header.created_utc_ns = time.time_ns()
        header.created_ns = time.monotonic_ns()
        header.previous_crc = self.chain
        cdef bytes name = self.instance.encode()
        memcpy(header.instance, <const char *> name, len(name))
        cdef uint8_t[::1] view = mapping
        memcpy(&view[0], &header, sizeof(header))
        shm_journal_header_seal(&view[0])
        # The name makes the file part of the journal, so it comes last.
        os.rename(temporary, path)
        self.spare = None
        self.use(path, mapping)
        self.file_index = index
        self.offset = SHM_JOURNAL_HEADER_BYTES
        self.chain = shm_journal_header_chain(self.start)
        return 0

    def _make_file(self):
        """A zeroed, allocated and mapped file under a temporary name."""
        temporary = self.directory / f"journal-{os.getpid()}.tmp"
        return temporary, map_to_write(temporary, self.file_bytes)

    cdef uint64_t append_ptr(
        self, uint16_t kind, const void *payload, uint32_t length, int64_t now_ns
    ) noexcept nogil:
        if self.start == NULL or length == 0:
            return 0
        cdef uint64_t next_offset = shm_journal_append(
            self.start, self.size, self.offset, &self.chain, self.sequence + 1, now_ns, kind, payload, length)
        if next_offset == 0:
            return 0
        self.offset = next_offset
        self.sequence += 1
        return self.sequence

    def append(self, kind: int, payload, now_ns: int) -> int:
        """Append one record; when this returns, the record survives the death of this process.

        Args:
            kind: a JournalKind.
            payload: its bytes, at least one.
            now_ns: stamp of the record, monotonic.

        Returns:
            The record's sequence; the first of an epoch is 1.

        Raises:
            JournalFull: a new file is needed and the disk has no room; nothing was written, and records that
                fit the rest of the current file can still be appended.
            JournalError: the payload is empty or larger than a file, or the journal is closed.
        """
        if self.start == NULL:
            raise JournalError("the journal is closed", self.directory)
        cdef Py_buffer view
        cdef uint64_t sequence
        cdef uint16_t number = kind
        cdef int64_t stamp = now_ns
        PyObject_GetBuffer(payload, &view, PyBUF_SIMPLE)
        try:
            if view.len <= 0 or <uint64_t> view.len > self.room:
                raise JournalError(f"{view.len} bytes: a record does not fit 1 to {self.room}", self.path)
            sequence = self.append_ptr(number, view.buf, <uint32_t> view.len, stamp)
            if sequence == 0:
                self.rotate()
                sequence = self.append_ptr(number, view.buf, <uint32_t> view.len, stamp)
            return sequence
        finally:
            PyBuffer_Release(&view)

    @property
    def payload_max(self) -> int:
        """Largest payload that fits a new file."""
        return self.room

    @property
    def free_bytes(self) -> int:
        """Bytes left in the current file."""
        return self.size - self.offset

    def prepare(self, ahead_bytes: int = 1 << 20) -> None:
        """Do ahead of time what an append would otherwise do on the hot path; for a timer.

        Touches the pages of the next `ahead_bytes`, and makes the next file when the current one is nearly
        full.

        Raises:
            JournalFull: there is no room for the next file; the current one stays in use.
        """
        if self.start == NULL:
            return
        if self.size - self.offset < <uint64_t> ahead_bytes and self.spare is None:
            self.spare = self._make_file()
        cdef uint64_t page = mmap.PAGESIZE
        cdef uint64_t begin = max(self.warm, self.offset - self.offset % page)
        cdef uint64_t end = min(self.size, self.offset + <uint64_t> ahead_bytes)
        end -= end % page
        if end <= begin:
            return
        try:
            self.mapping.madvise(_MADV_POPULATE_WRITE, begin, end - begin)
        except OSError as error:
            # An older kernel: the append takes the page faults itself.
            if error.errno != errno.EINVAL:
                raise
        self.warm = end

    def sync(self) -> None:
        """Write the current file to the disk and wait; never on the hot path: death of a process needs none."""
        if self.start != NULL:
            self.mapping.flush()

    def close(self) -> None:
        """Unmap, give unused room back and let another writer open the journal; closing twice is harmless."""
        if self.start != NULL:
            self.start = NULL
            release_tail(self.path, self.offset)
        self.view = None
        self.mapping = None
        if self.spare is not None:
            self.spare[0].unlink(missing_ok=True)
            self.spare = None
        if self.lock_fd >= 0:
            os.close(self.lock_fd)
            self.lock_fd = -1

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        self.close()
