"""The screen that refreshes like `top`, and the same looks printed once or as JSON lines.

What is looked at and how it is drawn belongs to the verb. Here is when: at once, then at every interval
until q or ctrl-C. The other screen of the terminal is used only if standard output is a terminal, and the
terminal is put back as it was however the screen ends (SIGKILL alone excepted).
"""

from __future__ import annotations

import os
import select
import signal
import sys
import termios
import time
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any, Generic, TypeVar

import orjson
import typer
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from tools.terminal import make_console

Look = TypeVar("Look")

EXIT_OK = 0
EXIT_ENDED = 1
INTERVAL_MIN_S = 0.05
#: A file or a pipe is wide enough for every column.
FULL_WIDTH = 250
#: Lines that the screen itself uses: the one at the bottom.
OWN_LINES = 1
LAST_LINE = "q quits   j k space b scroll"
_KEYS = {"j": 1, "\x1b[B": 1, "k": -1, "\x1b[A": -1}
_PAGES = {" ": 1, "\x1b[6~": 1, "b": -1, "\x1b[5~": -1}
_QUIT = frozenset("qQ\x03\x04")


@dataclass(frozen=True, slots=True)
class Options:
    """When to look and how to show it.

    Args:
        interval_s: between two looks; the rates are over it.
        once: one picture, then the end.
        json: JSON instead of a picture, one line per look.
        count: looks until the end, None = one without a terminal, no end with one.
    """

    interval_s: float
    once: bool
    json: bool
    count: int | None

    @property
    def shots(self) -> int:
        """How many pictures to print when this is no live screen."""
        return 1 if self.once or self.count is None else self.count

    def is_live(self, console: Console) -> bool:
        """Whether this is a screen that refreshes."""
        return console.is_terminal and not (self.once or self.json) and self.count is None


@dataclass(frozen=True, slots=True)
class Window:
    """Where a picture goes: the width of the terminal, and the part of a long table that is on the screen.

    Args:
        width: columns of the terminal.
        first: index of the first row.
        rows: how many fit, None = all.
    """

    width: int
    first: int = 0
    rows: int | None = None

    def cut(self, items: list[Any]) -> list[Any]:
        """The rows to draw: a full screen of them if there are as many."""
        if self.rows is None or len(items) <= self.rows:
            return items
        first = min(self.first, len(items) - self.rows)
        return items[first : first + self.rows]


@dataclass(frozen=True, slots=True)
class Show(Generic[Look]):
    """What a verb shows.

    Args:
        look: takes a look; the second and later ones have rates.
        draw: makes a picture of one for a window.
        head_lines: lines of the picture that are not rows of its table.
        row_count: how many rows the table has in all.
        to_json: the look as a JSON document.
        ended: why there is nothing more to see, "" while there is.
    """

    look: Callable[[], Look]
    draw: Callable[[Look, Window], RenderableType]
    head_lines: Callable[[Look], int]
    row_count: Callable[[Look], int]
    to_json: Callable[[Look], Any]
    ended: Callable[[Look], str]


def run_show(show: Show[Look], options: Options, sleep: Callable[[float], None] = time.sleep) -> int:
    """Show until told to stop; returns the exit code.

    Returns:
        0; 1 when the engine ended before a script had all its looks.
    """
    console = make_console()
    if not console.is_terminal:
        console = Console(width=FULL_WIDTH)
    if options.is_live(console):
        return _Screen(show, options, console).run()
    try:
        return _print(show, options, console, sleep)
    except KeyboardInterrupt:
        return EXIT_OK  # the way to end a stream that has no end


def _print(show: Show[Look], options: Options, console: Console, sleep: Callable[[float], None]) -> int:
    """Print as many pictures as asked; the first look only gives the rates their beginning."""
    show.look()
    printed = 0
    while not options.shots or printed < options.shots:
        sleep(options.interval_s)
        seen = show.look()
        why = show.ended(seen)
        if why:
            print(f"ringlane: {why}", file=sys.stderr)
            return EXIT_ENDED
        if options.json:
            typer.echo(orjson.dumps(show.to_json(seen)).decode())
        else:
            console.print(show.draw(seen, Window(console.width)))
        printed += 1
    return EXIT_OK


class _Screen(Generic[Look]):
    """The refreshing screen."""

    def __init__(self, show: Show[Look], options: Options, console: Console) -> None:
        self._show = show
        self._interval_s = options.interval_s
        self._console = console
        self._first = 0
        self._is_ending = False

    def run(self) -> int:
        """Refresh until q, ctrl-C or another signal to end."""
        with (
            _signals(self._end),
            _keys() as keys,
            Live(console=self._console, screen=True, auto_refresh=False, transient=True) as live,
        ):
            while not self._is_ending:
                self._turn(live, keys)
        return EXIT_OK

    def _end(self, _number: int, _frame: FrameType | None) -> None:
        # A flag and no exception: a second ctrl-C must not tear the clearing up of the first.
        self._is_ending = True

    def _turn(self, live: Live, keys: Keys) -> None:
        """One look, then keys and changes of size until the next one is due."""
        due = time.monotonic() + self._interval_s
        seen = self._show.look()
        self._put(live, seen)
        while not self._is_ending and (left := due - time.monotonic()) > 0:
            pressed = keys.wait(left)
            if any(key in _QUIT for key in pressed):
                self._is_ending = True
            elif pressed:
                self._scroll(pressed, seen)
                self._put(live, seen)

    def _room(self, seen: Look) -> int:
        return max(self._console.size.height - self._show.head_lines(seen) - OWN_LINES, 1)

    def _scroll(self, pressed: list[str], seen: Look) -> None:
        room = self._room(seen)
        for key in pressed:
            self._first += _KEYS.get(key, 0) + room * _PAGES.get(key, 0)
        self._first = max(min(self._first, self._show.row_count(seen) - room), 0)

    def _put(self, live: Live, seen: Look) -> None:
        room, count = self._room(seen), self._show.row_count(seen)
        picture = self._show.draw(seen, Window(self._console.width, self._first, room))
        last = Text(LAST_LINE, style="dim", no_wrap=True)
        if count > room:
            first = min(self._first, count - room)
            last.append(f"   rows {first + 1} to {first + room} of {count}")
        live.update(Group(picture, last), refresh=True)


class Keys:
    """Waits for key strokes and for a change of the terminal's size.

    Args:
        fd: of the terminal, -1 = there is no keyboard.
        wake_fd: readable once a signal came.
    """

    def __init__(self, fd: int, wake_fd: int) -> None:
        self._fd = fd
        self._wake_fd = wake_fd

    def wait(self, seconds: float) -> list[str]:
        """Keys pressed within that time, at once when there are some; [""] when only the size changed."""
        watched = [self._wake_fd] if self._fd < 0 else [self._fd, self._wake_fd]
        ready, _, _ = select.select(watched, [], [], seconds)
        pressed: list[str] = []
        if self._wake_fd in ready:
            os.read(self._wake_fd, 64)
            pressed.append("")
        if self._fd in ready:
            data = os.read(self._fd, 64).decode("utf-8", "replace")
            if not data:
                self._fd = -1  # the terminal is gone
            pressed += split_keys(data)
        return pressed


def split_keys(data: str) -> list[str]:
    """Key strokes in what a terminal sent: characters and the escape sequences of arrows and pages."""
    keys, at = [], 0
    while at < len(data):
        end = at + 1
        if data.startswith("\x1b[", at):
            end = at + 2
            while end < len(data) and not (data[end].isalpha() or data[end] == "~"):
                end += 1
            end = min(end + 1, len(data))
        keys.append(data[at:end])
        at = end
    return keys


@contextmanager
def _keys() -> Iterator[Keys]:
    """Key strokes one by one and unseen; the terminal's settings come back at the end."""
    fd = sys.stdin.fileno() if sys.stdin.isatty() else -1
    read_end, write_end = os.pipe()
    os.set_blocking(write_end, False)
    before = termios.tcgetattr(fd) if fd >= 0 else None
    old_wakeup = signal.set_wakeup_fd(write_end, warn_on_full_buffer=False)
    try:
        if fd >= 0:
            tty.setcbreak(fd, termios.TCSANOW)
        yield Keys(fd, read_end)
    finally:
        if before is not None:
            termios.tcsetattr(fd, termios.TCSADRAIN, before)
        signal.set_wakeup_fd(old_wakeup)
        os.close(read_end)
        os.close(write_end)


def _nothing(_number: int, _frame: FrameType | None) -> None:
    """A new size only wakes the screen."""


@contextmanager
def _signals(end: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Let signals end the screen in order, which else would leave a ruined terminal; ctrl-Z is left out."""
    wanted: dict[signal.Signals, Any] = {
        signal.SIGINT: end,
        signal.SIGTERM: end,
        signal.SIGHUP: end,
        signal.SIGWINCH: _nothing,
        signal.SIGTSTP: signal.SIG_IGN,
    }
    before = {number: signal.signal(number, handler) for number, handler in wanted.items()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
