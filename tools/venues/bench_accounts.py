"""Order protocols ready to encode, for the benches: worthless keys and the venue's instrument codes."""

from __future__ import annotations

from collections.abc import Callable

import orjson

from exec.client_ids import tag_of
from exec.keys import Keys
from exec.order_protocol import Directory, OrderProtocol
from exec.venues import make_protocol
from exec.venues.okx import facts as okx

#: Protocol → venue id and symbol of the instrument that is traded.
INSTRUMENTS = {"binance_usdm": (1, "BTCUSDT"), "okx": (2, "BTC-USDT-SWAP"), "bybit": (3, "BTCUSDT")}
KEYS = Keys("benchkey" * 3, "benchsecret" * 3, "benchphrase")


def ready_protocol(name: str, directory: Directory, utc_ns: Callable[[], int]) -> OrderProtocol:
    """A protocol that has what it must be told by the venue before the first order."""
    keys = KEYS if name == "okx" else Keys(KEYS.api_key, KEYS.secret)
    protocol = make_protocol(name, keys, tag_of("bench"), directory)
    for request in protocol.opening_requests(1, utc_ns()):
        if request.path.startswith(okx.INSTRUMENTS_PATH) and "instType=SWAP" in request.path:
            row = {"instId": INSTRUMENTS[name][1], "instIdCode": 10_458, "instType": "SWAP"}
            body = orjson.dumps({"code": "0", "msg": "", "data": [row]})
            protocol.decode_rest(request, 200, {}, body)
    return protocol
