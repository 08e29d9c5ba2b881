"""What strategies measured of their orders, in a small journal of the worker's own.

The gateway's journal is the truth about orders and belongs to the gateway alone. What only a strategy knows
(the mid it decided at) goes to `measures-<slot>` in the state directory, from where the store takes it as it
takes the gateways' entries: exactly once. An append is a copy into a mapped page. Nothing is recovered from
it: a full disk or a kill loses measurements, never an order.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import orjson

from actors.runtime.context import Context
from exec.slippage import OrderSlippage
from exec.slippage_entry import pack_slippage
from shm.enums import JournalKind
from shm.errors import JournalError
from shm.journal import Journal

FAULT_MEASURES = 2010
FILE_BYTES = 1 << 20
AHEAD_BYTES = 1 << 16
PREFIX = "measures-"
# Gateways and strategies share worker slots; databases tell their journals apart by number.
FIRST_NUMBER = 1_000
_KEY = "measures"


class Measures:
    """The journal of one worker's measurements; make it with `measures_of`.

    Args:
        context: of the first actor that measures.
    """

    def __init__(self, context: Context) -> None:
        self._host = context.host
        self._journal: Journal | None = None
        self._known: set[int] = set()
        spec = self._host.spec
        if spec.state_dir:
            try:
                directory = Path(spec.state_dir) / f"{PREFIX}{spec.slot}"
                directory.mkdir(mode=0o700, parents=True, exist_ok=True)
                self._journal = Journal.open(directory, spec.instance, spec.epoch, file_bytes=FILE_BYTES)
            except (JournalError, OSError) as error:
                self._failed(error)

    @property
    def is_on(self) -> bool:
        """Whether there is a journal: a run without a state directory has none."""
        return self._journal is not None

    def slippage(self, context: Context, order: OrderSlippage) -> None:
        """Journal what an order cost; a disk that is full loses it, and is told once."""
        journal = self._journal
        if journal is None:
            return
        now = context.now_ns()
        try:
            if order.instrument_id not in self._known:
                row = context.instruments.get(order.instrument_id)
                journal.append(JournalKind.INSTRUMENT, row.to_bytes(), now)
                self._known.add(order.instrument_id)
            journal.append(JournalKind.SLIPPAGE, pack_slippage(order, context.actor_id), now)
        except JournalError as error:
            self._failed(error)

    def decision(self, context: Context, what: str, order_id: int, data: Mapping[str, Any]) -> None:
        """Journal which decision changed an order, and by how much, as a NOTE of JSON text.

        Args:
            context: of the actor that decided.
            what: "STYLE", "ROUTE" or "QUOTE".
            order_id: client order id.
            data: JSON-ready; amounts with their unit in the name.
        """
        if self._journal is None:
            return
        found = {"decision": what, "order": order_id, "actor_id": context.actor_id, **data}
        try:
            self._journal.append(JournalKind.NOTE, orjson.dumps(found), context.now_ns())
        except JournalError as error:
            self._failed(error)

    def prepare(self) -> None:
        """Make room for what comes, between two orders and not with one."""
        if self._journal is not None:
            try:
                self._journal.prepare(AHEAD_BYTES)
            except JournalError as error:
                self._failed(error)

    def _failed(self, error: Exception) -> None:
        self._host.metrics.fault(FAULT_MEASURES, f"measures: {error}", self._host.utc_ns())


def measures_of(context: Context) -> Measures:
    """The journal that all actors of a worker share."""
    found: Measures = context.host.share(_KEY, lambda: Measures(context))
    return found


def measure_folders(state_dir: Path) -> Iterator[tuple[Path, int]]:
    """The journals of measurements in a state directory, each with its number in databases."""
    for path in sorted(state_dir.glob(f"{PREFIX}*")):
        slot = path.name.removeprefix(PREFIX)
        if slot.isdigit():
            yield path, FIRST_NUMBER + int(slot)
