from collections.abc import Sequence
from typing import Self

from tools.venues.encoding import Encoder
from tools.venues.fanout import Stream
from tools.venues.sim_book import BookModel

DEPTH_REALTIME: int
DEPTH_SLOW: tuple[int, int, int]
SLOW_INTERVALS_MS: tuple[int, int, int]
TICKER: int
AGGREGATE_TRADE: int
TRADE: int
MARK_SLOW: int
MARK_FAST: int
MARK_INTERVALS_MS: tuple[int, int]
LIQUIDATION: tuple[int, int]
STATISTICS: int
INDEX: int
FUNDING: int
WINDOW_LEVELS: int

class Market(BookModel):
    def __new__(
        cls,
        instruments: Sequence[tuple[str, int, int, int, int, int, float, int, float]],
        seed: int,
        encoder: Encoder,
        rate_per_s: float,
        start_ms: int,
    ) -> Self: ...
    @property
    def instruments(self) -> int: ...
    @property
    def updates(self) -> int: ...
    @property
    def events(self) -> int: ...
    @property
    def now_ms(self) -> int: ...
    @property
    def clock(self) -> int: ...
    def bind(self, index: int, kind: int, stream: Stream | None) -> None: ...
    def set_start(self, start_ms: int) -> None: ...
    def advance(self, until_ns: int, update_limit: int = 0) -> int: ...
    def generate(self, index: int, events: int) -> int: ...
    def flush(self) -> None: ...
    def snapshot(self, index: int, limit: int) -> bytes: ...
    def state(self, index: int) -> tuple[int, int, int, int, bool]: ...
