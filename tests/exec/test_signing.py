"""Client order ids, keys and signatures; the examples are the venues' own, or their published clients'."""

from __future__ import annotations

import copy
import json
import os
import pickle
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exec.client_ids import TEXT_CHARS, decode, encode, is_instance_order, tag_of
from exec.errors import KeysError, OrderError
from exec.keys import Keys, read_secret
from exec.signing import (
    Signer,
    iso_ms_text,
    method_text,
    query_text,
    realtime_text,
    sorted_text,
    window_text,
)

# github.com/binance/binance-spot-api-docs, rest-api.md and web-socket-api.md
BINANCE = Keys(
    "vmPUZE6mv9SD5VNHk4HlWFsOr6aKE2zvsw0MuIgwCIPy6utIco14y7Ju91duEh8A",
    "NhqPtmdSJYdKjVHjA7PZj4Mge3R5YNiP1e3UZjInClVN65XAbvqqM6A7H5fATj0j",
)
# The USD-M general information page
BINANCE_USDM = Keys(
    "dbefbc809e3e83c283a984c3a1459732ea7db1360ca80c5c2c8867408d28cc83",
    "2b5eb11e18796d12d88f13dc27dbbd02c2cc51ff7059765ed9821957d82bb4d9",
)
# github.com/nautechsystems/nautilus_trader, the adapters' credential tests
OKX_SECRET = "chNOOS4KvNXR_Xq4k4c9qsfoKWvnDecLATCRlcBwyKDYnWgO"
BYBIT = Keys("test_api_key", "test_secret")
# binance-spot-api-docs, fix-api.md: the only Ed25519 example whose private key is published
LOGON_PEM = (
    "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIIJEYWtGBrhACmb9Dvy+qa8WEf0lQOl1s4CLIAB9m89u\n"
    "-----END PRIVATE KEY-----\n"
)
REST_PARAMS = [
    ("side", "BUY"),
    ("type", "LIMIT"),
    ("timeInForce", "GTC"),
    ("quantity", "1"),
    ("price", "0.1"),
    ("recvWindow", "5000"),
    ("timestamp", "1499827319559"),
]


# ---- signatures ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("symbol", "signature"),
    [
        ("LTCBTC", "c8db56825ae71d6d79447849e617115f4a920fa2acdcab2b053c4b2838bd6b71"),
        ("１２３４５６", "e1353ec6b14d888f1164ae9af8228a3dbd508bc82eb867db8ab6046442f33ef3"),
    ],
)
def test_rest_signs_the_encoded_query_in_the_order_sent(symbol: str, signature: str) -> None:
    text = query_text([("symbol", symbol), *REST_PARAMS])
    assert Signer(BINANCE).hex(text.encode()) == signature


@pytest.mark.parametrize(
    ("changed", "signature"),
    [
        (
            {"symbol": "BTCUSDT", "price": "52000.00", "quantity": "0.01000000", "recvWindow": "100"},
            "aa1b5712c094bc4e57c05a1a5c1fd8d88dcd628338ea863fec7b88e59fe2db24",
        ),
        (
            {
                "symbol": "１２３４５６",
                "price": "0.10000000",
                "quantity": "1.00000000",
                "recvWindow": "5000",
                "side": "BUY",
            },
            "b33892ae8e687c939f4468c6268ddd4c40ac1af18ad19a064864c47bae0752cd",
        ),
    ],
)
def test_a_websocket_request_signs_its_raw_parameters_sorted(changed: dict[str, str], signature: str) -> None:
    params = {
        "type": "LIMIT",
        "timestamp": "1645423376532",
        "timeInForce": "GTC",
        "side": "SELL",
        "apiKey": BINANCE.api_key,
    }
    assert Signer(BINANCE).hex(sorted_text((params | changed).items()).encode()) == signature


def test_the_futures_example_is_signed_as_published() -> None:
    text = (
        "symbol=BTCUSDT&side=BUY&type=LIMIT&quantity=1&price=9000&timeInForce=GTC"
        "&recvWindow=5000&timestamp=1591702613943"
    )
    expected = "3c661234138461fcc7a7d8746c6558c9842d4e10870d2ecbedf7777cad694af9"
    assert Signer(BINANCE_USDM).hex(text.encode()) == expected


def test_method_and_path_are_signed_as_base64() -> None:
    text = method_text("2020-12-08T09:08:57.715Z", "GET", "/api/v5/account/balance")
    signed = Signer(Keys("985d5b66", OKX_SECRET)).base64(text.encode())
    assert signed == "PJ61e1nb2F2Qd7D8SPiaIcx2gjdELc+o0ygzre9z33k="


@pytest.mark.parametrize(
    ("payload", "signature"),
    [
        (
            "category=linear&symbol=BTCUSDT",
            "fd4f31228a46109dc6673062328693696df9a96c7ff04e6491a45e7f63a0fdd7",
        ),
        (
            '{"category": "linear", "symbol": "BTCUSDT", "orderLinkId": "test-order-1"}',
            "2df4a0603d69c08d5dea29ba85b46eb7db64ce9e9ebd34a7802a3d69700cb2a1",
        ),
    ],
)
def test_timestamp_key_window_and_payload_are_signed(payload: str, signature: str) -> None:
    text = window_text(1700000000000, BYBIT.api_key, 5000, payload)
    assert Signer(BYBIT).hex(text.encode()) == signature


def test_a_realtime_login_is_signed() -> None:
    expected = "bacffe7500499eb829bb58c45d36d1b3e5ac67c14eaeba91df5e99ccee013925"
    assert Signer(BYBIT).hex(realtime_text(1700000000000).encode()) == expected


def test_ed25519_signs_as_published() -> None:
    pytest.importorskip("cryptography")
    signer = Signer(Keys("key", LOGON_PEM, kind="ed25519"))
    text = "A\x01EXAMPLE\x01SPOT\x011\x0120240627-11:17:25.223"
    expected = "4MHXelVVcpkdwuLbl6n73HQUXUf1dse2PCgT1DYqW9w8AVZ1RACFGM+5UdlGPrQHrgtS3CvsRURC1oj73j8gCA=="
    assert signer.base64(text.encode()) == expected
    assert signer.hex(text.encode()) == expected


def test_a_time_is_cut_to_milliseconds() -> None:
    assert iso_ms_text(1607418537_715_999_999) == "2020-12-08T09:08:57.715Z"
    assert iso_ms_text(1607418537_000_000_001) == "2020-12-08T09:08:57.000Z"


def test_every_stored_vector_is_reproduced() -> None:
    """The collection beside a development tree, where there is one."""
    data = os.environ.get("RINGLANE_VECTORS", "../shared/vectors")
    path = Path(data) / "signing.json"
    if not path.exists():
        pytest.skip(f"no {path}")
    rows = [row for row in json.loads(path.read_text()) if row["reproduced"]]
    assert rows
    for row in rows:
        if "private_key_pem" in row:
            pytest.importorskip("cryptography")
            keys = Keys("key", row["private_key_pem"], kind="ed25519")
        else:
            keys = Keys(row["api_key"], row["secret"])
        signer = Signer(keys)
        sign = signer.base64 if row["encoding"] == "base64" else signer.hex
        assert sign(row["payload"].encode()) == row["signature"], row["name"]


# ---- keys ---------------------------------------------------------------------------------------------


def test_keys_show_no_part_of_themselves() -> None:
    keys = Keys("the-api-key", "the-secret", "the-passphrase")
    signer = Signer(keys)
    shown = f"{keys} {keys!r} {signer} {signer!r} {[keys]} {keys!s:>40}"
    for text in keys.texts:
        assert text not in shown
    with pytest.raises(KeysError):
        pickle.dumps(keys)
    with pytest.raises(KeysError):
        copy.copy(keys)


@pytest.mark.parametrize(
    "secret", ["no pem at all", LOGON_PEM.replace("MC4CAQ", "MC4CAA"), "-----BEGIN PRIVATE KEY-----"]
)
def test_a_bad_private_key_is_refused_without_being_quoted(secret: str) -> None:
    pytest.importorskip("cryptography")
    with pytest.raises(KeysError) as caught:
        Signer(Keys("key", secret, kind="ed25519"))
    assert secret not in str(caught.value)
    assert caught.value.__cause__ is None


def test_a_private_key_of_another_kind_is_refused() -> None:
    pytest.importorskip("cryptography")
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    pem = ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    with pytest.raises(KeysError, match="another kind"):
        Signer(Keys("key", pem.decode(), kind="ed25519"))


@pytest.mark.parametrize(
    ("api_key", "secret"), [("", "x"), ("x", ""), ("a b", "x"), ("a\r\nb", "x"), ("ä", "x")]
)
def test_keys_that_no_request_may_hold_are_refused(api_key: str, secret: str) -> None:
    with pytest.raises(KeysError):
        Keys(api_key, secret)


def test_a_secret_is_read_from_environment_or_file_and_never_named(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text("from-file\n")
    assert read_secret("x", None, str(path)) == "from-file"
    assert read_secret("x", "NAME", None, {"NAME": "from-env"}) == "from-env"
    assert read_secret("x", None, None) == ""
    with pytest.raises(KeysError, match="NAME is not set"):
        read_secret("x", "NAME", None, {})
    with pytest.raises(KeysError, match="not both"):
        read_secret("x", "NAME", str(path), {"NAME": "from-env"})
    with pytest.raises(KeysError, match="can not be read"):
        read_secret("x", None, str(tmp_path / "absent"))


# ---- client order ids ---------------------------------------------------------------------------------


@given(st.integers(1, 2**64 - 1), st.text(max_size=20))
def test_an_id_survives_the_wire(client_order_id: int, instance: str) -> None:
    tag = tag_of(instance)
    text = encode(client_order_id, tag)
    assert len(text) == TEXT_CHARS == 22
    assert text.isascii() and text.isalnum() and text == text.lower()
    assert decode(text, tag) == client_order_id
    assert is_instance_order(text)
    other = f"{int(tag, 16) ^ 1:04x}"
    assert decode(text, other) == 0


@given(st.text(max_size=30))
def test_no_text_of_others_is_taken_for_ours(text: str) -> None:
    tag = tag_of("default-1")
    number = decode(text, tag)
    assert number == 0 or encode(number, tag) == text


@pytest.mark.parametrize(
    "text",
    [
        "rl0000" + "A" * 16,
        "rl0000" + " 1" * 8,
        "rl0000" + "0x" + "1" * 14,
        "rl0000" + "1_" * 8,
        "autoclose-1",
    ],
)
def test_what_only_looks_like_an_id_is_none(text: str) -> None:
    assert decode(text, "0000") == 0
    assert not is_instance_order(text)


@pytest.mark.parametrize(
    ("number", "tag"), [(0, "0000"), (1 << 64, "0000"), (1, "00"), (1, "00G0"), (1, "00A0")]
)
def test_an_id_that_does_not_fit_is_refused(number: int, tag: str) -> None:
    with pytest.raises(OrderError):
        encode(number, tag)
