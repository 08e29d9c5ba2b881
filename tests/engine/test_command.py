"""The command: help, precise mistakes, and verbs against a running engine."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import orjson
import pytest

from engine.config import dump_config
from engine.processes import child_environment
from tests.engine.test_supervisor import Engine, engine, until
from tools.cli import VERBS, main
from tools.verbs.check import to_toml
from tools.verbs.run import load

pytestmark = pytest.mark.timeout(300)


def test_no_verb_prints_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    out = capsys.readouterr().out
    assert all(verb in out for verb in VERBS)


def test_unknown_verb_prints_help_and_one_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rnu"]) == 2
    captured = capsys.readouterr()
    assert "Usage" in captured.out
    assert captured.err == 'ringlane: error: no verb "rnu"; did you mean run?\n'


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([verb, "--help"]) == 0
    assert verb in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["run", "--durations", "3"], "No such option: --durations"),
        (["run", "--duration", "soon"], "'--duration'"),
        (["run", "--duration", "-1"], "'--duration'"),
        (["run", "/no/such.toml"], "/no/such.toml: can not be read: No such file or directory"),
        (["check", "/no/such.toml"], "/no/such.toml: can not be read: No such file or directory"),
        (["run", "--report", "/proc/none"], "/proc/none"),
    ],
)
def test_mistakes_are_one_line_and_code_2(
    arguments: list[str], text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("ringlane: error: ")
    assert text in error
    assert len(error.splitlines()) == 1


def test_every_problem_of_a_file_is_a_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "c.toml"
    file.write_text('nme = "x"\n[venues.v]\nadapter = 3\n')
    assert main(["check", str(file)]) == 2
    assert capsys.readouterr().err.splitlines() == [
        f"ringlane: error: {file}:1: nme: unknown key; did you mean name?",
        f"ringlane: error: {file}:3: venues.v.adapter: expected string, got 3 (integer)",
    ]


def test_check_prints_what_reads_back_equal(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check"]) == 0
    out = capsys.readouterr().out
    assert tomllib.loads(out) == dump_config(load(None))
    assert main(["check", "--json"]) == 0
    data = orjson.loads(capsys.readouterr().out)
    assert data["config"] == dump_config(load(None))
    assert data["placement"].startswith("default: ")


def test_toml_writer_handles_what_a_configuration_may_hold() -> None:
    data = {
        "a": 1,
        "b": {"odd key": 'x\n"y', "e": [], "rows": [{"k": True, "n": {"z": 1.5}}, {"k": False}]},
        "t": [[1, 2], ["s"]],
    }
    assert tomllib.loads(to_toml(data)) == data


@pytest.mark.parametrize("verb", ["status", "actors", "reload", "halt"])
def test_nothing_runs(verb: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([verb, "--state", str(tmp_path)]) == 1
    assert capsys.readouterr().err == f"ringlane: error: no engine runs under {tmp_path}\n"


class Verbs:
    """Verbs of the command in this process, against one engine: (code, output, errors)."""

    def __init__(self, one: Engine, capsys: pytest.CaptureFixture[str]) -> None:
        self._one, self._capsys = one, capsys

    def __call__(self, *arguments: str) -> tuple[int, str, str]:
        self._capsys.readouterr()
        code = main([*arguments, "--state", str(self._one.folder)])
        return (code, *self._capsys.readouterr())

    def told(self, *arguments: str) -> Any:
        """The JSON of a verb that succeeds."""
        code, output, errors = self(*arguments, "--json")
        assert code == 0, errors
        return orjson.loads(output)


def test_verbs_on_a_running_engine(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with engine(tmp_path) as one:
        one.wait_up()
        argv = [sys.executable, "-P", "-m", "tools.cli", "status", "--state", str(one.folder)]
        shown = subprocess.run(argv, env=child_environment(), capture_output=True, text=True)
        assert shown.returncode == 0
        assert "housekeeping" in shown.stdout
        assert "venue-sim" in shown.stdout
        verb = Verbs(one, capsys)
        # A verb that asks waits a second or two for its answer, and goes without it then.
        data = until(lambda: (said := verb.told("status"))["answers"] and said)
        assert data["instance"] == one.name
        rows = until(lambda: (said := verb.told("actors"))[0]["name"] and said)
        assert [(r["name"], r["role"], r["worker"]) for r in rows] == [
            ("reference", "reference", "housekeeping"),
            ("journal", "journal_keeper", "housekeeping"),
            ("store", "store", "housekeeping"),
            ("md-sim", "market_data", "feed"),
            ("gateway", "order_gateway", "gateway"),
            ("one", "fake_kind", "strategy"),
        ]
        assert "gateway" in verb("actors")[1]
        one.config.write_text(one.config.read_text().replace("edge = 1", "edge = 2"))
        assert "generation 2 is in force" in verb("reload")[1]
        code, _, errors = verb("status", "--name", "nobody")
        assert code == 1
        assert f"no engine of name nobody runs under {tmp_path} (running: {one.name})" in errors
        halted = {"instance": one.name, "trading_state": "HALTED", "supervisor_answers": True}
        until(lambda: verb.told("halt") == halted)
        assert one.stop() == 0


def test_halt_and_status_work_while_the_supervisor_hangs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with engine(tmp_path) as one:
        one.wait_up()
        verb = Verbs(one, capsys)
        os.kill(one.process.pid, signal.SIGSTOP)
        code, output, _ = verb("halt")
        assert code == 0
        assert "HALTED (written to shared memory; the supervisor does not answer)" in output
        data = verb.told("status")
        assert not data["answers"]
        assert data["trading_state"] == "HALTED"
        assert [w["name"] for w in data["workers"]] == ["housekeeping", "feed", "gateway", "strategy"]
        os.kill(one.process.pid, signal.SIGCONT)
        until(lambda: one.ask("status")["trading_state"] == "HALTED")
        assert one.stop() == 0


def test_systemd_unit_has_what_the_engine_relies_on() -> None:
    unit = (Path(__file__).parents[2] / "tools" / "systemd" / "ringlane.service").read_text()
    for line in ("Type=notify", "KillMode=mixed", "ExecReload=kill -HUP $MAINPID", "WatchdogSec=10"):
        assert f"\n{line}\n" in unit
