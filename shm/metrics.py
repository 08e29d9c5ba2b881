"""The metrics segment of one worker: counters, latency histograms and the fault log, found by label.

One writer, the worker; any outside tool may read while the engine runs. A restarted worker finds its labels
again and goes on counting where its predecessor died.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from shm.counters import Counter
from shm.errors import LayoutError, MetricsError
from shm.faultlog import Fault, FaultLog
from shm.histogram import BUCKETS, Histogram, HistogramSnapshot

if TYPE_CHECKING:
    from typing_extensions import Buffer

# struct shm_metrics of native/shm_layout.h.
HEADER = struct.Struct("<IIII112x")
COUNTERS = 256
FAULTS = 64
HISTOGRAMS = 32
LABEL_BYTES = 56
COUNTER_BYTES = 64
FAULT_BYTES = 256
HISTOGRAM_BYTES = LABEL_BYTES + 9 * 8 + BUCKETS * 8
COUNTERS_AT = HEADER.size
FAULTS_AT = COUNTERS_AT + COUNTERS * COUNTER_BYTES
HISTOGRAMS_AT = FAULTS_AT + FAULTS * FAULT_BYTES
SIZE_BYTES = HISTOGRAMS_AT + HISTOGRAMS * HISTOGRAM_BYTES


class Metrics:
    """What one worker counts and measures, in a segment payload."""

    def __init__(self, buffer: Buffer) -> None:
        """Attach; use `create` or `attach` instead."""
        self._view = memoryview(buffer).cast("B")
        if len(self._view) < SIZE_BYTES:
            raise LayoutError(
                f"a metrics segment needs {SIZE_BYTES} bytes, the payload holds {len(self._view)}"
            )
        counters, histograms, faults, self._worker_slot = HEADER.unpack_from(self._view)
        if (counters, histograms, faults) != (COUNTERS, HISTOGRAMS, FAULTS):
            raise LayoutError(
                f"no metrics segment: {counters} counters, {histograms} histograms, {faults} faults"
            )
        self._faults = FaultLog(self._view, FAULTS_AT, FAULTS)
        self._made_counters: dict[str, Counter] = {}
        self._made_histograms: dict[str, Histogram] = {}

    @staticmethod
    def bytes_needed() -> int:
        """Say how many payload bytes a metrics segment takes."""
        return SIZE_BYTES

    @classmethod
    def create(cls, buffer: Buffer, worker_slot: int) -> Metrics:
        """Format a zeroed payload as empty metrics of a worker slot and attach to it.

        Raises:
            LayoutError: the payload is too small.
        """
        view = memoryview(buffer).cast("B")
        if len(view) < SIZE_BYTES:
            raise LayoutError(f"a metrics segment needs {SIZE_BYTES} bytes, the payload holds {len(view)}")
        HEADER.pack_into(view, 0, COUNTERS, HISTOGRAMS, FAULTS, worker_slot)
        return cls(buffer)

    @classmethod
    def attach(cls, buffer: Buffer) -> Metrics:
        """Attach to formatted metrics, to go on writing or only to read.

        Raises:
            LayoutError: the payload holds no metrics.
        """
        return cls(buffer)

    @property
    def worker_slot(self) -> int:
        """Worker slot of the one writer."""
        return int(self._worker_slot)

    def counter(self, name: str, unit: str = "count") -> Counter:
        """Find or make a counter; the one writer only.

        Args:
            name: dotted name, unique in this worker.
            unit: what one of it is; the label in memory is "name [unit]".

        Raises:
            MetricsError: the label is too long, or all counters are taken.
        """
        made = self._made_counters.get(name)
        if made is None:
            offset = self._find(f"{name} [{unit}]", COUNTERS_AT, COUNTER_BYTES, COUNTERS, 8)
            made = self._made_counters[name] = Counter(self._view, offset)
        return made

    def histogram(self, name: str) -> Histogram:
        """Find or make a histogram; the one writer only.

        Raises:
            MetricsError: the name is too long, or all histograms are taken.
        """
        made = self._made_histograms.get(name)
        if made is None:
            offset = self._find(name, HISTOGRAMS_AT, HISTOGRAM_BYTES, HISTOGRAMS, 0)
            made = self._made_histograms[name] = Histogram(self._view, offset)
        return made

    def fault(self, code: int, text: str, utc_ns: int) -> None:
        """Count one occurrence of a fault, distinct by code and text; the one writer only."""
        self._faults.record(code, text, utc_ns)

    def counters(self) -> dict[str, int]:
        """Values of all counters by name, without the unit."""
        values = {}
        for index in range(COUNTERS):
            offset = COUNTERS_AT + index * COUNTER_BYTES
            label = self._label(offset + 8)
            if not label:
                break
            values[label.rpartition(" [")[0]] = int.from_bytes(
                self._view[offset : offset + 8], "little", signed=True
            )
        return values

    def units(self) -> dict[str, str]:
        """Units of all counters by name."""
        units = {}
        for index in range(COUNTERS):
            label = self._label(COUNTERS_AT + index * COUNTER_BYTES + 8)
            if not label:
                break
            name, _, unit = label.rpartition(" [")
            units[name] = unit.rstrip("]")
        return units

    def histograms(self) -> dict[str, HistogramSnapshot]:
        """Snapshots of all histograms by name."""
        found = {}
        for index in range(HISTOGRAMS):
            offset = HISTOGRAMS_AT + index * HISTOGRAM_BYTES
            label = self._label(offset)
            if not label:
                break
            found[label] = Histogram(self._view, offset).snapshot()
        return found

    def faults(self) -> list[Fault]:
        """All faults in the order of their first occurrence."""
        return self._faults.faults()

    def _label(self, offset: int) -> str:
        return bytes(self._view[offset : offset + LABEL_BYTES]).split(b"\0", 1)[0].decode("ascii", "replace")

    def _find(self, label: str, start: int, cell_bytes: int, cells: int, label_at: int) -> int:
        """Offset of the cell with a label; the first free one gets it."""
        if not label.isascii() or not 0 < len(label) < LABEL_BYTES:
            raise MetricsError(f"label {label!r} is not ASCII of 1 to {LABEL_BYTES - 1} bytes")
        for index in range(cells):
            offset = start + index * cell_bytes
            held = self._label(offset + label_at)
            if held == label:
                return offset
            if not held:
                # The first byte makes the label visible, so it is written last.
                encoded = label.encode("ascii")
                at = offset + label_at
                self._view[at + 1 : at + len(encoded)] = encoded[1:]
                self._view[at] = encoded[0]
                return offset
        raise MetricsError(f"no room for {label!r}: all {cells} cells are taken")
