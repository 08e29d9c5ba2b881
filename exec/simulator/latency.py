"""Delays between us and a venue: constant, drawn from a distribution, from a recorded table, or from stamps.

Source: hftbacktest's published latency models (docs/latency_models.rst: constant and recorded order latency;
docs/data.rst: feed latency corrected by its least value). All are deterministic for a seed: the n-th message
of a direction waits the same in every run.
"""

from __future__ import annotations

import math
import random
from pathlib import Path

from exec.errors import SimulatorError

LATENCY_NS_MAX = 60_000_000_000
TABLE_ROWS_MAX = 10_000_000


class Latency:
    """A constant delay, and the base of the others.

    Args:
        constant_ns: 0 or more.

    Raises:
        SimulatorError: it is negative.
    """

    def __init__(self, constant_ns: int = 0) -> None:
        if constant_ns < 0:
            raise SimulatorError(f"a latency must be 0 or more, not {constant_ns} ns")
        self.constant_ns = constant_ns

    @property
    def is_none(self) -> bool:
        """Whether nothing ever waits."""
        return not self.constant_ns

    def draw_ns(self) -> int:
        """Return the delay of the next message."""
        return self.constant_ns

    def age_ns(self, now_ns: int, venue_utc_ns: int) -> int:  # noqa: ARG002
        """Return how old market data are when they are here.

        Args:
            now_ns: when they came, on any clock that only goes on.
            venue_utc_ns: when the venue says it sent them, 0 = it does not.
        """
        return self.draw_ns()


class SampledLatency(Latency):
    """Log-normal delays around a median, never below a floor.

    Args:
        median_ns: half of the delays are below.
        sigma: of the logarithm; 0.5 makes the 99th percentile 3.2 times the median.
        floor_ns: least delay.
        seed: of the draw.
    """

    def __init__(self, median_ns: int, sigma: float, floor_ns: int, seed: str) -> None:
        super().__init__(median_ns)
        self._mu = math.log(max(1, median_ns))
        self._sigma = sigma
        self._floor_ns = floor_ns
        self._chance = random.Random(seed)

    def draw_ns(self) -> int:
        """Return the delay of the next message."""
        return max(self._floor_ns, int(self._chance.lognormvariate(self._mu, self._sigma)))


class RecordedLatency(Latency):
    """Delays of a recorded table, one after the other, from the beginning again after the last.

    Args:
        delays_ns: at least one.
        start: the row to begin with.
    """

    def __init__(self, delays_ns: list[int], start: int = 0) -> None:
        super().__init__(1)
        self._delays_ns = delays_ns
        self._next = start % len(delays_ns)

    def draw_ns(self) -> int:
        """Return the delay of the next message."""
        delay = self._delays_ns[self._next]
        self._next = (self._next + 1) % len(self._delays_ns)
        return delay


class StampedLatency(Latency):
    """The age that the stamps of the market data themselves say: receive time less the venue's time.

    The two clocks differ by an unknown constant, so the least difference seen so far counts as `base_ns`. In
    a capture nothing drifts for long; beside a live venue use one of the other kinds.

    Args:
        base_ns: age of the fastest message.
    """

    def __init__(self, base_ns: int = 0) -> None:
        super().__init__(base_ns)
        self._least_ns: int | None = None
        self._last_ns = base_ns

    @property
    def is_none(self) -> bool:
        """Whether nothing ever waits."""
        return False

    def draw_ns(self) -> int:
        """Return the age last seen."""
        return self._last_ns

    def age_ns(self, now_ns: int, venue_utc_ns: int) -> int:
        """Return the age of what came now; data without a stamp are as old as those before."""
        if venue_utc_ns:
            offset = now_ns - venue_utc_ns
            if self._least_ns is None or offset < self._least_ns:
                self._least_ns = offset
            self._last_ns = min(LATENCY_NS_MAX, offset - self._least_ns + self.constant_ns)
        return self._last_ns


def read_table(path: Path) -> list[int]:
    """Return the delays in ns of a CSV file: the last column of each row, a head line is skipped.

    Raises:
        SimulatorError: naming file and line.
    """
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise SimulatorError(f"can not read the latency table {path}: {reason}") from None
    found: list[int] = []
    for number, line in enumerate(lines, 1):
        text = line.partition("#")[0].strip().rpartition(",")[2].strip()
        if not text:
            continue
        if not text.isascii() or not text.isdigit() or int(text) > LATENCY_NS_MAX:
            if number == 1:
                continue
            raise SimulatorError(
                f"{path}:{number}: a latency is whole ns up to {LATENCY_NS_MAX}, not {text!r}"
            )
        found.append(int(text))
    if not 1 <= len(found) <= TABLE_ROWS_MAX:
        raise SimulatorError(
            f"the latency table {path} must have 1 to {TABLE_ROWS_MAX} rows, not {len(found)}"
        )
    return found


def parse_latency(text: str, seed: str, *, with_stamps: bool = False) -> Latency:
    """Return the latency a text describes.

    `250us` (ns, us, ms or s) is constant, `lognormal:250us:0.5` or `lognormal:250us:0.5:100us` is drawn
    (median, sigma, floor), `table:FILE` is recorded, `stamps` or `stamps:1ms` (least age) is what the data's
    stamps say.

    Args:
        text: the description; "" = none.
        seed: of what is drawn.
        with_stamps: whether there are stamps: it is about the market data of a capture.

    Raises:
        SimulatorError: it says what is wrong.
    """
    kind, _, rest = text.partition(":")
    if kind == "table":
        return RecordedLatency(read_table(Path(rest)), random.Random(seed).randrange(1 << 30))
    if kind == "lognormal":
        parts = rest.split(":")
        try:
            sigma = float(parts[1])
            if len(parts) > 3 or not 0 <= sigma <= 5:
                raise ValueError
        except (IndexError, ValueError):
            raise SimulatorError(
                f"a sampled latency is lognormal:MEDIAN:SIGMA[:FLOOR] with sigma 0 to 5, not {text!r}"
            ) from None
        floor = _duration_ns(parts[2]) if len(parts) == 3 else 0
        return SampledLatency(_duration_ns(parts[0]), sigma, floor, seed)
    if kind == "stamps":
        if not with_stamps:
            raise SimulatorError("a latency by stamps is the feed latency of a replay, of nothing else")
        return StampedLatency(_duration_ns(rest or "0"))
    return Latency(_duration_ns(text or "0"))


def _duration_ns(text: str) -> int:
    for unit, factor in (("ns", 1), ("us", 1_000), ("ms", 1_000_000), ("s", 1_000_000_000), ("", 1)):
        if text.endswith(unit):
            number = text[: len(text) - len(unit)] if unit else text
            try:
                value = round(float(number) * factor)
            except (ValueError, OverflowError):
                break
            if 0 <= value <= LATENCY_NS_MAX:
                return value
            break
    raise SimulatorError(f"a latency is 0 to 60 s as 250us, 1.5ms or 100000 (ns), not {text!r}")
