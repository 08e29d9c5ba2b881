"""The book's checksum is that of the venue's own texts, whatever zeros they end in."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from feeds.core import FrameResult
from tests.feeds.test_stream_snapshots import SWAP, StreamRig
from tests.kit.stream_frames import TIME_MS, okx_book, okx_checksum


def text_of(value: float, way: int, decimals: int) -> str:
    """A number written without, with some, or with many zeros at its end."""
    text = f"{value:.{decimals}f}"
    if way == 0:
        return text.rstrip("0").rstrip(".")
    return text + "0" * (way - 1)


LEVEL = st.tuples(st.integers(1, 60), st.integers(0, 3000), st.integers(0, 2), st.integers(0, 2))
UPDATE = st.tuples(st.lists(LEVEL, max_size=30), st.lists(LEVEL, max_size=30))


def texts(levels: list[tuple[int, int, int, int]], side: int) -> dict[int, tuple[str, str]]:
    found = {}
    for step, quantity, price_way, quantity_way in levels:
        ticks = 10_000 - step if side == 0 else 10_000 + step
        found[ticks] = (text_of(ticks / 100, price_way, 2), text_of(quantity / 1000, quantity_way, 3))
    return found


@settings(max_examples=60, deadline=None)
@given(st.lists(UPDATE, min_size=1, max_size=6))
def test_every_checksum_of_the_texts_holds(
    updates: list[tuple[list[tuple[int, int, int, int]], ...]],
) -> None:
    rig = StreamRig("okx", (SWAP,))
    twin: tuple[dict[int, tuple[str, str]], dict[int, tuple[str, str]]] = ({}, {})
    for number, sides in enumerate(updates, 1):
        sent = [texts(levels, side) for side, levels in enumerate(sides)]
        for side in range(2):
            twin[side].update(sent[side])
            for ticks, (_, quantity) in sent[side].items():
                if not quantity.strip("0."):
                    del twin[side][ticks]
        bids = [twin[0][ticks] for ticks in sorted(twin[0], reverse=True)]
        asks = [twin[1][ticks] for ticks in sorted(twin[1])]
        checksum = okx_checksum(bids, asks)
        if checksum == 0:
            continue
        if rig.state(SWAP) != "LIVE":
            frame = okx_book(SWAP, number, -1, bids, asks, action="snapshot", checksum=checksum)
            rig.frame(frame)
            assert rig.state(SWAP) == "LIVE"
        else:
            frame = okx_book(
                SWAP,
                number,
                rig.core.proven_sequence(0),
                list(sent[0].values()),
                list(sent[1].values()),
                checksum=checksum,
                ms=TIME_MS + number,
            )
            assert rig.frame(frame) == FrameResult.APPLIED, rig.core.error


def test_only_the_best_25_levels_count() -> None:
    rig = StreamRig("okx", (SWAP,))
    bids = [(f"{1000 - i}", "1") for i in range(40)]
    rig.frame(okx_book(SWAP, 1, -1, bids, [], action="snapshot", checksum=okx_checksum(bids, [])))
    assert rig.state(SWAP) == "LIVE"
    deeper = [*bids[:30], ("970", "7"), *bids[31:]]
    assert okx_checksum(deeper, []) == okx_checksum(bids, [])
    assert (
        rig.frame(okx_book(SWAP, 2, 1, [("970", "7")], checksum=okx_checksum(bids, [])))
        == FrameResult.APPLIED
    )
    gone = deeper[1:]
    assert (
        rig.frame(okx_book(SWAP, 3, 2, [("1000", "0")], checksum=okx_checksum(gone, [])))
        == FrameResult.APPLIED
    )


def test_the_checksum_holds_when_levels_are_pushed_out_of_the_best_25_and_one_before_them_goes() -> None:
    rig = StreamRig("okx", (SWAP,))
    book = {1000 - i: "1" for i in range(2, 60, 2)}

    def best() -> list[tuple[str, str]]:
        return [(str(price), book[price]) for price in sorted(book, reverse=True)]

    rig.frame(okx_book(SWAP, 1, -1, best(), [], action="snapshot", checksum=okx_checksum(best(), [])))
    assert rig.state(SWAP) == "LIVE"
    sent = [("997", "3"), ("995", "5"), ("998", "0"), ("950", "8")]
    book |= {997: "3", 995: "5", 950: "8"}
    del book[998]
    frame = okx_book(SWAP, 2, 1, sent, [], checksum=okx_checksum(best(), []), ms=TIME_MS + 2)
    assert rig.frame(frame) == FrameResult.APPLIED, rig.core.error
