class VenueReport:
    __slots__: tuple[str, ...]
    event: int
    client_order_id: int
    instrument_id: int
    side: int
    venue_order_id: int
    reason: int
    price_units: int
    order_units: int
    trade_id: int
    last_units: int
    last_price_units: int
    liquidity: int
    fee_units: int
    venue_utc_ns: int
    def __init__(
        self,
        event: int,
        client_order_id: int,
        instrument_id: int,
        side: int,
        *,
        venue_order_id: int = 0,
        reason: int = 0,
        price_units: int = 0,
        order_units: int = 0,
        trade_id: int = 0,
        last_units: int = 0,
        last_price_units: int = 0,
        liquidity: int = 0,
        fee_units: int = 0,
        venue_utc_ns: int = 0,
    ) -> None: ...
