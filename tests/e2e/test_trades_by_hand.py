"""Trades by hand at three simulated venues while an engine's gateway is dead."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from decimal import Decimal
from pathlib import Path

import pytest

from feeds.venues import venue_name
from shm.enums import JournalKind, ReportKind, Side
from shm.instruments import Instrument
from shm.journal_reader import read_journal
from shm.records import ReportRecord
from tests.kit.account import journal_folder
from tests.kit.engine_run import until
from tests.kit.venue_campaign import VenueCampaign, read_ours

BY_HAND = {
    "binance_usdm": ("BTCUSDT", "0.012"),
    "okx": ("BTC-USDT-SWAP", "2"),
    "bybit_linear": ("linear/BTCUSDT", "0.014"),
}
Told = tuple[str, str, Decimal, Decimal, Decimal]  # venue, side, price, quantity, fee


def booked(campaign: VenueCampaign) -> Counter[Told]:
    """The fills of nobody's orders that the journal of the newest run holds."""
    rows: dict[int, Instrument] = {}
    found: Counter[Told] = Counter()
    for entry in read_journal(journal_folder(campaign.engine), campaign.epochs[-1]):
        if entry.kind == JournalKind.INSTRUMENT:
            row = Instrument.from_bytes(entry.payload)
            rows[row.instrument_id] = row
        elif entry.kind == JournalKind.REPORT:
            report = ReportRecord.from_bytes(entry.payload)
            if report.kind != ReportKind.FILL or report.client_order_id:
                continue
            assert report.actor_id == 0
            row = rows[report.instrument_id]
            price = Decimal(report.last_price_units).scaleb(-row.price_exponent)
            quantity = Decimal(report.last_units).scaleb(-row.quantity_exponent)
            fee = Decimal(report.fee_units).scaleb(-8)
            found[venue_name(row.venue_id), Side(report.side).name.lower(), price, quantity, fee] += 1
    return found


def trade_by_hand(campaign: VenueCampaign, sides: tuple[str, ...]) -> Counter[Told]:
    """Market orders of another client of each account; what the venues say of their fills."""
    made: Counter[Told] = Counter()
    for venue in campaign.venues:
        symbol, quantity = BY_HAND[venue.name]
        orders = set()
        for side in sides:
            order = venue.ask("/sim/order", {"symbol": symbol, "side": side, "quantity": quantity})
            assert order["filled"] == order["quantity"], order
            orders.add(order["order_id"])
        for fill in venue.fills():
            if fill["order_id"] in orders:
                made[
                    venue.name,
                    fill["side"],
                    Decimal(fill["price"]),
                    Decimal(fill["quantity"]),
                    Decimal(fill["fee"]),
                ] += 1
    return made


@pytest.mark.prove
@pytest.mark.timeout(200)
def test_what_was_traded_by_hand_while_the_gateway_was_dead_is_booked_as_the_venues_have_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A purchase in the first outage; in the second one bought and sold again, which leaves no position."""
    campaign = VenueCampaign(tmp_path, 11, monkeypatch.setenv)
    made: Counter[Told] = Counter()
    try:
        campaign.wait_safe()
        campaign.wait_trading()
        for sides in (("buy",), ("buy", "sell")):
            pid = campaign.workers()["gateway"]["pid"]
            campaign.engine.signal(signal.SIGSTOP)  # nobody starts the next one yet
            try:
                os.kill(pid, signal.SIGKILL)
                killed_ns = time.monotonic_ns()
                made += trade_by_hand(campaign, sides)
            finally:
                campaign.engine.signal(signal.SIGCONT)
            campaign.wait_safe(killed_ns)
            assert booked(campaign) == made, campaign.story()
            # Counts are published by a timer: what a gateway had not published died with it.
            until(
                lambda: campaign.engine.counters()["orders.session_external_fills"] == made.total(),
                "the fills are counted",
            )
        ours = read_ours(campaign.engine, campaign.epochs[-1])
        assert ours.found["EXTERNAL_FILL → BOOK_FILL"] == made.total()
        assert not ours.drifts
        campaign.stop()
        report = campaign.engine.report()
        assert report["orders"]["venue_sessions"]["external_fills"] == made.total()
        assert booked(campaign) == made
    finally:
        campaign.close()
