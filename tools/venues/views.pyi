from collections.abc import Sequence

from tools.venues.fanout import Stream
from tools.venues.synthetic import Market

STATISTICS_MS: int
MARK_MS: int
INDEX_MS: int
FUNDING_MS: int

class ViewMarket(Market):
    def set_views(
        self, views: Sequence[tuple[int, bool, int, int]], rest_view: int, every_change: bool = False
    ) -> None: ...
    def bind_view(self, index: int, number: int, stream: Stream | None) -> None: ...
    def welcome(self, index: int, number: int) -> bytes: ...
    def welcome_kind(self, index: int, kind: int) -> bytes: ...
    def view_state(
        self, index: int, number: int
    ) -> tuple[int, int, list[tuple[int, int]], list[tuple[int, int]]]: ...
    def begin_again(self, index: int, number: int) -> None: ...
