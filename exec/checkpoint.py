"""Checkpoints of recovery: the state of a replay as bytes, equal to what a full replay would give.

Made off the hot path by replaying the journal beside its writer (`CheckpointMaker`), so that equality holds
by construction and the gateway pays nothing; written at the end of each journal file. `starting_point` finds
the newest one, and the entries behind it, for `exec.recovery.recover`.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, cast

from exec.errors import RecoveryError
from exec.oms import Oms
from exec.order import Order
from exec.recovery import Recovered, Replay, mute
from shm.errors import JournalError
from shm.instruments import Instrument
from shm.journal import FileView, JournalEntry, JournalPosition
from shm.journal_checkpoint import Checkpoint, newest_checkpoint, write_checkpoint
from shm.journal_files import entry_end, map_to_read
from shm.journal_reader import START, JournalFollower, read_journal
from shm.records import IntentRecord

# The ledger is `risk.exposure.ExposureBook`, of which this package knows only the shape: iteration and `row`
# give entries with a `position` that has these fields.
_POSITION_FIELDS = ("quantity_units", "cost_product", "realized_product", "fees_e8", "fills")
FORMAT = 2
#: Every fact of an order, in the order in which a row holds them.
ORDER_FIELDS = (
    "ack_ns", "acknowledged", "actor_id", "aliases", "client_order_id", "decide_ns", "epoch", "fill_product",
    "filled_units", "flags", "frame_ns", "gate_ns", "generation", "incarnation", "instrument_id",
    "is_pending_cancel", "is_pending_replace", "leaves_units", "new_client_order_id", "new_price_units",
    "new_units", "order_type", "order_units", "price_units", "reason", "request_ns", "request_status",
    "reserved_product", "reserved_units", "root_client_order_id", "send_ns", "sent", "side", "status",
    "time_in_force", "trade_ids", "value_price_units", "venue_order_id", "worker_slot",
)  # fmt: skip
_RECOVERED_FIELDS = (
    "instruments", "discrepancies", "entries", "fills", "never_sent", "last_trade_id", "last_venue_order_id",
)  # fmt: skip


def snapshot(replay: Replay) -> bytes:
    """The whole state of a replay; the same state gives the same bytes."""
    oms, recovered = replay.oms, replay.recovered
    ledger = cast(Any, oms.ledger)
    orders = list(oms)
    state = {
        "format": FORMAT,
        "epoch": oms.epoch,
        "recovered": {name: getattr(recovered, name) for name in _RECOVERED_FIELDS},
        "disagreements": recovered.disagreements,
        "consumed": sorted(recovered.consumed.items()),
        "counts": sorted(recovered.counts.items()),
        "tail": [payload.hex() for payload in recovered.tail],
        "instrument_rows": [row.hex() for row in recovered.instrument_rows],
        "denials": [(key, i.to_bytes().hex(), reason) for key, (i, reason) in replay.denials.items()],
        "cancels": [(key, None if i is None else i.to_bytes().hex()) for key, i in replay.cancels.items()],
        "replaces": [(key, i.to_bytes().hex()) for key, i in replay.replaces.items()],
        "questions": [(key, i.to_bytes().hex()) for key, i in replay.questions.items()],
        "held": sorted(replay.held),
        "agreed": sorted(recovered.agreed.items()),
        "strangers": list(oms._strangers),
        "positions": [
            (instrument_id, *(getattr(row.position, name) for name in _POSITION_FIELDS))
            for instrument_id, row in ledger
        ],
        "fields": ORDER_FIELDS,
        "ended": [_order_row(order) for order in orders if order.is_terminal],
        "open": [_order_row(order) for order in orders if not order.is_terminal],
    }
    return json.dumps(state, separators=(",", ":")).encode()


def _order_row(order: Order) -> list[Any]:
    row = [getattr(order, name) for name in ORDER_FIELDS]
    trades = order.trade_ids
    row[ORDER_FIELDS.index("trade_ids")] = None if trades is None else sorted(trades)
    return row


def restore(content: bytes, replay: Replay) -> None:
    """Put a state into an empty replay.

    Raises:
        RecoveryError: it is no checkpoint of this build, or of another epoch.
    """
    oms, recovered = replay.oms, replay.recovered
    try:
        state = json.loads(content)
        if state["format"] != FORMAT or tuple(state["fields"]) != ORDER_FIELDS or state["epoch"] != oms.epoch:
            raise RecoveryError(f"the checkpoint is of format {state['format']} and epoch {state['epoch']}")
        for name in _RECOVERED_FIELDS:
            setattr(recovered, name, state["recovered"][name])
        recovered.disagreements.extend(state["disagreements"])
        recovered.consumed.update(state["consumed"])
        recovered.counts = Counter(dict(state["counts"]))
        recovered.tail.extend(bytes.fromhex(text) for text in state["tail"])
        recovered.instrument_rows.extend(bytes.fromhex(text) for text in state["instrument_rows"])
        replay.denials.update((key, (_intent(text), reason)) for key, text, reason in state["denials"])
        replay.cancels.update((key, text and _intent(text)) for key, text in state["cancels"])
        replay.replaces.update((key, _intent(text)) for key, text in state["replaces"])
        replay.questions.update((key, _intent(text)) for key, text in state["questions"])
        replay.held.update(state["held"])
        recovered.agreed.update(state["agreed"])
        oms._strangers.update(dict.fromkeys((instrument, trade) for instrument, trade in state["strangers"]))
        _restore_orders(state, oms)
    except (ValueError, KeyError, TypeError) as error:
        raise RecoveryError(f"the checkpoint can not be read: {error!r}") from error


def _intent(text: str) -> IntentRecord:
    return IntentRecord.from_bytes(bytes.fromhex(text))


def _restore_orders(state: dict[str, Any], oms: Oms) -> None:
    ledger = cast(Any, oms.ledger)
    for instrument_id, *values in state["positions"]:
        position = ledger.row(instrument_id).position
        for name, value in zip(_POSITION_FIELDS, values, strict=True):
            setattr(position, name, value)
    for row in [*state["ended"], *state["open"]]:
        fields = dict(zip(ORDER_FIELDS, row, strict=True))
        trades = fields["trade_ids"]
        fields["trade_ids"] = None if trades is None else set(trades)
        order = Order(
            fields["root_client_order_id"], fields["instrument_id"], fields["side"], fields["price_units"],
            fields["order_units"],
        )  # fmt: skip
        for name, value in fields.items():
            setattr(order, name, value)
        oms.index(order)
        if order.is_terminal:
            oms.retire(order)
        elif order.reserved_units or order.reserved_product:
            count = 1 if order.reserved_units else 0
            ledger.adjust(
                order.instrument_id, order.side, order.reserved_units, order.reserved_product, count
            )
    for instrument_id, *_ in state["positions"]:
        ledger.adjust(instrument_id, 1, 0, 0, 0)  # valued anew


def starting_point(
    directory: Path, epoch: int
) -> tuple[Callable[[Replay], None] | None, Iterable[JournalEntry]]:
    """Where recovery starts: what puts the newest checkpoint into a replay (None = no such), and the rest.

    The two are `start` and `entries` of `exec.recovery.recover`. A checkpoint that is damaged, of another
    build, or that the journal does not continue is passed over.
    """
    checkpoint = newest_checkpoint(directory, epoch)
    if checkpoint is None or not is_of_this_build(checkpoint.content):
        return None, read_journal(directory, epoch)
    content = checkpoint.content
    return lambda replay: restore(content, replay), read_journal(directory, epoch, checkpoint.position)


def is_of_this_build(content: bytes) -> bool:
    """Whether `restore` understands it."""
    head = json.dumps({"format": FORMAT}, separators=(",", ":"))[:-1].encode() + b","
    fields = json.dumps(ORDER_FIELDS, separators=(",", ":")).encode()
    return content.startswith(head) and b'"fields":' + fields in content


class LedgerFollower:
    """Replays a journal beside its writer, from the newest checkpoint on: a copy of orders and positions.

    Args:
        directory: of the journal; it may still be empty.
        epoch: of the run.
        make_ledger: makes an empty ledger from a function that gives the instrument row of an id, by the rows
            that the journal holds.

    Attributes:
        replay: the copy, as far as it was followed.
    """

    def __init__(
        self, directory: Path, epoch: int, make_ledger: Callable[[Callable[[int], Instrument]], Any]
    ) -> None:
        self.directory = directory
        self.epoch = epoch
        self._rows: dict[int, Instrument] = {}
        oms = Oms(epoch, make_ledger(self._row), mute)
        self.replay = Replay(oms, Recovered())
        position = START
        checkpoint = newest_checkpoint(directory, epoch)
        if checkpoint is not None and is_of_this_build(checkpoint.content):
            for row in instrument_rows(checkpoint.content):
                self._take_row(row)
            restore(checkpoint.content, self.replay)
            position = checkpoint.position
        self._follower = JournalFollower(directory, position, epoch=epoch)

    def _row(self, instrument_id: int) -> Instrument:
        row = self._rows.get(instrument_id)
        if row is None:
            raise RecoveryError(f"no row of instrument {instrument_id} stands in the journal")
        return row

    def _take_row(self, payload: bytes) -> None:
        row = Instrument.from_bytes(payload)
        self._rows[row.instrument_id] = row

    def step(self, limit: int = 256) -> int:
        """Replay at most `limit` entries; returns how many. 0 = it is where the writer is.

        Raises:
            JournalError: the journal is broken; RecoveryError: it contradicts itself.
        """
        entries = self._follower.read(limit)
        for entry in entries:
            self.take(entry)
        return len(entries)

    def take(self, entry: JournalEntry) -> None:
        """Replay one entry."""
        rows = self.replay.recovered.instruments
        self.replay.apply(entry)
        if self.replay.recovered.instruments > rows:
            self._take_row(entry.payload)

    def rest(self) -> Iterator[JournalEntry]:
        """What stands behind the entries replayed so far; whoever takes it replays it (`recover`)."""
        return iter(self._follower)


class CheckpointMaker(LedgerFollower):
    """Writes a checkpoint whenever a file of the journal is complete; `step` writes none if it raises.

    Attributes:
        written: paths of the checkpoints written.
        error: why the last one could not be written, "" = it could. Recovery then only reads more.
    """

    def __init__(
        self, directory: Path, epoch: int, make_ledger: Callable[[Callable[[int], Instrument]], Any]
    ) -> None:
        super().__init__(directory, epoch, make_ledger)
        self.written: list[Path] = []
        self.error = ""
        self._last: JournalEntry | None = None

    def take(self, entry: JournalEntry) -> None:
        """See `LedgerFollower`; an entry of a new file first completes the one before it."""
        last = self._last
        if last is not None and entry.file != last.file:
            self._write(last, entry)
        super().take(entry)
        self._last = entry

    def _write(self, last: JournalEntry, following: JournalEntry) -> None:
        index = int(last.file.stem.rpartition("-")[2])
        view = FileView(following.file, map_to_read(following.file), self.epoch, index + 1)
        position = JournalPosition(self.epoch, index, entry_end(last), last.sequence, view.previous_chain)
        try:
            self.written.append(write_checkpoint(self.directory, Checkpoint(position, snapshot(self.replay))))
            self.error = ""
        except JournalError as error:
            self.error = str(error)


def instrument_rows(content: bytes) -> list[bytes]:
    """The journaled instrument rows that a checkpoint holds."""
    return [bytes.fromhex(text) for text in json.loads(content)["instrument_rows"]]
