"""When a look is taken and how it is printed: once, as JSON lines, in a window of a long table."""

from __future__ import annotations

from dataclasses import dataclass, field

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.text import Text

from tools.live import FULL_WIDTH, Options, Show, Window, run_show, split_keys
from tools.outside import draw
from tools.outside.draw import Cell, Column


@dataclass
class Looks:
    """Counts looks; the engine ends before look number `ends_at`."""

    ends_at: int = 1_000
    taken: int = 0
    slept: list[float] = field(default_factory=list)

    def look(self) -> int:
        self.taken += 1
        return self.taken

    def show(self) -> Show[int]:
        return Show(
            look=self.look,
            draw=lambda seen, window: Text(f"picture {seen} {window.width}"),
            head_lines=lambda _seen: 1,
            row_count=lambda _seen: 0,
            to_json=lambda seen: {"look": seen},
            ended=lambda seen: "the engine has ended" if seen >= self.ends_at else "",
        )

    def run(self, **options: object) -> int:
        given = {"interval_s": 0.5, "once": False, "json": False, "count": None, **options}
        return run_show(self.show(), Options(**given), self.slept.append)  # type: ignore[arg-type]


def test_without_a_terminal_one_picture_is_printed_after_one_interval(
    capsys: pytest.CaptureFixture[str],
) -> None:
    looks = Looks()
    assert looks.run() == 0
    assert capsys.readouterr().out.split() == ["picture", "2", str(FULL_WIDTH)]
    assert looks.slept == [0.5]


def test_json_lines_are_one_document_per_look(capsys: pytest.CaptureFixture[str]) -> None:
    looks = Looks()
    assert looks.run(json=True, count=3) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [orjson.loads(line) for line in lines] == [{"look": 2}, {"look": 3}, {"look": 4}]


def test_an_engine_that_ends_is_exit_code_1_and_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert Looks(ends_at=3).run(json=True, count=0) == 1
    captured = capsys.readouterr()
    assert captured.out.splitlines() == ['{"look":2}']
    assert captured.err == "ringlane: the engine has ended\n"


def test_an_endless_stream_is_ended_by_an_interrupt_without_a_traceback() -> None:
    looks = Looks()

    def interrupt(_seconds: float) -> None:
        raise KeyboardInterrupt

    options = Options(1.0, once=False, json=True, count=0)
    assert run_show(looks.show(), options, interrupt) == 0


@pytest.mark.parametrize(
    ("data", "keys"),
    [
        ("", []),
        ("q", ["q"]),
        ("jk", ["j", "k"]),
        ("\x1b[A\x1b[B", ["\x1b[A", "\x1b[B"]),
        ("\x1b[6~q", ["\x1b[6~", "q"]),
        ("\x1b", ["\x1b"]),
        ("\x1b[", ["\x1b["]),
    ],
)
def test_key_strokes_are_told_apart(data: str, keys: list[str]) -> None:
    assert split_keys(data) == keys


@given(st.text(alphabet="\x1b[A~q16j", max_size=20))
def test_no_key_stroke_is_lost_or_doubled(data: str) -> None:
    assert "".join(split_keys(data)) == data


@given(st.integers(0, 40), st.integers(1, 30), st.integers(0, 60))
def test_a_window_shows_as_many_rows_as_fit_and_never_beyond_the_end(
    count: int, rows: int, first: int
) -> None:
    items = list(range(count))
    shown = Window(80, first, rows).cut(items)
    assert len(shown) == min(count, rows)
    assert shown == items[shown[0] : shown[0] + len(shown)] if shown else not items


def test_a_narrow_terminal_loses_the_columns_of_the_highest_rank_first() -> None:
    columns = [Column("name"), Column("a", rank=2), Column("b", least=5, rank=1), Column("c", rank=3)]
    rows = [[Cell("instrument"), Cell("1"), Cell("2"), Cell("3")]]
    widths = {100: [0, 1, 2, 3], 21: [0, 1, 2], 19: [0, 2], 12: [0], 3: [0]}
    assert {width: draw.fit_columns(columns, rows, width) for width in widths} == widths


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"), (0, "0"), (999, "999 ns"), (1_500, "1.5 µs"), (9_949, "9.9 µs"), (12_345, "12 µs"),
        (999_600, "1.0 ms"), (3_400_000, "3.4 ms"), (999_999_999, "1.0 s"), (90 * 10**9, "90 s"),
        (180 * 10**9, "3 min"), (3 * 3600 * 10**9, "3 h 0 min"),
    ],
)  # fmt: skip
def test_durations_read_well(value: int | None, text: str) -> None:
    assert draw.duration(value) == text


def test_numbers_read_well() -> None:
    assert [draw.rate(v) for v in (None, 0.0, 0.04, 9.94, 9.96, 12345.6)] == [
        "–", "0", "<0.1", "9.9", "10", "12,346",
    ]  # fmt: skip
    assert [draw.grouped(t) for t in (None, "-1234.50", "-0.5", "7")] == ["–", "-1,234.50", "-0.5", "7"]
    assert [draw.percent(s) for s in (None, 0.0, 0.0001, 0.012, 0.5)] == [
        "–", "0%", "<0.1%", "1.2%", "50%",
    ]  # fmt: skip
