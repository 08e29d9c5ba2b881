"""`ringlane doctor`: its object, its exit codes, its core map and what a person sees."""

from __future__ import annotations

import io
import re
import tomllib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter
from rich.console import Console

from engine.config import parse_config
from engine.placement import place
from profiles.host import measure
from profiles.host.findings import State
from profiles.host.measured import Hiccups, Measured
from profiles.host.reader import CPU, MIB, Host, Space
from tests.profiles.host_tree import host_at, plant
from tools.cli import main
from tools.doctor_plan import CoreFacts, choose, core_facts, propose
from tools.doctor_report import DoctorReport, examine
from tools.doctor_view import show
from tools.verbs.check import to_toml
from tools.verbs.run import DEFAULT_CONFIG, load

WORKERS = [("housekeeping", "housekeeping"), ("feed", "feed"), ("trade", "trade")]
REPORT = TypeAdapter(DoctorReport)


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "WAKES", 30)
    monkeypatch.setattr(measure, "TIMERS", 30)
    monkeypatch.setattr(measure, "TURNS", 100)


def read_back(text: str) -> DoctorReport:
    """The object of `--json`: it must fit the declared types and hold nothing else."""
    report = REPORT.validate_json(text, strict=True)
    assert report.to_json() == text
    return report


def test_json_is_one_valid_object_and_the_exit_code_is_in_it(
    short: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = main(["doctor", "--json", "--seconds", "0.1", "--state", str(tmp_path / "none")])
    report = read_back(capsys.readouterr().out.rstrip("\n"))
    assert report.exit_code == code == {"fit": 0, "usable": 1, "unfit": 2}[report.verdict]
    assert [h.core for h in report.measured.hiccups] == list(report.cores)
    assert report.activity is not None
    assert report.activity.elapsed_s >= 0.1
    assert report.latency_class.name in "ABCD?"
    assert not (tmp_path / "none").exists()


def test_quick_measures_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["doctor", "--json", "--quick"])
    report = read_back(capsys.readouterr().out.rstrip("\n"))
    assert report.exit_code == code
    assert report.measured == Measured()
    assert report.activity is None
    assert report.latency_class.name == "?"
    unknown = {f.id for f in report.findings if f.state is State.UNKNOWN}
    assert {"core.hiccups", "core.steal", "neighbors.processes", "neighbors.interrupts"} <= unknown


@pytest.mark.parametrize(
    "arguments", [["--nonsense"], ["--seconds", "0"], ["--seconds", "x"], ["missing.toml"]]
)
def test_wrong_usage_is_not_taken_for_an_answer(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["doctor", *arguments]) == 64
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("ringlane: error: ")


def test_other_verbs_keep_their_code_for_wrong_usage() -> None:
    assert main(["check", "--nonsense"]) == 2


@pytest.mark.parametrize(("free", "verdict", "code"), [(1 * MIB, "unfit", 2), (1 << 40, "usable", 1)])
def test_a_machine_without_room_is_unfit(free: int, verdict: str, code: int) -> None:
    # The clock of the planted machine is this one's; its advice is at least the cores without neighbors.
    report = examine(load(None), "", seconds=0, host=Host(space=lambda _path: Space(free, free)))
    found = {f.id: f for f in report.findings}
    assert (found["memory.shm"].state is State.UNFIT) == (verdict == "unfit")
    if verdict == "unfit":
        assert (report.verdict, report.exit_code) == (verdict, code)


def test_a_planted_machine_is_proposed_its_isolated_cores(tmp_path: Path) -> None:
    plant(tmp_path)
    report = examine(load(None), "box.toml", seconds=0, host=host_at(tmp_path))
    assert report.cores == (0, 1, 2, 3)
    assert report.proposal.pinned == (2, 3)
    assert report.proposal.cores == {"housekeeping": None, "feed": 2, "trade": 3}
    assert report.proposal.command == "taskset -c 0,2-3 ringlane run box.toml"
    assert report.proposal.unit == "CPUAffinity=0 2 3"
    assert report.needs.pinned == 2
    assert report.needs.shm_bytes > 10 * MIB


@pytest.mark.parametrize("placement", ["default", "spread"])
def test_check_accepts_the_proposed_settings(
    tmp_path: Path, placement: str, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tomllib.loads(DEFAULT_CONFIG.read_text())
    data["engine"] = {"placement": placement}
    config = parse_config(to_toml(data), "x")
    proposal = propose(config, [CoreFacts(c) for c in range(8)], "", may_lock=True)
    for table, values in tomllib.loads(proposal.toml).items():
        data[table] = data.get(table, {}) | values
    file = tmp_path / "proposed.toml"
    file.write_text(to_toml(data))
    assert main(["check", str(file)]) == 0
    assert f'placement = "{placement}"' in capsys.readouterr().out


def test_noisy_cores_and_siblings_and_far_nodes_are_left_alone() -> None:
    def fact(core: int, **changes: object) -> CoreFacts:
        plain = {"node": core // 4, "siblings": (core - core % 2, core - core % 2 + 1), "delay_ns": 5_000}
        return CoreFacts(core, **{**plain, **changes})  # type: ignore[arg-type]

    # Threads 0-1, 2-3, 4-5, 6-7 of four physical cores on two nodes; core 6 is taken by somebody.
    facts = [fact(c) for c in range(8)]
    facts[6] = fact(6, delay_ns=9_000_000)
    chosen = choose(facts, 2)
    workers = [c for c in place(WORKERS, chosen).values() if c is not None]
    assert len({facts[c].node for c in workers}) == 1
    assert 6 not in workers
    assert not set(facts[workers[0]].siblings) & set(facts[workers[1]].siblings)
    # With everything on node 0 noisy, the workers go to node 1.
    noisy = [fact(c, delay_ns=50_000_000) for c in range(4)] + facts[4:]
    assert {noisy[c].node for c in choose(noisy, 2)[1:]} == {1}


@settings(max_examples=80)
@given(
    facts=st.lists(
        st.builds(
            CoreFacts,
            core=st.integers(0, 40),
            node=st.integers(0, 1),
            isolated=st.booleans(),
            delay_ns=st.integers(0, 10**7),
        ),
        min_size=1, max_size=12, unique_by=lambda f: f.core,
    ),
    wanted=st.integers(1, 5),
)  # fmt: skip
def test_the_chosen_cores_give_each_worker_its_own_and_spare_one(facts: list[CoreFacts], wanted: int) -> None:
    chosen = choose(facts, wanted)
    known = {f.core for f in facts}
    assert set(chosen) <= known
    assert len(chosen) == len(known) if len(known) <= max(wanted, 2) else len(chosen) == wanted + 1
    workers = [("feed", "feed"), *((f"s{i}", "strategy") for i in range(wanted - 1))]
    cores = [c for c in place(workers, chosen).values() if c is not None]
    if len(known) > max(wanted, 2) and wanted > 1:
        assert len(set(cores)) == wanted
        assert min(chosen) not in cores


def test_facts_of_cores_come_from_what_was_seen(tmp_path: Path) -> None:
    plant(tmp_path, {f"{CPU}/isolated": "1", f"{CPU}/cpu1/topology/thread_siblings_list": "0-1"})
    hiccups = (Hiccups(1, 1.0, 1, 2, 777, 9, 0, 0, 0, 0.0),)
    first, second = core_facts(host_at(tmp_path), (0, 1), Measured(hiccups=hiccups), None)
    assert (first.isolated, first.delay_ns) == (False, 0)
    assert (second.isolated, second.delay_ns, second.siblings) == (True, 777, (0, 1))
    assert min([first, second], key=lambda f: f.cost) is second


def test_a_person_sees_the_worst_first_with_what_to_do(tmp_path: Path) -> None:
    source = "sys/devices/system/clocksource/clocksource0/current_clocksource"
    plant(tmp_path, {source: "hpet", f"{CPU}/isolated": ""})
    report = examine(load(None), "", seconds=0, host=host_at(tmp_path))
    console = Console(record=True, width=130, file=io.StringIO())
    show(report, console)
    text = console.export_text()
    assert report.exit_code == 2
    states = re.findall(r"^(unfit|advice|ok) ", text, re.MULTILINE)
    assert states[0] == "unfit"
    assert set(states[1:-1]) == {"advice"}
    assert re.search(r"^unfit +clock source: hpet", text, re.MULTILINE)
    assert "→ echo tsc > /sys/devices/system/clocksource" in text
    assert "isolcpus=managed_irq,domain" in text
    assert "more checks (--all shows them)" in text
    show(report, console, everything=True)
    assert "shows them" not in console.export_text()


def test_while_an_engine_runs_its_cores_are_only_watched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from engine.run_file import RunNote

    note = RunNote("desk", 3, 4_000_000, 1, 0, str(tmp_path), 1)
    monkeypatch.setattr("tools.doctor_report.running", lambda _root: [note])
    report = examine(load(None), "", seconds=0.05, state=tmp_path)
    assert report.engines == ("desk",)
    assert report.measured.hiccups == () and report.measured.timings == ()
    assert report.activity is not None
