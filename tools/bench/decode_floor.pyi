from collections.abc import Sequence

class FloorBooks:
    def __init__(
        self,
        first_key: bytes,
        second_key: bytes,
        first_side: int,
        instruments: Sequence[tuple[int, int, int]],
        checksum_key: bytes = b"",
    ) -> None: ...
    def load(
        self, index: int, frame: bytes, first_key: bytes, second_key: bytes, first_side: int
    ) -> None: ...
    def run(self, frames: list[bytes], indexes: list[int]) -> int: ...
    def book(self, index: int) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]: ...
