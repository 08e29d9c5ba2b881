"""Configuration: what is accepted, and how precisely a mistake is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.config import dump_config, load_config, money_e8, parse_config
from engine.errors import ConfigError
from engine.toml_lines import find_line, key_lines
from engine.venue_config import SecretRef

GOOD = """\
name = "demo"
[venues.sim]
adapter = "loopback"
symbols = ["AAA", "BBB"]
[venues.sim.simulated]
instruments = 2

[[strategies]]
name = "one"
kind = "market_maker"
venue = "sim"
instruments = ["AAA"]
[strategies.settings]
half_spread_bps = 2.5
"""


def problems(text: str) -> dict[str, str]:
    with pytest.raises(ConfigError) as caught:
        parse_config(text, "x.toml")
    return {p.key: p.text for p in caught.value.problems}


def lines(text: str) -> dict[str, int]:
    with pytest.raises(ConfigError) as caught:
        parse_config(text, "x.toml")
    return {p.key: p.line for p in caught.value.problems}


def test_good_file_is_read_with_defaults_filled_in() -> None:
    config = parse_config(GOOD, "x.toml")
    assert config.name == "demo"
    assert config.engine.placement == "default"
    assert config.strategies[0].settings == {"half_spread_bps": 2.5}
    assert dump_config(config)["engine"]["orphan_ms"] == 500


def test_unknown_key_is_named_with_line_and_close_match() -> None:
    text = GOOD.replace('adapter = "loopback"', 'adapter = "loopback"\npriorty = 2')
    assert problems(text) == {"venues.sim.priorty": "unknown key; did you mean priority?"}
    assert lines(text) == {"venues.sim.priorty": 4}


def test_unknown_section_lists_what_is_known() -> None:
    found = problems(GOOD + "[zzz]\na = 1\n")
    assert "known here: name, engine, machine, run, venues" in found["zzz"]


def test_wrong_type_says_what_was_expected_and_found() -> None:
    text = GOOD.replace('adapter = "loopback"', 'adapter = "loopback"\npriority = "high"')
    assert problems(text) == {"venues.sim.priority": 'expected integer, got "high" (string)'}


def test_value_out_of_range_is_named() -> None:
    found = problems(GOOD + "[engine]\nheartbeat_ms = 1\n")
    assert found == {"engine.heartbeat_ms": "expected greater than or equal to 10, got 1 (integer)"}


def test_all_problems_come_at_once_in_file_order() -> None:
    text = 'name = "Not Allowed"\n[engine]\nbogus = 1\nheartbeat_ms = true\n[venues.v]\npriority = 1\n'
    found = lines(text)
    assert found == {"name": 1, "engine.bogus": 3, "engine.heartbeat_ms": 4, "venues.v.adapter": 5}
    with pytest.raises(ConfigError) as caught:
        parse_config(text, "x.toml")
    assert [p.line for p in caught.value.problems] == sorted(p.line for p in caught.value.problems)
    assert str(caught.value).splitlines()[0].startswith("x.toml:1: name: ")


def test_missing_venue_table_is_named() -> None:
    assert problems("[engine]\n") == {"venues": "is missing"}
    assert "at least one" in problems("[venues]\n")["venues"]


def test_strategy_on_unknown_venue_gets_a_hint() -> None:
    found = problems(GOOD.replace('venue = "sim"', 'venue = "sin"'))
    assert found == {"strategies[0].venue": 'no venue "sin"; did you mean sim?'}


def test_strategy_on_unknown_symbol_is_named() -> None:
    found = problems(GOOD.replace('["AAA"]', '["AAAA"]'))
    assert "AAAA" in found["strategies[0].instruments"]


def test_a_strategy_may_want_patterns_and_anything_of_a_venue_that_follows_listings() -> None:
    config = parse_config(GOOD.replace('["AAA"]', '["A*"]'), "x.toml")
    assert config.strategies[0].instruments == ["A*"]
    follows = GOOD.replace('["AAA", "BBB"]', '["*-USDT-PERP"]')
    assert parse_config(follows, "x.toml").venues["sim"].follows_listings


def test_real_venue_needs_urls_and_symbols() -> None:
    found = problems('[venues.v]\nadapter = "a"\n')
    assert found == {"venues.v": "websocket_url and rest_url missing (or give a `simulated` table)"}
    found = problems('[venues.v]\nadapter = "a"\nwebsocket_url = "wss://h"\nrest_url = "https://h"\n')
    assert "symbols missing" in found["venues.v"]


def test_capture_and_synthetic_market_exclude_each_other() -> None:
    found = problems(GOOD.replace("instruments = 2", 'instruments = 2\ncapture = ["f"]'))
    assert "exclude each other" in found["venues.sim.simulated"]


def test_syntax_error_names_the_line() -> None:
    with pytest.raises(ConfigError, match=r"^x\.toml:2: is not TOML"):
        parse_config("a = 1\nb = = 2\n", "x.toml")


def test_file_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="can not be read: No such file or directory") as caught:
        load_config(tmp_path / "none.toml")
    assert len(str(caught.value).splitlines()) == 1


def test_relative_paths_start_at_the_file(tmp_path: Path) -> None:
    file = tmp_path / "c.toml"
    file.write_text('[venues.v]\nadapter = "a"\n[venues.v.simulated]\ncapture = ["x/frames.gz"]\n')
    simulated = load_config(file).venues["v"].simulated
    assert simulated is not None
    assert simulated.capture == [str(tmp_path / "x/frames.gz")]


def test_literal_secret_is_refused_and_not_repeated() -> None:
    text = GOOD + 'api_secret = "hunter2"\n'
    found = problems(text)
    assert list(found) == ["strategies[0].settings.api_secret"]
    assert "hunter2" not in str(found)


def test_secret_reference_is_read_where_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RL_TEST_SECRET", "s1")
    assert SecretRef(env="RL_TEST_SECRET").read() == "s1"
    (tmp_path / "s").write_text("s2\n")
    assert SecretRef(file=str(tmp_path / "s")).read() == "s2"
    with pytest.raises(ConfigError, match="RL_TEST_ABSENT: is not set"):
        SecretRef(env="RL_TEST_ABSENT").read()


@pytest.mark.parametrize(("value", "units"), [(5, 500_000_000), ("0.00000001", 1), ("12.5", 1_250_000_000)])
def test_money_is_exact(value: int | str, units: int) -> None:
    assert money_e8(value) == units


def test_money_finer_than_eight_decimals_is_refused() -> None:
    found = problems(GOOD + '[risk]\nmax_exposure = "0.000000001"\n')
    assert found == {"risk.max_exposure": 'expected an amount with at most 8 decimals, got "0.000000001"'}


def test_money_as_binary_fraction_is_refused() -> None:
    assert "risk.max_exposure" in problems(GOOD + "[risk]\nmax_exposure = 0.5\n")


def test_lines_survive_multi_line_values_and_arrays_of_tables() -> None:
    text = 'a = """\nx = 1\n"""\nb = [\n  1, # ]\n  2,\n]\n[[t]]\nk = 1\n[[t]]\n"k.x" = 2\n[t.u]\nv = "]"\n'
    found = key_lines(text)
    assert found == {
        ("a",): 1,
        ("b",): 4,
        ("t", 0): 8,
        ("t", 0, "k"): 9,
        ("t", 1): 10,
        ("t", 1, "k.x"): 11,
        ("t", 1, "u"): 12,
        ("t", 1, "u", "v"): 13,
    }
    assert find_line(found, ("t", 1, "u", "v", "deep")) == 13
    assert find_line(found, ("zz",)) == 0


@pytest.mark.parametrize(
    ("text", "key", "problem"),
    [
        ("[engine]\npm_qos = true\n", "engine.pm_qos", "unknown key; it stands in [machine]: machine.pm_qos"),
        ("[machine]\nhuge_pages = true\n", "machine.huge_pages", "expected 'auto', 'off' or 'require'"),
        ("[machine]\nrealtime = 100\n", "machine.realtime", "expected less than or equal to 99"),
        ("[machine]\nrealtme = 1\n", "machine.realtme", "did you mean realtime"),
        (
            "[engine.drain]\nbatch_min = 9\nbatch_max = 8\n",
            "engine.drain",
            "batch_min 9 is above batch_max 8",
        ),
        ("[engine.drain]\nyoung_us = 1_000\n", "engine.drain", "young_us 1000 is not below old_us 1000"),
        ("[engine.drain]\nbatch = 9\n", "engine.drain.batch", "did you mean batch_m"),
    ],
)
def test_machine_and_drain_are_checked(text: str, key: str, problem: str) -> None:
    assert problem in problems(GOOD + text)[key]
