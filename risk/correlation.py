"""Correlation between instruments, and which of them are one position for the limits.

Returns are log differences of marks sampled at a fixed step; their covariance is exponentially weighted
(RiskMetrics Technical Document, 4th ed. 1996, §5.2, with zero mean). Two instruments whose correlation is
beyond the threshold, either way, are one position; so is everything linked through others (single linkage:
groups may be larger than pairwise judgment would make them, never smaller).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from risk.errors import LimitsError

#: Pairs that are told as the strongest.
STRONGEST = 5


class Member(NamedTuple):
    """One instrument of a group; `sign` is -1 for those that move against the group's first."""

    instrument_id: int
    sign: int


class Pair(NamedTuple):
    """How two instruments move together."""

    first_id: int
    second_id: int
    correlation: float


class Grouping(NamedTuple):
    """What one look at the correlations found.

    Args:
        groups: of two or more instruments that count as one.
        strongest: the strongest correlations, either sign, strongest first.
    """

    groups: list[tuple[Member, ...]]
    strongest: list[Pair]


class CorrelationMonitor:
    """Streaming correlations of a set of instruments.

    A sample is taken in at once and worked off in blocks of rows, so that a process with other things to do
    never holds still for the whole matrix: call `work` until it returns False.

    Args:
        instrument_ids: whose; their order is the order of the matrix.
        half_life: samples after which an observation counts half, positive.
        warm_up: samples before anything is called correlated.
        block_rows: rows of the matrix that one `work` updates.

    Raises:
        LimitsError: a parameter is not positive.
    """

    def __init__(
        self, instrument_ids: Sequence[int], *, half_life: float, warm_up: int, block_rows: int = 64
    ) -> None:
        if half_life <= 0 or warm_up < 2 or block_rows < 1:
            raise LimitsError(
                f"correlation needs half_life > 0, warm_up >= 2, block_rows >= 1: "
                f"{half_life}, {warm_up}, {block_rows}"
            )
        self.instrument_ids = tuple(instrument_ids)
        self.warm_up = warm_up
        self._decay = 0.5 ** (1.0 / half_life)
        self._block_rows = block_rows
        count = len(self.instrument_ids)
        self._log_marks: npt.NDArray[np.float64] = np.full(count, np.nan)
        self._covariance: npt.NDArray[np.float64] = np.zeros((count, count))
        self._samples: npt.NDArray[np.int64] = np.zeros(count, dtype=np.int64)
        self._returns: npt.NDArray[np.float64] = np.zeros(count)
        self._next_row = count

    @property
    def is_busy(self) -> bool:
        """Whether a sample is still being worked off."""
        return self._next_row < len(self.instrument_ids)

    def sample(self, marks: Mapping[int, int]) -> None:
        """Take in one sample: mark prices in units by instrument; without one (or 0) a return counts as none.

        Work that is left of the sample before is done first.
        """
        while self.work():
            pass
        now = np.full(len(self.instrument_ids), np.nan)
        for index, instrument_id in enumerate(self.instrument_ids):
            mark = marks.get(instrument_id, 0)
            if mark > 0:
                now[index] = mark
        now = np.log(now)
        change = now - self._log_marks
        known = ~np.isnan(change)
        self._returns = np.where(known, change, 0.0)
        self._samples += known
        self._log_marks = np.where(np.isnan(now), self._log_marks, now)
        self._next_row = 0

    def work(self) -> bool:
        """Update one block of rows; returns whether more is left."""
        start = self._next_row
        count = len(self.instrument_ids)
        if start >= count:
            return False
        stop = min(start + self._block_rows, count)
        block = self._covariance[start:stop]
        block *= self._decay
        block += (1.0 - self._decay) * np.outer(self._returns[start:stop], self._returns)
        self._next_row = stop
        return stop < count

    def extend(self, instrument_ids: Sequence[int]) -> None:
        """Take up further instruments; they are correlated with nothing until they are warm."""
        while self.work():
            pass
        more = len(instrument_ids)
        self.instrument_ids += tuple(instrument_ids)
        self._log_marks = np.pad(self._log_marks, (0, more), constant_values=np.nan)
        self._covariance = np.pad(self._covariance, (0, more))
        self._samples = np.pad(self._samples, (0, more))
        self._returns = np.pad(self._returns, (0, more))
        self._next_row = len(self.instrument_ids)

    def _scale(self) -> npt.NDArray[np.float64]:
        """One over the standard deviation of each; 0 of what is not warm or never moved."""
        variance = np.diag(self._covariance)
        usable = (self._samples >= self.warm_up) & (variance > 0.0)
        return np.where(usable, 1.0 / np.sqrt(np.where(usable, variance, 1.0)), 0.0)

    def matrix(self) -> npt.NDArray[np.float64]:
        """Correlations, shape (n, n); 0 between instruments of which one is not warm or never moved."""
        while self.work():
            pass
        scale = self._scale()
        found = self._covariance * scale[:, None] * scale[None, :]
        np.fill_diagonal(found, 1.0)
        return np.clip(found, -1.0, 1.0)

    def grouping(self, threshold: float) -> Iterator[Grouping | None]:
        """Find the groups in steps of bounded work: None after each of them, and last what was found.

        No sample may be taken in between.

        Args:
            threshold: correlation from which on (either sign), above 0 and at most 1.

        Raises:
            LimitsError: the threshold is out of range.
        """
        if not 0.0 < threshold <= 1.0:
            raise LimitsError(f"a correlation threshold lies above 0 and at most at 1, got {threshold}")
        while self.work():
            yield None
        scale = self._scale()
        count = len(self.instrument_ids)
        signs: npt.NDArray[np.int8] = np.zeros((count, count), dtype=np.int8)
        strongest: list[Pair] = []
        for start in range(0, count, self._block_rows):
            stop = min(start + self._block_rows, count)
            block = self._covariance[start:stop] * scale[start:stop, None] * scale[None, :]
            signs[start:stop] = np.where(np.abs(block) >= threshold, np.sign(block), 0)
            strongest = self._stronger(strongest, block, start)
            yield None
        groups: list[tuple[Member, ...]] = []
        seen = np.zeros(count, dtype=np.bool_)
        steps = 0
        for root in range(count):
            if seen[root]:
                continue
            seen[root] = True
            found = {root: 1}
            waiting = [root]
            while waiting:
                index = waiting.pop()
                for other in np.flatnonzero((signs[index] != 0) & ~seen).tolist():
                    seen[other] = True
                    found[other] = found[index] * int(signs[index, other])
                    waiting.append(other)
                steps += 1
                if steps % self._block_rows == 0:
                    yield None
            if len(found) > 1:
                groups.append(
                    tuple(Member(self.instrument_ids[i], sign) for i, sign in sorted(found.items()))
                )
        yield Grouping(groups, strongest)

    def _stronger(self, known: list[Pair], block: npt.NDArray[np.float64], start: int) -> list[Pair]:
        """The strongest of what is known and of a block of rows, each pair once (above the diagonal)."""
        size = np.triu(np.abs(block), start + 1)
        flat = size.ravel()
        most = min(STRONGEST, flat.size)
        found = []
        for at in np.argpartition(flat, flat.size - most)[flat.size - most :].tolist():
            row, column = divmod(at, block.shape[1])
            if flat[at] > 0.0:
                value = float(np.clip(block[row, column], -1.0, 1.0))
                found.append(Pair(self.instrument_ids[start + row], self.instrument_ids[column], value))
        return sorted(known + found, key=lambda pair: (-abs(pair.correlation), pair))[:STRONGEST]

    def groups(self, threshold: float) -> list[tuple[Member, ...]]:
        """Groups of two or more instruments that count as one, found at once; see `grouping`."""
        return next(found for found in self.grouping(threshold) if found is not None).groups
