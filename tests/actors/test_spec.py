"""Worker specs travel as JSON and come back equal; bad ones are named."""

from __future__ import annotations

import pytest

from actors.errors import SettingsError, SpecError
from actors.runtime.settings import read_settings
from actors.runtime.spec import ActorSpec, FeedRef, WorkerSpec
from actors.strategies.market_maker import MarketMakerSettings


def test_a_spec_survives_json() -> None:
    spec = WorkerSpec(
        3,
        "trade",
        "trade",
        core=1,
        nice=5,
        epoch=9,
        actors=[ActorSpec(1, "x", "x1", {"a": [1]})],
        feeds=[FeedRef(2, [1, 2])],
        gateways=[3],
        strategies=[3],
        start_reason="restart",
    )
    assert WorkerSpec.from_json(spec.to_json()) == spec
    assert spec.roles() == {"x"}


@pytest.mark.parametrize(
    ("text", "what"),
    [
        (b"{", "not JSON"),
        (b"[]", "not a JSON object"),
        (b'{"slot":1,"name":"a","role":"b","colour":2}', "colour"),
        (b'{"slot":64,"name":"a","role":"b"}', "slot 64"),
        (b'{"slot":1,"name":"a","role":"b","actors":[{"id":2}]}', "id"),
    ],
)
def test_a_bad_spec_is_named(text: bytes, what: str) -> None:
    with pytest.raises(SpecError, match=what):
        WorkerSpec.from_json(text)


@pytest.mark.parametrize(
    ("settings", "what"),
    [
        ({"quantitty": "1"}, "unknown setting 'quantitty'"),
        ({"max_inventory": "5"}, "'max_inventory' has the wrong type"),
        ({"max_inventory": True}, "'max_inventory' has the wrong type"),
        ({"requote": "move"}, "requote"),
        ({"edge_bps": -1.0}, "edge_bps"),
    ],
)
def test_bad_settings_are_named(settings: dict[str, object], what: str) -> None:
    with pytest.raises(SettingsError, match=what):
        read_settings(MarketMakerSettings, settings, "market_maker")


def test_a_whole_number_is_a_float_setting() -> None:
    assert read_settings(MarketMakerSettings, {"edge_bps": 2}, "market_maker").edge_bps == 2
