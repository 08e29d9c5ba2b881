"""Mistakes in a configuration: refused before anything starts, naming file, line, key and what is wrong."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from engine.commands import venue_command
from engine.config import Config, load_config
from engine.errors import ConfigError, EngineError
from engine.holds import find_instrument
from engine.venue_config import (
    RATE_FACTOR_MAX,
    SIMULATED_INSTRUMENTS_MAX,
    SIMULATED_RATE_MAX,
    SimulatedConfig,
)
from shm.instruments import InstrumentTable
from tests.engine.test_holds import VENUES, table
from tools.cli import main
from tools.venues.synthetic_source import INSTRUMENTS_MAX, RATE_MAX
from tools.venues.trading.settings import FACTOR_MAX

pytestmark = pytest.mark.timeout(60)

VENUE = '[venues.sim]\nadapter = "okx"\n[venues.sim.simulated]\n'
REAL = '[venues.v]\nadapter = "okx"\nwebsocket_url = "wss://h"\nrest_url = "https://h"\nsymbols = ["A"]\n'
ACCOUNT = "[venues.v.account]\n"
SECRET = "hunter2"  # noqa: S105


def write(folder: Path, text: str) -> Path:
    file = folder / "c.toml"
    file.write_text(text)
    return file


def said(file: Path, capsys: pytest.CaptureFixture[str], verb: str = "check") -> str:
    """The one line by which a verb refuses a file, without the file's name."""
    assert main([verb, str(file)]) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.count("\n") == 1, captured
    start = f"ringlane: error: {file}:"
    assert captured.err.startswith(start)
    return captured.err.removeprefix(start).strip()


def refused(folder: Path, text: str) -> dict[str, str]:
    with pytest.raises(ConfigError) as caught:
        load_config(write(folder, text))
    return {problem.key: problem.text for problem in caught.value.problems}


def simulated(config: Config) -> SimulatedConfig:
    found = config.venues["sim"].simulated
    assert found is not None
    return found


# ---- a simulated venue ------------------------------------------------------------------------


def test_a_venue_without_trading_has_the_faults_of_its_data(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write(tmp_path, VENUE + 'trade = false\nfaults = "now: drop"\n')
    command = venue_command("sim", load_config(file).venues["sim"], seed=1)
    assert command.argv[-2:] == ("--no-trade", "--faults=now: drop")
    assert main(["check", str(file)]) == 0
    capsys.readouterr()
    file.write_text(VENUE + 'trade = false\nfaults = "now: lost_ack"\n')
    assert said(file, capsys) == "5: venues.sim.simulated.faults: line 1: lost_ack: this venue does not trade"


@pytest.mark.parametrize(
    "key",
    [
        'balances = "USDT=1"',
        "leverage = 3",
        "rate_factor = 2.0",
        "maker_fee = 0.0",
        "taker_fee = 0.0",
        'entry_latency = "0"',
        'response_latency = "0"',
    ],
)
def test_what_says_nothing_to_a_venue_without_trading_is_refused(key: str, tmp_path: Path) -> None:
    name = key.partition(" ")[0]
    assert refused(tmp_path, VENUE + f"trade = false\n{key}\n") == {
        "venues.sim.simulated": f"{name}: of a venue that trades, and this one has trade = false"
    }
    load_config(write(tmp_path, VENUE + key))


def test_what_says_how_recorded_frames_are_played_is_refused_without_them(tmp_path: Path) -> None:
    assert refused(tmp_path, VENUE + 'speed = 2.0\nat_end = "loop"\n') == {
        "venues.sim.simulated": "speed, at_end: of recorded frames, and there is no capture here"
    }
    load_config(write(tmp_path, VENUE + 'speed = "original"\nat_end = "stop"\n'))  # as `check` prints them


@pytest.mark.parametrize(
    ("key", "value", "text"),
    [
        ("instruments", "1_001", "expected less than or equal to 1000, got 1001 (integer)"),
        ("rate", "inf", "expected less than or equal to 1000000, got inf (float)"),
        ("rate_factor", "2e6", "expected less than or equal to 1000000, got 2000000.0 (float)"),
        ("balances", '"USDT"', "balances are ASSET=AMOUNT,… as USDT=1000,BTC=0.5, not 'USDT'"),
        ("balances", '""', "balances are ASSET=AMOUNT,… as USDT=1000,BTC=0.5, not ''"),
        ("entry_latency", '"fast"', "a latency is 0 to 60 s as 250us, 1.5ms or 100000 (ns), not 'fast'"),
        (
            "response_latency",
            '"lognormal:1ms"',
            "a sampled latency is lognormal:MEDIAN:SIGMA[:FLOOR] with sigma 0 to 5, not 'lognormal:1ms'",
        ),
        (
            "entry_latency",
            '"table:t.csv"',
            "can not read the latency table {folder}/t.csv: No such file or directory",
        ),
        (
            "entry_latency",
            '"table:bad.csv"',
            "{folder}/bad.csv:2: a latency is whole ns up to 60000000000, not '-3'",
        ),
        ("faults", '"now: explode"', "faults:1: there is no fault 'explode'; known: "),
        ("faults", '"now: drop; soon: drop"', "faults:1: 'soon' is no time of a fault: now, after N frames"),
        ("faults", '"now: wrong_checksum x=1"', "faults:1: wrong_checksum does not take 'x=1'; it takes "),
        ("faults", '"f.txt"', "faults: there is no file {folder}/f.txt, and it is no fault"),
        ("faults", '"bad.txt"', "{folder}/bad.txt:2: there is no fault 'explode'; known: "),
        ("faults", f'"{"x" * 300}"', "faults: there is no file {folder}/xxx"),
    ],
)
def test_what_a_simulated_venue_would_refuse_is_refused_before_it_starts(
    key: str, value: str, text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bad.csv").write_text("7\n-3\n")
    (tmp_path / "bad.txt").write_text("now: drop\nnow: explode\n")
    told = said(write(tmp_path, VENUE + f"{key} = {value}\n"), capsys)
    assert told.startswith(f"4: venues.sim.simulated.{key}: {text.format(folder=tmp_path)}")


def test_all_mistakes_of_the_simulated_venues_come_at_once_and_nothing_starts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = tmp_path / "state"
    file = write(tmp_path, VENUE + 'balances = "x"\nfaults = "now: explode"\ncapture = ["none"]\n')
    assert main(["run", str(file), "--state", str(state)]) == 2
    told = capsys.readouterr().err
    for key in ("balances", "faults", "capture"):
        assert f"venues.sim.simulated.{key}: " in told
    assert len(told.splitlines()) == 3
    assert not state.exists()


def test_a_fault_of_one_venue_only_is_refused_at_another(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = VENUE + 'faults = "now: wrong_checksum"\n'
    assert main(["check", str(write(tmp_path, text))]) == 0
    capsys.readouterr()
    other = write(tmp_path, text.replace("okx", "bybit_linear"))
    assert "exists at okx only, not at bybit_linear" in said(other, capsys)


def test_the_limits_are_those_of_the_simulated_venue_itself() -> None:
    assert (SIMULATED_INSTRUMENTS_MAX, SIMULATED_RATE_MAX, RATE_FACTOR_MAX) == (
        INSTRUMENTS_MAX,
        RATE_MAX,
        FACTOR_MAX,
    )


# ---- paths ------------------------------------------------------------------------------------


def test_paths_of_faults_and_latency_tables_start_at_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder that the command is given in has files of the same names: they are not meant."""
    home, elsewhere = tmp_path / "home", tmp_path / "elsewhere"
    for folder in (home, elsewhere):
        folder.mkdir()
        for name in ("t.csv", "f.txt", "at 1s: f"):
            (folder / name).write_text("5\n")
    monkeypatch.chdir(elsewhere)
    latencies = 'entry_latency = "table:t.csv"\nresponse_latency = "table:./t.csv"\n'
    text = VENUE + f'{latencies}faults = "f.txt"\n'
    for section in ("orders", "shadow"):
        text += f'[{section}]\n{latencies}feed_latency = "table:t.csv"\n'
    config = load_config(write(home, text))
    found, table_at = simulated(config), f"table:{home / 't.csv'}"
    assert (found.entry_latency, found.response_latency) == (table_at, table_at)
    assert found.faults == str(home / "f.txt")
    assert config.shadow is not None
    for one in (config.orders, config.shadow):
        assert (one.entry_latency, one.response_latency, one.feed_latency) == (table_at,) * 3
    named_like_a_fault = simulated(load_config(write(home, VENUE + 'faults = "at 1s: f"\n')))
    assert named_like_a_fault.faults == str(home / "at 1s: f")


@pytest.mark.parametrize("script", ["now: drop", "now: drop\\nat 2s: drop # both", "now: drop;" * 200])
def test_a_fault_script_in_the_file_is_no_path(script: str, tmp_path: Path) -> None:
    config = load_config(write(tmp_path, VENUE + f'faults = "{script}"\n'))
    assert simulated(config).faults == script.replace("\\n", "\n")


def test_the_home_of_nobody_is_a_path_like_any_other(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write(tmp_path, VENUE + 'capture = ["~nobody-is-called-so/x"]\n')
    assert f"there is no file {tmp_path}/~nobody-is-called-so/x" in said(file, capsys)


# ---- words ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "key", "problem"),
    [
        (REAL + "account = 3\n", "venues.v.account", "expected table, got 3 (integer)"),
        ("shadow = false\n" + VENUE, "shadow", "expected table, got false (boolean)"),
        (
            VENUE + '[store]\nmirror = "x"\n',
            "store.mirror",
            'expected { env = "NAME" } or { file = "PATH" }, got a string',
        ),
        (
            VENUE + 'speed = "fast"\n',
            "venues.sim.simulated.speed",
            "expected 'original' or 'max' or number, got \"fast\" (string)",
        ),
        (
            VENUE + "[risk]\nmax_exposure = 0.5\n",
            "risk.max_exposure",
            "expected integer or string, got 0.5 (float)",
        ),
        (
            REAL.replace("wss://h", "host"),
            "venues.v.websocket_url",
            'expected an address ws://… or wss://…, got "host" (string)',
        ),
        (
            'name = "A B"\n' + VENUE,
            "name",
            'expected up to 32 lower-case letters, digits and -, got "A B" (string)',
        ),
        (
            VENUE + '[store]\nmirror = { path = "x" }\n',
            "store.mirror.path",
            "unknown key; known here: env, file",
        ),
        (
            VENUE + "[venues.sim.validation.watch]\njump_bp = 1.0\n",
            "venues.sim.validation.watch.jump_bp",
            "unknown key; did you mean jump_bps or jump_warm_up or jump_scale?",
        ),
        (
            VENUE + "[venues.sim.audit]\nx = 1\n",
            "venues.sim.audit.x",
            "unknown key; known here: period_s, share, levels",
        ),
    ],
)
def test_a_mistake_is_told_in_the_words_of_the_file(
    text: str, key: str, problem: str, tmp_path: Path
) -> None:
    assert refused(tmp_path, text) == {key: problem}


@pytest.mark.parametrize(
    ("text", "key"),
    [
        (REAL + ACCOUNT + f'secret = {{ env = "S" }}\napi_key = "{SECRET}"\n', "venues.v.account.api_key"),
        (REAL + ACCOUNT + f'api_key = {{ env = "S" }}\nsecret = ["{SECRET}"]\n', "venues.v.account.secret"),
        (VENUE + f'[store]\nkind = "postgres"\nurl = "postgresql://u:{SECRET}@h/d"\n', "store.url"),
        (VENUE + f'[store]\nmirror = "redis://:{SECRET}@h"\n', "store.mirror"),
    ],
)
def test_a_secret_that_was_written_out_is_told_once_and_never_shown(
    text: str, key: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(write(tmp_path, text))
    told = str(caught.value)
    assert [problem.key for problem in caught.value.problems] == [key]
    assert '{ env = "NAME" } or { file = "PATH" }' in told
    assert SECRET not in told and "SecretRef" not in told


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("BTC", "did you mean BTC-USDT-PERP?"),
        ("btcusdt", "did you mean BTC-USDT-PERP?"),
        ("ETHUSD", "did you mean ETH-USDT-PERP?"),
        ("bn:ETHUSDT", "did you mean by:ETH-USDT-PERP"),
        ("DOGE", "there are: BTC-USDT-PERP, ETH-USDT-PERP"),
    ],
)
def test_an_instrument_that_is_not_there_gets_those_that_may_be_meant(name: str, hint: str) -> None:
    with pytest.raises(EngineError) as caught:
        find_instrument(name, table(), VENUES)
    assert f"no instrument {name!r} in this run; {hint}" in str(caught.value)


def test_a_run_without_instruments_says_so() -> None:
    empty = InstrumentTable.create(bytearray(InstrumentTable.bytes_needed(2)), 2)
    with pytest.raises(EngineError, match=r"in this run; there are: none$"):
        find_instrument("BTC", empty, VENUES)


# ---- files ------------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", ["check", "run"])
def test_a_file_that_is_none_is_one_line(
    verb: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    empty = "is empty; expected at least one [venues.NAME] table"
    assert said(write(tmp_path, ""), capsys, verb) == empty
    assert said(write(tmp_path, "# nothing\n\n"), capsys, verb) == empty
    assert said(tmp_path, capsys, verb) == "can not be read: Is a directory"
    assert said(tmp_path / "c.toml" / "d", capsys, verb) == "can not be read: Not a directory"
    write(tmp_path, "").write_bytes(b"\xff\xfe\x00")
    assert said(tmp_path / "c.toml", capsys, verb) == "can not be read: is not UTF-8 text"
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    assert said(loop, capsys, verb) == "can not be read: Too many levels of symbolic links"


def test_a_second_configuration_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = str(write(tmp_path, VENUE))
    for verb in ("check", "run"):
        assert main([verb, file, file]) == 2
        told = capsys.readouterr()
        assert told.out == ""
        assert told.err == f"ringlane: error: Got unexpected extra argument(s) ({file})\n"


# ---- a recording ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--ws", "foo"], "--ws foo: expected ws://HOST or wss://HOST"),
        (["--ws", "http://h"], "--ws http://h: expected ws://HOST or wss://HOST"),
        (["--ws", "ws://"], "--ws ws://: expected ws://HOST or wss://HOST"),
        (["--ws", "ws://h:99999"], "--ws ws://h:99999: expected ws://HOST or wss://HOST"),
        (["--rest", "ws://h"], "--rest ws://h: expected http://HOST or https://HOST"),
        (["--rest", "okx=http://[1"], "--rest http://[1: expected http://HOST or https://HOST"),
        (["--depth-stream", "foo"], "okx: no depth stream 'foo'; there are books, "),
        (["--trade-stream", "foo"], "okx: no trade stream 'foo'; there are trades, "),
        (["--out", "{file}"], "--out: {file}: is a file; expected a folder"),
        (["--out", "{file}/x"], "--out: {file}/x: Not a directory"),
    ],
)
def test_a_mistake_of_a_recording_is_told_before_the_venue_is_asked_and_a_folder_made(
    arguments: list[str], text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, out = write(tmp_path, "x"), tmp_path / "out"
    with socket.create_server(("127.0.0.1", 0)) as venue:
        venue.setblocking(False)
        rest = ["--rest", f"http://127.0.0.1:{venue.getsockname()[1]}"]
        given = [argument.format(file=file) for argument in arguments]
        assert main(["capture", "BTC-USDT", "--venue", "okx", "--out", str(out), *rest, *given]) == 2
        with pytest.raises(BlockingIOError):
            venue.accept()
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.count("\n") == 1
    assert captured.err.startswith(f"ringlane: error: {text.format(file=file)}")
    assert not out.exists() and file.read_text() == "x"


def test_a_folder_is_no_capture_to_describe(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["capture", "--info", str(tmp_path)]) == 2
    told = f"ringlane: error: --info {tmp_path}: is a folder; expected the files in it\n"
    assert capsys.readouterr().err == told
