"""The layouts of `native/shm_layout.h` as a Python description: offsets, sizes and one hash.

A segment carries `LAYOUT_HASH`, so a process built from other layouts is refused at attach. A test
compares `dump()` with the C compiler's `offsetof` and with a stored golden text. Change the header,
`layout.pxd` and this file together, then the golden file.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Final

LAYOUT_VERSION: Final = 2
MAGIC: Final = 0x454E414C474E4952
SEGMENT_HEADER_BYTES: Final = 256
SEGMENT_NAME_BYTES: Final = 64
WORKER_SLOTS: Final = 64
PAIR_BYTES: Final = 128

_SCALARS: Final = {
    "u8": 1, "u16": 2, "u32": 4, "u64": 8, "i64": 8, "char": 1, "a32": 4, "a64": 8,
}  # fmt: skip

_COUNTERS, _HISTOGRAMS, _FAULTS = 256, 32, 64
_BUCKETS = (40 - 6 + 1) << 6

# One line per struct: "field:type" or "field:type*count"; "-N" is a reserved pad of N bytes.
_TEXT: Final = {
    "shm_segment_header": "magic:u64 layout_version:u32 kind:u32 layout_hash:u64 size_bytes:u64 epoch:u64 "
    "creator_pid:u32 reserved0:u32 created_utc_ns:u64 name:char*64 ready:a64 -128",
    "shm_ring_header": "kind:u32 slot_bytes:u32 capacity:u64 subscriber_mask:a64 -104 "
    "cursor:a64 intent:a64 producer_epoch:a64 refused:a64 doorbells:a64 -88 "
    "position:a64 consumer_epoch:a64 -112 wanted:a64 -120",
    "shm_ring_reader": "position:a64 lapped:a64 laps:a64 -104",
    "shm_worker_slot": "parked:a64 -120 heartbeat_ns:a64 cycles:a64 generation:a64 cycle_ns_max:a64 "
    "wakes:a64 -88 state:a64 pid:a64 incarnation:a64 restarts:a64 started_ns:a64 bell_fd:i64 core:i64 "
    "reserved2:u64 role:char*32 -32",
    "shm_control": "halt:a64 -120 generation:a64 stopping:a64 supervisor_heartbeat_ns:a64 run_started_ns:a64 "
    "epoch:u64 supervisor_pid:u64 -80 workers:shm_worker_slot*64",
    "shm_seqlock": "count:a64",
    "shm_level": "price_units:i64 quantity_units:i64",
    "shm_certificate": "instrument_id:u32 state:u32 epoch:u32 live_id:u32 last_sequence:i64 data_ns:i64 "
    "venue_utc_ns:i64 publish_ns:i64 audit_ns:i64 stream:u32 reason:u32 gaps:u64 resyncs:u64",
    "shm_trade_totals": "count:u64*2 quantity_units:i64*2 notional_high:i64*2 notional_low:u64*2 "
    "last_trade_id:i64 last_price_units:i64",
    "shm_book_head": "certificate:shm_certificate totals:shm_trade_totals bid_count:u32 ask_count:u32",
    "shm_slab_header": "depth:u32 capacity:u32 entry_bytes:u32 streams:u32 owner_slot:u64 -104",
    "shm_stream": "alive_ns:a64 frames:a64 -48",
    "shm_market_record": "kind:u16 book_state:u8 side:u8 instrument_id:u32 epoch:u32 live_id:u32 "
    "last_sequence:i64 value:i64*4 frame_ns:i64 publish_ns:i64 venue_utc_ns:i64 reason:u32 bid_count:u32 "
    "ask_count:u32 flags:u32 reserved0:u64*4",
    "shm_certificate_ref": "instrument_id:u32 epoch:u32 live_id:u32 reserved0:u32 last_sequence:i64",
    "shm_intent_record": "kind:u16 side:u8 order_type:u8 time_in_force:u8 certificate_count:u8 flags:u16 "
    "actor_id:u32 instrument_id:u32 worker_slot:u32 incarnation:u32 epoch:u64 generation:u64 "
    "client_order_id:u64 orig_client_order_id:u64 price_units:i64 quantity_units:i64 frame_ns:i64 "
    "publish_ns:i64 drain_ns:i64 decide_ns:i64 certificates:shm_certificate_ref*4 reserved0:u64*7",
    "shm_report_record": "kind:u16 side:u8 order_status:u8 request_status:u8 liquidity:u8 reason:u16 "
    "actor_id:u32 instrument_id:u32 client_order_id:u64 orig_client_order_id:u64 venue_order_id:u64 "
    "trade_id:u64 price_units:i64 order_units:i64 filled_units:i64 leaves_units:i64 last_units:i64 "
    "last_price_units:i64 fee_units:i64 position_units:i64 frame_ns:i64 decide_ns:i64 gate_ns:i64 "
    "send_ns:i64 ack_ns:i64 report_ns:i64 venue_utc_ns:i64 generation:u64 epoch:u64 reserved0:u64*9",
    "shm_position": "instrument_id:u32 reserved0:u32 quantity_units:i64 open_buy_units:i64 "
    "open_sell_units:i64 cost_units_high:i64 cost_units_low:u64 realized_units:i64 fees_units:i64 "
    "mark_price_units:i64 unrealized_units:i64 fills:u64 update_ns:i64",
    "shm_instrument": "instrument_id:u32 venue_id:u16 kind:u8 status:u8 price_exponent:u8 "
    "quantity_exponent:u8 is_inverse:u8 priority:u8 multiplier_exponent:u8 -3 tick_size:i64 lot_size:i64 "
    "multiplier:i64 min_quantity_units:i64 max_quantity_units:i64 min_notional_units:i64 maker_fee_e8:i64 "
    "taker_fee_e8:i64 slab:u32 reserved1:u32 symbol:char*32 canonical:char*32 base:char*16 quote:char*16 "
    "settle:char*16 -56",
    "shm_instruments_header": "capacity:u32 row_bytes:u32 count:a64 -112",
    "shm_counter": "value:a64 label:char*56",
    "shm_histogram": f"label:char*56 count:a64 sum:a64 min:a64 max:a64 overflow:a64 reserved0:u64*4 "
    f"buckets:a64*{_BUCKETS}",
    "shm_fault": "count:a64 first_utc_ns:a64 last_utc_ns:a64 code:u64 text:char*200 -24",
    "shm_metrics": f"counters:u32 histograms:u32 faults:u32 worker_slot:u32 -112 "
    f"counter:shm_counter*{_COUNTERS} fault:shm_fault*{_FAULTS} histogram:shm_histogram*{_HISTOGRAMS}",
    "shm_rate_bucket": "arrival_ns:a64 pace:a64 stop_ns:a64 stop_new_ns:a64 limit:a64 window_ns:i64 "
    "address:u32 rule:u32 kept:u8*4 reserved0:u32 granted:a64*4 refused:a64*4",
    "shm_rate_address": "stop_ns:a64 stops:a64 venue_id:u32 reserved0:u32 name:char*48 -56",
    "shm_rate_rule": "first:u32 count:u32 address:u32 venue_id:u16 scope:u8 unit:u8 window_ns:i64 "
    "slack_ns:i64 name:char*48 -48",
    "shm_rate_ledger": "addresses:u32 rules:u32 buckets:u32 reserved0:u32 -112",
    "shm_journal_header": "magic:u64 layout_version:u32 file_index:u32 epoch:u64 size_bytes:u64 "
    "first_sequence:u64 created_utc_ns:u64 previous_crc:u32 reserved0:u32 instance:char*64 "
    "created_ns:i64",
    "shm_journal_record": "length:a32 crc:u32 sequence:u64 append_ns:i64 kind:u16 reserved0:u16 "
    "reserved1:u32",
}


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a struct: its place, its element type and how many elements it has."""

    name: str
    type: str
    count: int
    offset: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Struct:
    """One struct: its fields in order, pads left out."""

    name: str
    size_bytes: int
    align: int
    fields: tuple[Field, ...]

    def offset(self, field: str) -> int:
        """Return the byte offset of `field`; KeyError if there is none."""
        for f in self.fields:
            if f.name == field:
                return f.offset
        raise KeyError(f"{self.name} has no field {field}")


def _describe(name: str, text: str, known: dict[str, Struct]) -> Struct:
    offset, align, fields = 0, 1, []
    for token in text.split():
        if token.startswith("-"):
            offset += int(token[1:])
            continue
        field, _, rest = token.partition(":")
        kind, _, count_text = rest.partition("*")
        count = int(count_text or 1)
        size, own = (known[kind].size_bytes, known[kind].align) if kind in known else (_SCALARS[kind],) * 2
        # The header promises that no pad is implicit; a field off its alignment would break that.
        if offset % own:
            raise AssertionError(f"{name}.{field} at {offset} would need an implicit pad")
        fields.append(Field(field, kind, count, offset, size * count))
        offset += size * count
        align = max(align, own)
    if offset % align:
        raise AssertionError(f"{name} ends at {offset}: implicit pad")
    return Struct(name, offset, align, tuple(fields))


def _describe_all() -> dict[str, Struct]:
    structs: dict[str, Struct] = {}
    for name, text in _TEXT.items():
        structs[name] = _describe(name, text, structs)
    return structs


STRUCTS: Final[dict[str, Struct]] = _describe_all()


def dump() -> str:
    """Return all structs as text, one line per field: offset, bytes, type, name."""
    lines = [f"layout_version {LAYOUT_VERSION}"]
    for struct in STRUCTS.values():
        lines.append(f"{struct.name} {struct.size_bytes}")
        for f in struct.fields:
            kind = f.type if f.count == 1 else f"{f.type}[{f.count}]"
            lines.append(f"  {f.offset} {f.size_bytes} {kind} {f.name}")
    return "\n".join(lines) + "\n"


LAYOUT_HASH: Final = int.from_bytes(hashlib.sha256(dump().encode()).digest()[:8], "little")
