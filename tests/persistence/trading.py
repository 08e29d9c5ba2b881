"""A journal of real trading: a gateway's parts on a real journal, filled by moving books."""

from __future__ import annotations

import random
import time
from pathlib import Path
from typing import cast

from exec.discrepancy import Discrepancy
from shm.enums import IntentKind, JournalKind, OrderFlags
from shm.journal import Journal
from tests.exec.scene import BUY, EPOCH, SELL, MemoryJournal, Scene

INSTANCE = "shop"


class Shop:
    """Trades two instruments into `folder`; call `trade` as often as wanted, `close` at the end."""

    def __init__(self, folder: Path, *, epoch: int = EPOCH, file_bytes: int = 1 << 20, seed: int = 1) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.journal = Journal.open(folder, INSTANCE, epoch, file_bytes=file_bytes)
        self.scene = Scene(instruments=2, journal=cast(MemoryJournal, self.journal))
        self.chance = random.Random(seed)
        self.scene.now_ns = time.monotonic_ns()
        if not self.journal.sequence:
            for row in self.scene.rows.values():
                self.journal.append(JournalKind.INSTRUMENT, row.to_bytes(), self.scene.now_ns)
            self.journal.append(JournalKind.GENERATION, (1).to_bytes(8, "little"), self.scene.now_ns)

    def trade(self, orders: int) -> None:
        """Send orders of all kinds; about half of them fill."""
        scene, chance = self.scene, self.chance
        for _ in range(orders):
            scene.now_ns = time.monotonic_ns()
            scene.book([(1000, 5), (990, 50)], [(1010, 5), (1020, 50)], chance.randrange(2))
            scene.process(
                scene.intent(
                    instrument_id=chance.randrange(2),
                    side=chance.choice([BUY, SELL]),
                    price_units=chance.choice([980, 1000, 1010, 1020]),
                    quantity_units=chance.randrange(1, 9),
                    flags=chance.choice([0, 0, int(OrderFlags.POST_ONLY)]),
                ),
                chance.choice([0, 0, 0, 19]),
            )
            scene.settle()
            if chance.random() < 0.3:
                scene.process(scene.intent(IntentKind.MASS_CANCEL, instrument_id=0xFFFFFFFF))
                scene.settle()
            self.journal.prepare(1 << 16)

    def find(self, found: Discrepancy) -> None:
        """Journal a discrepancy."""
        self.scene.entries.discrepancy(found, self.scene.now_ns)

    def close(self) -> None:
        """Close the journal."""
        self.journal.close()
