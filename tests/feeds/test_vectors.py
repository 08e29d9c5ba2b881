"""Messages that others recorded or the venues print in their documents mean what they should."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from feeds.decoder import MessageKind
from feeds.venues import get_adapter

SHARED = Path(__file__).resolve().parents[3] / "shared"
VECTORS = Path(os.environ.get("RINGLANE_VECTORS", SHARED / "vectors"))
D, T, B, K, C = (
    MessageKind.DEPTH, MessageKind.TRADE, MessageKind.BBO, MessageKind.TICKER, MessageKind.CONTROL,
)  # fmt: skip
ROQ = {
    ("bybit", "order_book", "simple_1"): K,
    ("bybit", "order_book", "simple_50_snapshot"): D,
    ("bybit", "order_book", "simple_50_delta"): D,
    ("bybit", "public_trade", "simple"): T,
    ("okx", "books_l2_tbt", "books_snapshot"): D,
    ("okx", "books_l2_tbt", "books_update"): D,
    ("okx", "books_l2_tbt", "books5"): D,
    ("okx", "funding_rate", "simple"): K,
    ("okx", "instruments", "simple"): C,
    ("okx", "trades", "json_trades_parser"): T,
}
NAUTILUS = {
    "bybit/test_data/ws_orderbook_delta.json": K,
    "bybit/test_data/ws_ticker_linear.json": K,
    "bybit/test_data/ws_subscription_ack.json": C,
    "bybit/test_data/ws_kline.json": C,
    "okx/test_data/ws_bbo_tbt.json": B,
    "okx/test_data/ws_books_snapshot.json": D,
    "okx/test_data/ws_books_update.json": D,
    "okx/test_data/ws_candle.json": C,
    "okx/test_data/ws_funding_rate.json": K,
    "okx/test_data/ws_instruments.json": C,
    "okx/test_data/ws_tickers.json": K,
    "okx/test_data/ws_trades.json": T,
}
VENUE = {"okx": "okx", "bybit": "bybit_linear"}


def messages(name: str) -> list[dict[str, Any]]:
    path = VECTORS / name
    if not path.exists():
        pytest.skip("the venues' messages are not at hand (RINGLANE_VECTORS)")
    found: list[dict[str, Any]] = json.loads(path.read_bytes())
    return found


@pytest.mark.parametrize("key", ROQ, ids="-".join)
def test_gateway_messages(key: tuple[str, str, str]) -> None:
    raw = next(m["raw"] for m in messages("messages_roq.json") if (m["venue"], m["kind"], m["case"]) == key)
    message = get_adapter(VENUE[key[0]]).make_decoder().decode_message(raw.encode())
    assert message.kind == ROQ[key]


@pytest.mark.parametrize("name", NAUTILUS)
def test_document_samples(name: str) -> None:
    raw = next(m["raw"] for m in messages("messages_nautilus.json") if m["file"].endswith(name))
    message = get_adapter(VENUE[name.split("/", maxsplit=1)[0]]).make_decoder().decode_message(raw.encode())
    assert message.kind == NAUTILUS[name]


def test_recorded_instrument_rows() -> None:
    path = VECTORS / "instruments.json"
    if not path.exists():
        pytest.skip("the venues' messages are not at hand (RINGLANE_VECTORS)")
    content = json.loads(path.read_bytes())
    for name in ("okx_20220227", "okx_20220513"):
        body = json.dumps({"code": "0", "data": content[name]["instruments"]}).encode()
        rows = get_adapter("okx").parse_instruments(body, None)
        assert len(rows) == len(content[name]["instruments"])
    for name, category in (("bybit_linear_20260809", "linear"), ("bybit_spot_20260809", "spot")):
        result = {"category": category, "list": content[name]["instruments"]}
        rows = get_adapter(f"bybit_{category}").parse_instruments(
            json.dumps({"result": result}).encode(), None
        )
        assert len(rows) == len(content[name]["instruments"])
        assert all(row.tick_size > 0 and row.lot_size > 0 for row in rows)
