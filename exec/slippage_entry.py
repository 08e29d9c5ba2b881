"""What an order cost, as a journal entry: one SLIPPAGE payload for each order that has ended.

128 bytes: the order's id (u64), instrument (u32), actor (u32), side and style (u8 each), 6 zero bytes,
decision and end (i64 ns each), units asked and filled, twice the mid at the decision, then price, fee, missed
and total in 10^-8 (i64 each), the time to the last fill (i64 ns), and 24 zero bytes.
"""

from __future__ import annotations

import struct

from exec.slippage import OrderSlippage, Style

SLIPPAGE = struct.Struct("<QIIBB6xqqqqqqqqqq24x")


def pack_slippage(order: OrderSlippage, actor_id: int) -> bytes:
    """The payload of an order that has ended."""
    return SLIPPAGE.pack(
        order.order_id, order.instrument_id, actor_id, order.side, order.style, order.decide_ns, order.end_ns,
        order.order_units, order.filled_units, order.twice_mid_units, order.price_e8, order.fee_e8,
        order.missed_e8, order.total_e8, order.fill_ns,
    )  # fmt: skip


def read_slippage(payload: bytes) -> tuple[OrderSlippage, int]:
    """Read a SLIPPAGE payload back: (order, actor id)."""
    order_id, instrument_id, actor_id, side, style, *rest = SLIPPAGE.unpack(payload)
    return OrderSlippage(order_id, instrument_id, side, Style(style), *rest), actor_id
