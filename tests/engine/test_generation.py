"""What a reload may change."""

from __future__ import annotations

import pytest

from engine.config import Config, parse_config
from engine.errors import ReloadError
from engine.generation import check_reload
from tests.engine.test_config import GOOD


def config(text: str = GOOD) -> Config:
    return parse_config(text, "x.toml")


def test_strategy_settings_and_limits_may_change() -> None:
    changed = config(GOOD.replace("2.5", "3.5") + "[risk]\nmax_open_orders = 3\n")
    assert check_reload(config(), changed) == [
        "risk.max_open_orders",
        "strategies.one.settings.half_spread_bps",
    ]


def test_new_and_removed_settings_are_changes() -> None:
    changed = config(GOOD.replace("half_spread_bps = 2.5", "levels = 2"))
    assert len(check_reload(config(), changed)) == 2


def test_same_file_changes_nothing() -> None:
    assert check_reload(config(), config()) == []


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        ('name = "demo"', 'name = "other"', "name"),
        ("instruments = 2", "instruments = 3", "venues.sim.simulated.instruments"),
        ('kind = "market_maker"', 'kind = "other"', "strategies.one.kind"),
        ('instruments = ["AAA"]', 'instruments = "all"', "strategies.one.instruments"),
    ],
)
def test_what_shapes_processes_needs_a_new_run(old: str, new: str, key: str) -> None:
    with pytest.raises(ReloadError, match=f"needs a new run: {key} "):
        check_reload(config(), config(GOOD.replace(old, new)))


def test_added_strategy_needs_a_new_run() -> None:
    more = GOOD + '[[strategies]]\nname = "two"\nkind = "market_maker"\nvenue = "sim"\n'
    with pytest.raises(ReloadError, match=r"strategies\.two"):
        check_reload(config(), config(more))
