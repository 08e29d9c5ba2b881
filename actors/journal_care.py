"""The journals' keeper, off the hot path: checkpoints, closed files sealed, old ones removed.

It lives in the housekeeping worker and only reads what gateways write. Dead or slow, it costs nothing but
room on the disk and a longer recovery.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from actors.errors import SettingsError
from actors.measures import measure_folders
from actors.runtime.actor import Actor
from actors.runtime.context import Context
from actors.runtime.settings import read_settings
from exec.checkpoint import CheckpointMaker
from exec.errors import RecoveryError
from risk.exposure import ExposureBook
from shm.errors import JournalError
from shm.journal_keeper import KeepPolicy, KeepReport, keep_steps

FAULT_JOURNAL_CARE = 2001
_MS = 1_000_000
_S = 1_000_000_000
IDLE_NS = _S


@dataclass(frozen=True, slots=True)
class JournalCareSettings:
    """Settings of the role `journal_keeper`.

    Args:
        slots: of the gateways whose journals are kept.
        keep_days: closed files older than that are removed; 0 = never for their age.
        keep_bytes: the oldest are removed while all together are larger; 0 = no limit.
        step_ms: between two steps; each takes a few milliseconds at most.
        step_entries: entries replayed in one step, for checkpoints.
        pass_s: between two looks for files to seal and to remove.
    """

    slots: list[int]
    keep_days: float = 90.0
    keep_bytes: int = 0
    step_ms: int = 20
    step_entries: int = 256
    pass_s: float = 10.0

    def __post_init__(self) -> None:
        for name in ("keep_days", "keep_bytes"):
            if getattr(self, name) < 0:
                raise SettingsError(f"journal_keeper: setting {name!r} must be 0 or more")
        for name in ("step_ms", "step_entries", "pass_s"):
            if getattr(self, name) <= 0:
                raise SettingsError(f"journal_keeper: setting {name!r} must be positive")


class JournalCare:
    """Care of one journal in small steps; knows no process.

    Args:
        directory: of the journal; it may not be there yet.
        epoch: of the run.
        settings: how.
        tell: called with what an operator should know, once for each new text.
        is_recovered: whether a start recovers from it: then it gets checkpoints, and keeps what they need.

    Attributes:
        sealed, removed, checkpoints: how many so far.
    """

    def __init__(
        self,
        directory: Path,
        epoch: int,
        settings: JournalCareSettings,
        tell: Callable[[str], None],
        *,
        is_recovered: bool = True,
    ) -> None:
        self.directory = directory
        self.epoch = epoch
        self.settings = settings
        self.policy = KeepPolicy(settings.keep_days, settings.keep_bytes)
        self.sealed = self.removed = self.checkpoints = 0
        self._tell = tell
        self._told = ""
        self._maker: CheckpointMaker | None = None
        self._is_recovered = is_recovered
        self._is_broken = False
        self._pass: Iterator[None] | None = None
        self._report = KeepReport()
        self._next_pass_ns = 0

    def step(self, now_ns: int, utc_ns: int) -> bool:
        """Do a little of what is due; returns whether there is more. Damage of the journal is told."""
        is_behind = self._replay()
        self._keep(now_ns, utc_ns)
        return is_behind or self._pass is not None

    def _replay(self) -> bool:
        if self._is_broken or not self._is_recovered or not self.directory.is_dir():
            return False
        count = 0
        try:
            if self._maker is None:
                self._maker = CheckpointMaker(self.directory, self.epoch, ExposureBook)
            maker = self._maker
            count = maker.step(self.settings.step_entries)
        except (JournalError, RecoveryError) as error:
            self._is_broken = True  # recovery will say the same; a restart tries again
            self._say(f"no more checkpoints: {error}")
            return False
        self.checkpoints = len(maker.written)
        if maker.error:
            self._say(f"a checkpoint could not be written: {maker.error}")
        return count > 0

    def _keep(self, now_ns: int, utc_ns: int) -> None:
        if self._pass is None:
            if now_ns < self._next_pass_ns:
                return
            self._report = KeepReport()
            self._pass = keep_steps(
                self.directory, self.policy, utc_ns, self._report, is_recovered=self._is_recovered
            )
        try:
            next(self._pass)
            return
        except StopIteration:
            pass
        except (JournalError, OSError) as error:
            self._say(f"not kept: {error}")
        self._pass = None
        self._next_pass_ns = now_ns + round(self.settings.pass_s * _S)
        self.sealed += len(self._report.sealed)
        self.removed += len(self._report.removed)
        for text in self._report.damage:
            self._say(f"damaged: {text}")
        if self._report.foreign:
            more = f", and {len(self._report.foreign) - 1} more" if len(self._report.foreign) > 1 else ""
            self._say(f"kept, not read: {self._report.foreign[0]}{more}")
        if self._report.held_by.startswith("cursor"):
            self._say(f"old files stay: {self._report.held_by} has not stored them")

    def _say(self, text: str) -> None:
        if text != self._told:
            self._told = text
            self._tell(text)


class JournalKeeper(Actor):
    """The actor; see the module."""

    role: ClassVar[str] = "journal_keeper"

    def __init__(self, context: Context, settings: Mapping[str, Any]) -> None:
        super().__init__(context, settings)
        self.config = read_settings(JournalCareSettings, settings, self.role)
        spec = context.host.spec
        self.cares = [
            JournalCare(Path(spec.state_dir) / f"journal-{slot}", spec.epoch, self.config, self._say)
            for slot in self.config.slots
            if spec.state_dir
        ]
        self._measures: set[Path] = set()
        self._look_ns = 0
        self._counters = {
            name: context.counter(f"journal.{name}") for name in ("sealed", "removed", "checkpoints")
        }

    @classmethod
    def check_settings(cls, settings: Mapping[str, Any]) -> None:
        """Raise SettingsError for what JournalCareSettings does not allow."""
        read_settings(JournalCareSettings, settings, cls.role)

    def on_start(self, *_: Any) -> None:
        """Begin; each step is a timer's."""
        self._step()

    def _find_measures(self, now_ns: int) -> None:
        """Strategy workers begin their journals of measurements when they have something to tell."""
        spec = self.context.host.spec
        if not spec.state_dir or now_ns < self._look_ns:
            return
        self._look_ns = now_ns + round(self.config.pass_s * _S)
        for path, _ in measure_folders(Path(spec.state_dir)):
            if path not in self._measures:
                self._measures.add(path)
                self.cares.append(JournalCare(path, spec.epoch, self.config, self._say, is_recovered=False))

    def _step(self) -> None:
        context = self.context
        self._find_measures(context.now_ns())
        is_busy = [care.step(context.now_ns(), context.utc_ns()) for care in self.cares]
        # Nobody waits for a checkpoint: where nothing is written, a look a second will do.
        context.call_later(self.config.step_ms * _MS if any(is_busy) else IDLE_NS, self._step)
        for name, counter in self._counters.items():
            counter.set(sum(getattr(care, name) for care in self.cares))

    def _say(self, text: str) -> None:
        host = self.context.host
        host.metrics.fault(FAULT_JOURNAL_CARE, f"journal: {text}", host.utc_ns())
        host.notify({"op": "journal", "text": text})
