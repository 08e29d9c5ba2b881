"""An engine that trades at three simulated venues: processes killed, lines cut, against the venues' books."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from shm.enums import OrderStatus
from tests.kit.trading_venue import Refusing
from tests.kit.venue_campaign import VENUES, Tally, VenueCampaign, read_ours

KILLS = int(os.environ.get("RINGLANE_VENUE_KILLS", "20"))
SEED = int(os.environ.get("RINGLANE_KILL_SEED", "0")) or random.SystemRandom().getrandbits(32)
PIECE = 50
#: What goes wrong with orders, again and again, and each many times within a run.
ORDER_FAULTS = """
every 11 orders jitter 0.5: lost_ack
every 13 orders jitter 0.5: lost_request
every 7 orders jitter 0.5: duplicate_report
every 9 orders jitter 0.5: ack_after_fill ms=300
every 8 orders jitter 0.5: slow_cancel ms=400
after 30 orders: reject_storm times=10
after 25 orders: ack_disconnect
after 60 orders: ack_disconnect
after 5 orders: kill_in_batch
"""
#: What may never come about in a run: a batch of new orders is chance.
BY_CHANCE = ("kill_in_batch",)
#: What befalls connections and the account; one after the other.
CUTS = ("stale_listen_key", "stale_listen_key told=no", "maintenance seconds=1", "disconnect")


def fight(
    folder: Path, monkeypatch: pytest.MonkeyPatch, seed: int, kills: int, supervisors: int
) -> VenueCampaign:
    """Kill that many processes, supervisors among them; both views are compared on the way and in the end."""
    campaign = VenueCampaign(folder, seed, monkeypatch.setenv)
    try:
        campaign.wait_safe()
        campaign.wait_trading()
        for life in range(supervisors + 1):
            goal = kills * (life + 1) // (supervisors + 1)
            while campaign.tally.killed < goal:
                if campaign.random.random() < 0.2:
                    campaign.cut()
                campaign.kill()
                if campaign.random.random() < 0.15:
                    campaign.compare()
                    campaign.wait_trading()
            if life < supervisors:
                campaign.kill_supervisor()
        campaign.stop()
    finally:
        print(f"\nseed {seed}: {campaign.tally.text()}")
        campaign.close()
    # A position that had to be booked without a fill, once an epoch has traded, is a fill that was missed.
    assert not campaign.tally.drifts_within, campaign.tally.text()
    return campaign


@pytest.mark.prove
@pytest.mark.timeout(1500)
def test_no_order_is_doubled_orphaned_or_dropped_while_processes_are_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tally = fight(tmp_path, monkeypatch, SEED, KILLS, 1).tally
    assert tally.killed >= KILLS
    assert all(tally.venues[name]["orders"] for name in VENUES), tally.text()


@pytest.mark.prove
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", VENUES)
def test_whatever_the_venue_does_to_orders_both_views_are_equal_in_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    campaign = VenueCampaign(tmp_path, SEED, monkeypatch.setenv, (name,), pace_ms=40)
    venue = campaign.venues[0]
    try:
        campaign.wait_safe()
        campaign.wait_trading()
        venue.faults(ORDER_FAULTS)

        def all_happened() -> bool:
            missing = [what for what, count in venue.happened().items() if not count]
            all_happened.told = str(missing)  # type: ignore[attr-defined]
            return not [text for text in missing if not any(chance in text for chance in BY_CHANCE)]

        campaign.poll(all_happened, "every fault of the script")
        for cut in CUTS:
            met = sum(venue.happened().values())
            venue.faults(f"now: {cut}")
            campaign.poll(lambda met=met: sum(venue.happened().values()) > met, f"{cut} has happened")
            campaign.wait_trading()
        campaign.compare()
        campaign.wait_trading()
        campaign.stop()
    finally:
        print(f"\n{name}: {campaign.tally.text()}")
        campaign.close()


@pytest.mark.prove
@pytest.mark.timeout(600)
def test_a_venue_that_dies_and_forgets_everything_is_believed_and_never_guessed_about(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Behind its SIGKILL every order is UNKNOWN; what has become of them only its successor says."""
    campaign = VenueCampaign(tmp_path, SEED, monkeypatch.setenv, VENUES[:1], pace_ms=40)
    venue, epoch = campaign.venues[0], 1
    try:
        campaign.wait_safe()
        campaign.wait_trading()
        campaign.poll(
            lambda: venue.positions() and len(venue.orders(is_open=True)) >= 3, "something is at stake"
        )
        campaign.hold.write_text("")
        venue.kill()
        campaign.is_forgotten = True
        campaign.poll(lambda: campaign.account()["states"][venue.name] == "CONNECTING", "its end is noticed")
        before = campaign.poll(
            lambda: (
                (ours := read_ours(campaign.engine, epoch)).open and ours.unknown == set(ours.open) and ours
            ),
            "no order is held for certain any more",
        )
        held = dict(before.positions)
        # It tries again and again; no number of failures makes an answer.
        refusing = Refusing(int(venue.ports[1]))
        try:
            campaign.poll(lambda: refusing.count >= 4, "it tries to connect")
        finally:
            refusing.close()
        still = read_ours(campaign.engine, epoch)
        assert (still.open.keys(), still.unknown, still.positions) == (
            before.open.keys(),
            before.unknown,
            held,
        )
        venue.start(*venue.ports, "--start", "immediately")
        campaign.wait_safe()
        campaign.hold.unlink()
        campaign.wait_trading()
        campaign.stop()
        after = read_ours(campaign.engine, epoch)
        ends = {OrderStatus(after.status[root]).name for root in before.open}
        assert ends <= {"REJECTED", "CANCELED"}, ends
        assert after.found["POSITION_DRIFT → BOOK_DRIFT"] >= 1
    finally:
        print(f"\n{campaign.tally.text()}")
        campaign.close()


@pytest.mark.soak
@pytest.mark.timeout(0)
def test_hundreds_of_kills_leave_the_venues_books_and_ours_equal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """RINGLANE_VENUE_KILLS of them (500 at least) in campaigns of fifty; each is a new instance."""
    total, wanted = Tally(), max(KILLS, 500)
    while total.killed < wanted:
        folder = tmp_path / str(total.killed)
        folder.mkdir()
        total.add(fight(folder, monkeypatch, SEED + total.killed, PIECE, 2).tally)
    print(f"\nin all: {total.text()}")
