"""Fault scripts: what a simulated venue shall do wrong, when, and to whom, as text.

One fault a line (or between semicolons), `#` begins a comment::

    after 100 frames: drop symbol=BTCUSDT
    at 2.5s: disconnect connection=1
    every 50 frames jitter 0.3: duplicate times=10
    on rest: http_status status=429 retry_after=2 path=/fapi/v1/depth
    now: stall symbol=BTCUSDT seconds=1
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

from tools.venues.errors import SettingsError

FOR_EVER = 10**9
SCRIPT_BYTES_MAX = 1024 * 1024
#: Kinds of streams, the same for all venues; a venue's own stream name is taken too.
STREAM_KINDS = ("depth", "bbo", "trade", "mark", "ticker", "liquidation", "status", "all")


class FaultScriptError(SettingsError):
    """A fault script can not be understood; the message names the line."""


class Target(Enum):
    """What a fault acts on."""

    FRAME = "frame"  # a frame on its way to one client
    WINDOW = "window"  # all frames of a client for some time
    CLIENT = "client"  # a connection
    VENUE = "venue"  # everything
    REST = "rest"  # an answer to a REST request
    ORDER = "order"  # a request about orders, its answer, its reports
    ACCOUNT = "account"  # what a client is logged in with


@dataclass(frozen=True, slots=True)
class Kind:
    """A fault that a venue can have: what it acts on, its parameters with their defaults, where it exists."""

    target: Target
    parameters: dict[str, object] = field(default_factory=dict)
    venues: tuple[str, ...] = ()


#: name → what it is. A parameter's type is that of its default.
KINDS: dict[str, Kind] = {
    "drop": Kind(Target.FRAME),
    "duplicate": Kind(Target.FRAME),
    "reorder": Kind(Target.FRAME, {"frames": 1}),
    "truncate": Kind(Target.FRAME, {"bytes": 20}),
    "corrupt_level": Kind(Target.FRAME, {"field": "quantity"}),
    "crossed": Kind(Target.FRAME),
    "sequence_reset": Kind(Target.FRAME, {"by": 0, "mode": "snapshot"}),
    "wrong_checksum": Kind(Target.FRAME, venues=("okx",)),
    "time_backwards": Kind(Target.FRAME, {"ms": 60_000}),
    "garbage": Kind(Target.FRAME, {"text": '{"e":"depthUpd'}),
    "unknown_symbol": Kind(Target.FRAME),
    "delay": Kind(Target.WINDOW, {"ms": 500}),
    "stall": Kind(Target.WINDOW, {"seconds": 1.0}),
    "mute": Kind(Target.WINDOW, {"seconds": 0.0, "until": "over"}),
    "half_open": Kind(Target.CLIENT, {"seconds": 0.0}),
    "disconnect": Kind(Target.CLIENT, {"how": "abort"}),
    "cut_24h": Kind(Target.CLIENT),
    "disconnect_storm": Kind(Target.VENUE, {"cuts": 3, "pause": 0.2}),
    "maintenance": Kind(Target.VENUE, {"seconds": 1.0, "by": 0, "cut": 1}),
    "http_status": Kind(Target.REST, {"status": 429, "retry_after": 0}),
    "slow_rest": Kind(Target.REST, {"seconds": 1.0}),
    "stale_snapshot": Kind(Target.REST, {"behind": 100_000_000}),
    "lost_request": Kind(Target.ORDER, {"command": "any"}),
    "lost_ack": Kind(Target.ORDER, {"command": "any"}),
    "ack_after_fill": Kind(Target.ORDER, {"command": "new", "ms": 500}),
    "ack_disconnect": Kind(Target.ORDER, {"command": "any"}),
    "duplicate_report": Kind(Target.ORDER),
    "reject_storm": Kind(Target.ORDER, {"command": "new"}),
    "rate_limited": Kind(Target.ORDER, {"command": "any"}),
    "slow_cancel": Kind(Target.ORDER, {"command": "cancel", "ms": 500}),
    "kill_in_batch": Kind(Target.ORDER, {"command": "any", "orders": 1}),
    "stale_listen_key": Kind(Target.ACCOUNT, {"told": "yes"}),
}
CHOICES: dict[str, tuple[str, ...]] = {
    "field": ("quantity", "price"),
    "mode": ("snapshot", "update"),
    "how": ("abort", "close"),
    "command": ("any", "new", "amend", "cancel"),
    "told": ("yes", "no"),
    "until": ("over", "subscribed"),
}
STATUSES = (400, 403, 404, 418, 429, 500, 502, 503, 504)
#: name → (least, most) of a number.
BOUNDS: dict[str, tuple[float, float]] = {
    "frames": (1, 1000),
    "orders": (1, 1000),
    "bytes": (1, 1_000_000),
    "ms": (1, 86_400_000),
    "seconds": (0, 86_400),
    "cuts": (1, 1000),
    "cut": (0, 1),
    "pause": (0.001, 3600),
    "retry_after": (0, 86_400),
    "behind": (1, FOR_EVER),
    "by": (-FOR_EVER, FOR_EVER),
    "times": (1, FOR_EVER),
    "connection": (1, FOR_EVER),
}
COMMON: dict[str, object] = {"symbol": "", "stream": "", "connection": 0, "path": "", "times": 1}

_WHEN = re.compile(
    r"(?:(?P<now>now)|after (?P<after>\d+) (?P<unit>frames?|orders?)|at (?P<at>\d+(?:\.\d+)?) ?s"
    r"|every (?:(?P<every>\d+) (?P<units>frames?|orders?)|(?P<period>\d+(?:\.\d+)?) ?s)"
    r"(?: jitter (?P<jitter>\d+(?:\.\d+)?))?"
    r"|on rest(?: after (?P<skip>\d+))?)\Z"
)
_WORD = re.compile(r"([a-z_0-9]+)=(\S+)\Z")


@dataclass(frozen=True, slots=True)
class When:
    """When a fault happens. Of the fields one is set, none means now.

    after_frames: on the first matching frame (or order) behind so many; at_s: so long after the script came
    into force; every_frames, every_s: again and again, each time earlier or later by up to the share
    `jitter`; on_rest: with a REST request, behind `after_requests` others.
    """

    after_frames: int = 0
    at_s: float = 0.0
    every_frames: int = 0
    every_s: float = 0.0
    jitter: float = 0.0
    on_rest: bool = False
    after_requests: int = 0


@dataclass(frozen=True, slots=True)
class Fault:
    """One entry of a script.

    symbol, stream, connection, path: whom it meets ("" and 0: whoever comes); times: so many frames, answers
    or connections each time it happens; values: its own parameters.
    """

    line: int
    text: str
    what: str
    when: When
    symbol: str = ""
    stream: str = ""
    connection: int = 0
    path: str = ""
    times: int = 1
    values: dict[str, object] = field(default_factory=dict)

    @property
    def target(self) -> Target:
        """What it acts on."""
        return KINDS[self.what].target

    def number(self, name: str) -> float:
        """Return a parameter that is a number."""
        value = self.values[name]
        assert isinstance(value, int | float)
        return value

    def word(self, name: str) -> str:
        """Return a parameter that is a text."""
        return str(self.values[name])


def read_faults(source: str, venue: str) -> list[Fault]:
    """Return the faults of a script that is given as a file's name or as text.

    Args:
        source: name of a file, or the script itself.
        venue: name of the simulated venue: some faults exist at some venues only.

    Raises:
        FaultScriptError: naming file and line.
    """
    path = Path(source)
    try:
        is_file = path.is_file()
    except (OSError, ValueError):
        is_file = False
    if not is_file:
        if ":" not in source:
            raise FaultScriptError(
                f"faults: there is no file {source}, and it is no fault (WHEN: WHAT …) either"
            )
        return parse_faults(source, venue)
    try:
        with path.open("rb") as stream:
            data = stream.read(SCRIPT_BYTES_MAX + 1)
        if len(data) > SCRIPT_BYTES_MAX:
            raise FaultScriptError(f"{source}: a fault script has at most {SCRIPT_BYTES_MAX} bytes")
        return parse_faults(data.decode("utf-8"), venue, source)
    except OSError as error:
        raise FaultScriptError(f"can not read {source}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise FaultScriptError(f"{source}: byte {error.start} is not UTF-8 text") from None


def parse_faults(text: str, venue: str, source: str = "faults") -> list[Fault]:
    """Return the faults of a script's text, as `read_faults` does.

    Raises:
        FaultScriptError: `SOURCE:LINE: …`.
    """
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        for entry in line.partition("#")[0].split(";"):
            words = " ".join(entry.split())
            if words:
                try:
                    found.append(_parse_entry(words, number, venue))
                except FaultScriptError as error:
                    raise FaultScriptError(f"{source}:{number}: {error}") from None
    return found


def refuse_order_faults(faults: list[Fault]) -> None:
    """Raise FaultScriptError for faults that meet orders, at a venue that takes none."""
    for fault in faults:
        if fault.target in (Target.ORDER, Target.ACCOUNT):
            raise FaultScriptError(f"line {fault.line}: {fault.what}: this venue does not trade")


def _parse_entry(words: str, line: int, venue: str) -> Fault:
    head, colon, rest = words.partition(": ")
    if not colon:
        raise FaultScriptError(f"{words!r} is not of the form WHEN: WHAT [name=value …]")
    when = _parse_when(head)
    what, *items = rest.split(" ")
    kind = KINDS.get(what)
    if kind is None:
        raise FaultScriptError(f"there is no fault {what!r}; known: {', '.join(sorted(KINDS))}")
    if (when.after_frames or when.every_frames) and (" order" in head) != (kind.target is Target.ORDER):
        raise FaultScriptError(f"{what} counts {'orders' if kind.target is Target.ORDER else 'frames'}")
    if kind.venues and venue not in kind.venues:
        raise FaultScriptError(f"{what} exists at {', '.join(kind.venues)} only, not at {venue}")
    values: dict[str, object] = dict(kind.parameters)
    common = dict(COMMON)
    given: set[str] = set()
    for item in items:
        match = _WORD.match(item)
        name = match.group(1) if match else item
        if match is None or (name not in values and name not in common):
            allowed = ", ".join([*kind.parameters, *COMMON])
            raise FaultScriptError(f"{what} does not take {item!r}; it takes {allowed} as name=value")
        if name in given:
            raise FaultScriptError(f"{name} is given twice")
        given.add(name)
        where = values if name in values else common
        where[name] = _parse_value(name, match.group(2), where[name])
    _check_whom(what, kind, given, when)
    return Fault(
        line, words, what, when, str(common["symbol"]), str(common["stream"]),
        int(str(common["connection"])), str(common["path"]), int(str(common["times"])), values,
    )  # fmt: skip


def _check_whom(what: str, kind: Kind, given: set[str], when: When) -> None:
    useless = {
        Target.FRAME: ("path",),
        Target.WINDOW: ("path",),
        Target.CLIENT: ("path",),
        Target.VENUE: ("path", "symbol", "stream", "connection", "times"),
        Target.REST: ("stream", "connection"),
        Target.ORDER: ("path", "stream", "connection"),
        Target.ACCOUNT: ("path", "symbol", "stream", "connection", "times"),
    }[kind.target]
    if when.on_rest:
        useless = tuple(name for name in useless if name != "path")
    elif (when.after_frames or when.every_frames) and kind.target in (Target.VENUE, Target.REST):
        useless = tuple(name for name in useless if name in ("path", "times"))
    for name in useless:
        if name in given:
            raise FaultScriptError(f"{name} says nothing to {what} here")


def _parse_when(text: str) -> When:
    match = _WHEN.match(text)
    if match is None:
        raise FaultScriptError(
            f"{text!r} is no time of a fault: now, after N frames (orders), at T s, every N frames (orders)"
            " [jitter J], every T s [jitter J], on rest [after N]"
        )
    if match["now"]:
        return When()
    if match["after"]:
        return When(after_frames=int(match["after"]))
    if match["at"]:
        return When(at_s=float(match["at"]))
    if match["every"] or match["period"]:
        jitter = float(match["jitter"] or 0)
        if jitter > 1:
            raise FaultScriptError(f"the jitter is a share of 0 to 1, not {match['jitter']}")
        if match["every"]:
            if int(match["every"]) < 1:
                raise FaultScriptError("every 0 frames is no time of a fault")
            return When(every_frames=int(match["every"]), jitter=jitter)
        if float(match["period"]) < 0.001:
            raise FaultScriptError("a fault comes every 0.001 s at most")
        return When(every_s=float(match["period"]), jitter=jitter)
    return When(on_rest=True, after_requests=int(match["skip"] or 0))


def _parse_value(name: str, text: str, default: object) -> object:
    if isinstance(default, str):
        if name in CHOICES and text not in CHOICES[name]:
            raise FaultScriptError(f"{name} is {' or '.join(CHOICES[name])}, not {text!r}")
        return text
    try:
        value = float(text) if isinstance(default, float) else int(text)
    except ValueError:
        kind = "a number" if isinstance(default, float) else "a whole number"
        raise FaultScriptError(f"{name} is {kind}, not {text!r}") from None
    if name == "status":
        if value not in STATUSES:
            raise FaultScriptError(f"status is one of {', '.join(map(str, STATUSES))}, not {text}")
        return value
    least, most = BOUNDS[name]
    if not least <= value <= most:
        raise FaultScriptError(f"{name} is {least:g} to {most:g}, not {text}")
    return value
