"""A run as it is seen from outside: its segments, found by name and mapped read-only.

Nothing here can disturb the engine. Segments are mapped without write permission, no lock is taken, no
subscription is made and nobody is asked: the names stand in /dev/shm, the workers in the control segment.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from typing import TypeVar

from actors.runtime.spec import control_name
from shm.control import Control
from shm.enums import SegmentKind
from shm.errors import ShmError
from shm.segment import PREFIX, SHM_DIRECTORY, RunName, Segment, SegmentSource

_PARTS = re.compile(r"(?P<base>[a-z]+)(?P<numbers>(?:\.\d+)*)")

Face = TypeVar("Face")


class ReadOnlySegments:
    """The segments of a run, attached by name without write permission; each once.

    Args:
        run: whose segments.
    """

    def __init__(self, run: RunName) -> None:
        self.run = run
        self._open: dict[str, Segment] = {}

    def open(self, short: str, kind: SegmentKind, *, writable: bool = False) -> Segment:
        """Attach `short` read-only, or return it if it is attached.

        Raises:
            SegmentError, LayoutError: as `Segment.attach`.
            ValueError: write permission was asked for.
        """
        if writable:
            raise ValueError("an outside view is read-only")
        segment = self._open.get(short)
        if segment is None:
            segment = self._open[short] = Segment.attach(self.run, short, kind, writable=False)
        return segment

    def names(self) -> list[str]:
        """Short names of the run's segments that exist now, sorted."""
        prefix = f"{PREFIX}.{self.run.instance}.{self.run.epoch}."
        return sorted(entry[len(prefix) :] for entry in os.listdir(SHM_DIRECTORY) if entry.startswith(prefix))

    def close(self) -> None:
        """Let go of every mapping: pages of a run that has ended must not be kept alive by a looker-on."""
        for segment in self._open.values():
            segment.close()
        self._open.clear()


class RunView:
    """Typed faces over a run's segments; what can not be read is a problem with a text, not an end.

    Args:
        segments: where to get them from.
        names: short names of those that exist now.

    Attributes:
        control: the control segment.
        problems: what could not be read and why, by short name.

    Raises:
        SegmentError, LayoutError: there is no control segment that can be read.
    """

    def __init__(self, segments: SegmentSource, names: Callable[[], list[str]]) -> None:
        self.problems: dict[str, str] = {}
        self._segments = segments
        self._names = names
        self._faces: dict[str, object] = {}
        payload = segments.open(control_name(), SegmentKind.CONTROL, writable=False).payload
        self.control = Control.attach(payload)

    @classmethod
    def of_run(cls, run: RunName) -> RunView:
        """Attach to a run by name; errors as the class."""
        segments = ReadOnlySegments(run)
        try:
            return cls(segments, segments.names)
        except ShmError:
            segments.close()
            raise

    def numbered(self, base: str) -> list[tuple[str, tuple[int, ...]]]:
        """Segments called `base.N…` with their numbers, in the order of these.

        Those that exist now, and those opened before: a stopping engine removes the names first.
        """
        found = []
        for short in {*self._names(), *self._faces}:
            match = _PARTS.fullmatch(short)
            if match is not None and match["base"] == base:
                found.append((short, tuple(int(n) for n in match["numbers"].split(".")[1:])))
        return sorted(found, key=lambda item: item[1])

    def face(self, short: str, kind: SegmentKind, attach: Callable[[memoryview], Face]) -> Face | None:
        """The typed face of a segment, made at the first use; None if it can not be read (see `problems`)."""
        known = self._faces.get(short)
        if known is None:
            try:
                known = attach(self._segments.open(short, kind, writable=False).payload)
            except ShmError as error:
                text = str(error)
                self.problems[short] = text if short in text else f"segment {short}: {text}"
                return None
            self.problems.pop(short, None)
            self._faces[short] = known
        return known  # type: ignore[return-value]

    def payload(self, short: str, kind: SegmentKind) -> memoryview:
        """The payload of a segment that `face` has opened."""
        return self._segments.open(short, kind, writable=False).payload

    def close(self) -> None:
        """Let go of every face and mapping; the view is of no use afterwards."""
        self._faces.clear()
        del self.control
        if isinstance(self._segments, ReadOnlySegments):
            self._segments.close()
