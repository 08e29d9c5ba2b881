"""Every fault at every venue: seen for what it is, no book wrong for a moment, and right again at the end.

`TABLE` is the matrix: for each fault and venue the script, what the feed must count, and the reason that the
book's certificate must have borne. A fault without a row for each venue fails. At every message a strategy
asks the real gate for an order: none passes on a book that is not LIVE, and but for levels that only an audit
can find none on a book that is not the venue's. What only an audit can find the real auditor finds in its
first look at the book.
"""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from feeds.errors import TransportError
from shm.clock import now_ns
from shm.enums import Reason
from tests.kit.fault_scene import DEPTH, MS, FaultScene, play
from tools.venues.faults import KINDS, FaultScriptError, Target, parse_faults
from tools.venues.faults_desk import NUMBERS_JUMP

VENUES = tuple(DEPTH)
BINANCE, OKX, LINEAR, SPOT = VENUES
STREAMED = (OKX, LINEAR, SPOT)


@dataclass(frozen=True, slots=True)
class Expected:
    """One cell.

    script: the fault; counts: counters that must rise; reasons: of which each must stand in the certificate;
    shifts: of the venue's numbers; rest: the REST side is asked by hand, because books do not need it here;
    undetected: the book is wrong and LIVE until an audit says so; impossible: the venue has no such fault;
    begins_anew: the venue says so by its rules, and the proven sequence follows it down without a break.
    """

    script: str
    counts: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()
    shifts: tuple[int, ...] = ()
    rest: bool = False
    undetected: bool = False
    impossible: bool = False
    with_checksum: bool = False
    begins_anew: bool = False


def everywhere(script: str, *counts: str, reasons: tuple[str, ...] = ()) -> dict[str, Expected]:
    return dict.fromkeys(VENUES, Expected(script, counts, reasons))


def at_rest(
    fault: str, *counts: str, rest: tuple[str, ...] = (), reasons: tuple[str, ...] = ()
) -> dict[str, Expected]:
    """A fault of the REST side: a lost update makes Binance need a snapshot; other books do not care."""
    return {
        BINANCE: Expected(f"on rest: {fault} path=/fapi/v1/depth; now: drop", counts, (*reasons, "GAP")),
        **dict.fromkeys(STREAMED, Expected(f"on rest: {fault}", rest, rest=True)),
    }


def refused(status: int) -> dict[str, Expected]:
    counts = ("snapshot_failures", "refusals") if status in (418, 429) else ("snapshot_failures",)
    return at_rest(f"http_status status={status}", *counts, rest=counts[1:])


JUMP = NUMBERS_JUMP
CORRUPTED = 3  # levels
#: (fault, variant) → venue → what is expected.
TABLE: dict[tuple[str, str], dict[str, Expected]] = {
    ("drop", ""): everywhere("now: drop", "gaps", reasons=("GAP",)),
    ("duplicate", ""): everywhere("now: duplicate times=2", "duplicates"),
    ("reorder", "1"): everywhere("now: reorder", "gaps", reasons=("GAP",)),
    ("reorder", "5"): everywhere("now: reorder frames=5", "gaps", reasons=("GAP",)),
    ("truncate", ""): everywhere("now: truncate bytes=7", "rejected", "gaps", reasons=("GAP",)),
    ("corrupt_level", "quantity"): dict.fromkeys(
        VENUES,
        Expected(f"now: corrupt_level times={CORRUPTED}", reasons=("AUDIT",), undetected=True),
    ),
    ("corrupt_level", "price"): dict.fromkeys(
        VENUES,
        Expected(
            f"now: corrupt_level field=price times={CORRUPTED}", reasons=("AUDIT|CROSSED",), undetected=True
        ),
    ),
    ("crossed", ""): everywhere("now: crossed", "crossed", reasons=("CROSSED",)),
    ("delay", ""): everywhere(
        "now: delay symbol={symbol} ms=400", "suspect_timestamp", reasons=("TIMESTAMP",)
    ),
    ("stall", ""): everywhere("now: stall seconds=0.4", "silences", reasons=("SILENCE",)),
    ("stall", "one symbol"): everywhere(
        "after 3 frames: stall symbol={symbol} seconds=0.1", "gaps", reasons=("GAP",)
    ),
    ("mute", ""): everywhere("after 3 frames: mute symbol={symbol} seconds=0.1", "gaps", reasons=("GAP",)),
    ("half_open", ""): everywhere("now: half_open", "silences", "disconnects", reasons=("SILENCE",)),
    ("disconnect", "abort"): everywhere("now: disconnect", "disconnects", reasons=("SOCKET_LOST",)),
    ("disconnect", "close"): everywhere("now: disconnect how=close", "disconnects", reasons=("SOCKET_LOST",)),
    ("disconnect_storm", ""): everywhere(
        "now: disconnect_storm cuts=2 pause=0.1", "disconnects", reasons=("SOCKET_LOST",)
    ),
    ("cut_24h", ""): everywhere("now: cut_24h", "disconnects", reasons=("SOCKET_LOST",)),
    ("maintenance", ""): dict.fromkeys(
        VENUES,
        Expected(
            "now: maintenance seconds=0.2", ("disconnects", "connect_errors"), ("SOCKET_LOST",), (-JUMP,)
        ),
    ),
    ("sequence_reset", ""): {
        BINANCE: Expected("now: sequence_reset", ("gaps",), ("GAP",), (JUMP,)),
        OKX: Expected("now: sequence_reset", shifts=(-JUMP,), begins_anew=True),
        LINEAR: Expected("now: sequence_reset", begins_anew=True),
        SPOT: Expected("now: sequence_reset", begins_anew=True),
    },
    ("sequence_reset", "other way"): {
        BINANCE: Expected(f"now: sequence_reset by=-{JUMP}", ("rewinds",), ("GAP",), (-JUMP,)),
        OKX: Expected("now: sequence_reset mode=update", shifts=(-JUMP,), begins_anew=True),
        LINEAR: Expected(f"now: sequence_reset by={JUMP}", ("gaps",), ("GAP",), (JUMP,)),
        SPOT: Expected(f"now: sequence_reset by=-{JUMP}", ("rewinds",), ("GAP",), (-JUMP,)),
    },
    ("wrong_checksum", ""): {
        OKX: Expected("now: wrong_checksum", ("checksum_errors",), ("CHECKSUM",), with_checksum=True),
        **dict.fromkeys((BINANCE, LINEAR, SPOT), Expected("now: wrong_checksum", impossible=True)),
    },
    ("time_backwards", ""): everywhere("now: time_backwards", "suspect_timestamp", reasons=("TIMESTAMP",)),
    ("garbage", ""): everywhere("now: garbage", "rejected"),
    ("unknown_symbol", ""): everywhere("now: unknown_symbol", "unknown_symbols"),
    **{("http_status", str(status)): refused(status) for status in (418, 429, 500, 503)},
    ("slow_rest", ""): at_rest("slow_rest seconds=0.5", "snapshot_failures", rest=("failures",)),
    ("stale_snapshot", ""): at_rest("stale_snapshot", "snapshots_too_old", rest=("snapshots_ignored",)),
}
#: What a book may say of a machine that lets it wait.
WAITING = {"SILENCE", "SOCKET_LOST", "TIMESTAMP", "PROVEN"}
QUICK = {
    ("drop", ""),
    ("crossed", ""),
    ("sequence_reset", ""),
    ("wrong_checksum", ""),
    ("disconnect", "abort"),
}
CELLS = [
    pytest.param(
        fault, variant, venue, id=f"{fault} {variant} {venue}".replace("  ", " "),
        marks=[] if (fault, variant) in QUICK else [pytest.mark.prove],
    )
    for (fault, variant), row in TABLE.items()
    for venue in row
]  # fmt: skip
pytestmark = pytest.mark.timeout(300)


def test_the_matrix_has_every_fault_at_every_venue() -> None:
    of_orders = {name for name, kind in KINDS.items() if kind.target in (Target.ORDER, Target.ACCOUNT)}
    assert {fault for fault, _ in TABLE} == set(KINDS) - of_orders
    assert [cell for cell, row in TABLE.items() if set(row) != set(VENUES)] == []
    for (fault, _), row in TABLE.items():
        for expected in row.values():
            assert f": {fault}" in expected.script
            assert (
                expected.counts or expected.reasons or expected.impossible or expected.begins_anew
                or expected.rest
            )  # fmt: skip


@pytest.mark.parametrize(("fault", "variant", "venue"), CELLS)
def test_a_fault_is_seen_and_mended_and_no_wrong_book_is_ever_shown(
    fault: str, variant: str, venue: str
) -> None:
    expected = TABLE[fault, variant][venue]
    if expected.impossible:
        with pytest.raises(FaultScriptError, match="exists at okx only"):
            parse_faults(expected.script, venue)
        return
    scene = FaultScene(
        venue, shifts=expected.shifts, with_checksum=expected.with_checksum,
        # A wrong level that is touched is right again: on a slow market it stands until it is looked at.
        rate_per_s=100.0 if expected.undetected else 800.0,
    )  # fmt: skip

    async def act(scene: FaultScene) -> None:
        proven = scene.rig.core.proven_sequence
        numbers = [proven(row.instrument_id) for row in scene.rig.rows]
        scene.reasons.clear()
        before = {name: scene.count(name) for name in expected.counts}
        scene.fault(expected.script.replace("{symbol}", scene.rig.rows[0].symbol))
        if expected.rest:
            await ask_by_hand(scene)
        await scene.until(
            lambda: all(one["count"] for one in scene.run.faults.statistics()), "the fault has happened"
        )
        if expected.undetected:
            await find_by_audit(scene, expected.script)
        if expected.begins_anew:
            await scene.until(
                lambda: any(proven(place) < was - JUMP // 2 for place, was in enumerate(numbers)),
                "numbers begin anew",
            )
            assert scene.reasons <= WAITING, "no break in the sequence"
        for name, count in before.items():
            await scene.until(lambda n=name, c=count: scene.count(n) > c, f"{name} rises")  # type: ignore[misc]
        for reason in expected.reasons:
            wanted = set(reason.split("|"))
            await scene.until(lambda w=wanted: w & scene.reasons, f"a book says {reason}")  # type: ignore[misc]

    play(scene, act)
    assert scene.wrong == []
    assert scene.misled == []
    assert scene.books_seen > 0
    assert scene.decider.verdicts[Reason.NONE] > 0


async def ask_by_hand(scene: FaultScene) -> None:
    """Ask for a book by REST where no book needs it: refusals are obeyed, and a body changes nothing."""
    states = scene.session.states()
    try:
        reply = await scene.ask_rest()
    except TransportError:
        reply = await scene.ask_rest()
    if not reply.is_ok:
        reply = await scene.ask_rest()
    assert reply.is_ok
    scene.session.on_snapshot(0, reply.body)
    assert scene.session.states() == states


async def find_by_audit(scene: FaultScene, script: str) -> None:
    """What only an audit can find: the book is LIVE and wrong until a snapshot disagrees with it."""

    def is_found() -> bool:
        return bool(scene.reasons & {"AUDIT", "CROSSED"})

    await scene.until(scene.is_wrong, "a book is LIVE and wrong")
    scene.audit()
    # A level that the market touches is right again before it is found: then another one is made wrong.
    for _ in range(10):
        await scene.until(lambda: is_found() or not scene.is_wrong(), "the audit finds the difference")
        if is_found():
            break
        scene.fault(script)
        await scene.until(lambda: is_found() or scene.is_wrong(), "a book is LIVE and wrong again")
    assert is_found()
    # Several levels were made wrong: none is left, found or touched.
    await scene.until(
        lambda: all(one["count"] == CORRUPTED for one in scene.run.faults.statistics()), "all are wrong"
    )
    await scene.until(lambda: not scene.is_wrong(), "no book is wrong")
    await scene.live()
    scene.wrong.clear()
    scene.misled.clear()


@pytest.mark.prove
@pytest.mark.parametrize("venue", VENUES)
def test_two_hundred_books_that_break_together_are_mended_within_the_budget(venue: str) -> None:
    scene = FaultScene(
        venue, instruments=200, rate_per_s=500.0, shifts=(-JUMP, -2 * JUMP), silence_ns=2000 * MS,
        reconnect_silence_ns=4000 * MS, snapshot_timeout_ns=20_000 * MS,
    )  # fmt: skip

    def most(start_ns: int) -> float:
        return scene.tokens + scene.per_second * (now_ns() - start_ns) / 1e9

    async def act(scene: FaultScene) -> None:
        start_ns = scene.start_ns
        scene.fault("now: maintenance seconds=0.1; at 0.2s: disconnect_storm cuts=1")
        await scene.until(lambda: scene.count("disconnects"), "every connection is cut")
        await scene.live(120.0)
        asked = scene.count("snapshot_requests")
        if not scene.adapter.needs_snapshot_requests:
            assert (asked, scene.count("resubscribes")) == (0, 0)
            return
        assert 2 * 200 <= asked <= most(start_ns)
        # the next break finds the budget spent: what is asked for now is what time alone gives
        scene.fault("now: maintenance seconds=0.1")
        await scene.until(lambda: scene.count("waiting_for_token") >= 100, "books wait for their turn")
        until_ns = now_ns() + 2000 * MS
        await scene.until(lambda: now_ns() > until_ns, "two seconds are over")
        assert scene.count("snapshot_requests") <= most(start_ns)
        assert scene.count("waiting_for_token") >= 100
        scene.is_ended = True

    play(scene, act)
    assert scene.wrong == []
    assert scene.misled == []
    assert scene.run.rest.statuses.get(429, 0) == 0


@pytest.mark.prove
@pytest.mark.parametrize("venue", STREAMED)
def test_two_hundred_books_that_break_on_standing_sockets_are_mended_by_new_ones(venue: str) -> None:
    scene = FaultScene(
        venue, instruments=200, rate_per_s=500.0, silence_ns=4000 * MS, reconnect_silence_ns=8000 * MS,
        snapshot_timeout_ns=20_000 * MS,
    )  # fmt: skip

    async def act(scene: FaultScene) -> None:
        start_ns = now_ns()
        for row in scene.rig.rows:
            scene.session.on_audit_difference(row.instrument_id, start_ns)
        assert scene.count("waiting_for_token") >= 150
        await scene.live(120.0)
        assert scene.count("resubscribes") <= scene.tokens + scene.per_second * (now_ns() - start_ns) / 1e9
        assert 1 <= scene.count("line_renewals") <= len(scene.lines)

    play(scene, act)
    assert scene.wrong == []
    assert scene.misled == []
