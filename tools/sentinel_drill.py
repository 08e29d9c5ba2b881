"""The sentinel's drill: engine and simulated venues as processes, signals, and the venues' own books."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from decimal import Decimal
from pathlib import Path
from typing import Any, Final
from urllib.error import HTTPError

import orjson
import psutil

from engine.errors import ControlError, EngineError
from exec.venues import PROTOCOL_OF
from profiles.machine import machine_facts
from tools.attach import ask, find_run

#: The shortest that every venue's timer takes.
DEAD_MAN_S: Final = 10
SCENES: Final = {
    "hang": "engine stopped (SIGSTOP: workers and supervisor)",
    "kill": "engine killed (SIGKILL: all but the sentinel)",
    "alone": f"sentinel killed and nobody to bring it back: the venues' own timers of {DEAD_MAN_S} s",
}
SENTINEL: Final = "rl:sentinel"
UP_S: Final = 60.0
GONE_S: Final = 30.0
QUIET_S: Final = 1.0
LOOK_S: Final = 0.005
ORDERS: Final = 2
ENGINE: Final = (sys.executable, "-P", "-c", "import sys; from tools.cli import main; sys.exit(main())")

VENUE_TOML: Final = """
[venues.{name}]
adapter = "{name}"
websocket_url = "{ws}"
rest_url = "{rest}"
symbols = {symbols}
[venues.{name}.account]
api_key = {{ env = "DRILL_{variable}_KEY" }}
secret = {{ env = "DRILL_{variable}_SECRET" }}
passphrase = {{ env = "DRILL_{variable}_PASSPHRASE" }}
order_url = "{order}"
private_url = "{private}"
rest_url = "{rest}"
[[strategies]]
name = "maker-{short}"
kind = "market_maker"
venue = "{name}"
instruments = "all"
"""
HEAD_TOML: Final = """
name = "{instance}"
[orders]
mode = "venue"
[sentinel]
dead_man_s = {dead_man_s}
[risk]
max_order_notional = 50_000
max_position_notional = 250_000
max_exposure = 5_000_000
orders_per_s = 500
burst = 200
max_open_orders = 8
"""


class DrillVenue:
    """A simulated venue in a process of its own.

    Args:
        name: of the venue and its adapter.
        stack: ends it.
        rate: events a second of its market.
        options: further arguments of `ringlane venue`.
    """

    def __init__(self, name: str, stack: ExitStack, rate: float = 200.0, options: Sequence[str] = ()) -> None:
        self.name = name
        self.keys = {
            "account": "main",
            "api_key": secrets.token_hex(16),
            "secret": secrets.token_hex(16),
            "passphrase": secrets.token_hex(8),
        }
        read_end, write_end = os.pipe()
        argv = [
            sys.executable, "-P", "-m", "tools.venues", name, "--ready-fd", str(write_end),
            "--instruments", "2", "--rate", f"{rate:g}", "--seed", "7", *options,
        ]  # fmt: skip
        environment = os.environ | {"RINGLANE_VENUE_KEYS": orjson.dumps([self.keys]).decode()}
        process = subprocess.Popen(
            argv, pass_fds=(write_end,), env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
        )
        stack.callback(process.wait, 20)
        stack.callback(process.terminate)
        os.close(write_end)
        with os.fdopen(read_end, "rb") as ready:
            line = ready.readline()
        if not line:
            raise EngineError(f"the simulated venue {name} did not come up")
        self.ready: dict[str, Any] = orjson.loads(line)
        if not self.ready.get("trading"):
            raise EngineError(f"the simulated venue {name} does not trade")

    def ask(self, path: str, body: object = None) -> Any:
        """Ask the venue's own books."""
        data = None if body is None else orjson.dumps(body)
        with urllib.request.urlopen(f"{self.ready['rest']}{path}", data=data, timeout=10) as reply:  # noqa: S310
            return orjson.loads(reply.read())

    def orders(self) -> list[dict[str, Any]]:
        """What rests there."""
        return list(self.ask("/sim/orders?open=1"))

    def place_by_hand(self) -> None:
        """An order that rests below the market, as somebody in a browser would place it."""
        own = next(order for order in self.orders() if order["side"] == "buy")
        price = Decimal(own["price"])
        exponent = int(price.as_tuple().exponent)
        for coarser in range(5):  # until it is a multiple of the tick
            step = Decimal(1).scaleb(exponent + coarser)
            below = price * 98 // 100 // step * step
            order = {name: own[name] for name in ("symbol", "side", "quantity")}
            with suppress(HTTPError):
                self.ask("/sim/order", order | {"price": f"{below:f}"})
                return
        raise EngineError(f"{self.name} takes no manual order")

    def fired(self) -> int:
        """How many of its timers ran out so far."""
        return int(self.ask("/sim/statistics")["dead_men_fired"])

    def round_trip_ms(self) -> float:
        """Median of a request to its books."""
        times = []
        for _ in range(20):
            began = time.perf_counter()
            self.ask("/sim/statistics")
            times.append((time.perf_counter() - began) * 1e3)
        return sorted(times)[len(times) // 2]

    def toml(self) -> str:
        """Its part of the engine's configuration."""
        trading = self.ready["trading"]
        return VENUE_TOML.format(
            name=self.name,
            short=self.name.replace("_", "-"),
            variable=self.name.upper(),
            ws=self.ready["ws"],
            rest=self.ready["rest"],
            symbols=orjson.dumps(self.ready["symbols"]).decode(),
            order=trading["order"],
            private=trading["private"],
        )

    def environment(self) -> dict[str, str]:
        """The engine's keys."""
        head = f"DRILL_{self.name.upper()}"
        parts = {"KEY": "api_key", "SECRET": "secret", "PASSPHRASE": "passphrase"}
        return {f"{head}_{word}": self.keys[key] for word, key in parts.items()}


@contextmanager
def _engine(folder: Path, venues: Sequence[DrillVenue]) -> Iterator[list[psutil.Process]]:
    """An engine that trades at the venues; its processes."""
    instance = f"drill-{os.getpid()}"
    config = folder / "drill.toml"
    config.write_text(
        HEAD_TOML.format(instance=instance, dead_man_s=DEAD_MAN_S) + "".join(venue.toml() for venue in venues)
    )
    environment = dict(os.environ)
    for venue in venues:
        environment |= venue.environment()
    log = folder / "engine.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [*ENGINE, "run", str(config), "--state", str(folder / "state"), "--report", str(folder / "out")],
            env=environment, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True,
        )  # fmt: skip
    family: list[psutil.Process] = []
    try:
        _wait(lambda: _is_up(instance, folder / "state"), UP_S, log, "the engine did not come up")
        _wait(lambda: all(len(v.orders()) >= ORDERS for v in venues), UP_S, log, "the engine does not trade")
        parent = psutil.Process(process.pid)
        family = [parent, *parent.children(recursive=True)]
        yield family
    finally:
        process.kill()
        for one in family:
            if one.is_running():
                one.kill()
        process.wait()
        psutil.wait_procs(family, timeout=10)


def _is_up(instance: str, state: Path) -> bool:
    try:
        return ask(find_run(instance, state), "status", 5.0).get("phase") == "running"
    except (ControlError, OSError):
        return False


def _wait(condition: Any, limit_s: float, log: Path, what: str) -> None:
    give_up = time.monotonic() + limit_s
    while not condition():
        if time.monotonic() > give_up:
            tail = log.read_text(errors="replace")[-2_000:]
            raise EngineError(f"{what} in {limit_s:g} s; its output ends:\n{tail}")
        time.sleep(0.05)


def play(scene: str, venues: Sequence[DrillVenue]) -> dict[str, float]:
    """Play one scene; by venue, ms from the signal until nothing rested (-1 = something was left)."""
    with tempfile.TemporaryDirectory(prefix="ringlane-drill-") as name, _engine(Path(name), venues) as family:
        for venue in venues:
            venue.place_by_hand()
        others = [process for process in family if process.name() != SENTINEL]
        if len(others) == len(family):
            raise EngineError("the engine has no sentinel")
        if scene == "alone":
            time.sleep(QUIET_S)  # the timers of the newest orders are set
        fired = [venue.fired() for venue in venues]
        began = time.monotonic()
        _send(scene, family, others)
        gone: dict[str, float] = {}
        while len(gone) < len(venues) and time.monotonic() - began < GONE_S:
            for venue in venues:
                if venue.name not in gone and not venue.orders():
                    gone[venue.name] = (time.monotonic() - began) * 1e3
            time.sleep(LOOK_S)
        if scene == "alone" and not all(v.fired() > n for v, n in zip(venues, fired, strict=True)):
            raise EngineError("a venue's timer did not fire")
        placed = [venue.ask("/sim/statistics")["orders"] for venue in venues]
        time.sleep(QUIET_S)
        if placed != [venue.ask("/sim/statistics")["orders"] for venue in venues]:
            raise EngineError("the engine opened orders when it must not")
        return {venue.name: gone.get(venue.name, -1.0) for venue in venues}


def _send(scene: str, family: Sequence[psutil.Process], others: Sequence[psutil.Process]) -> None:
    if scene == "alone":
        family[0].send_signal(signal.SIGSTOP)
        for process in family:
            if process not in others:
                process.kill()
        return
    for process in others:
        process.send_signal(signal.SIGSTOP if scene == "hang" else signal.SIGKILL)


def one_venue_each() -> list[str]:
    """The first venue of each order protocol."""
    first: dict[str, str] = {}
    for venue, protocol in PROTOCOL_OF.items():
        first.setdefault(protocol, venue)
    return list(first.values())


def run_drill(names: Sequence[str], rounds: int) -> dict[str, Any]:
    """Play every scene `rounds` times.

    Raises:
        EngineError: venue or engine do not come up.
    """
    unknown = [name for name in names if name not in PROTOCOL_OF]
    if unknown:
        raise EngineError(f"no such venue: {', '.join(unknown)}; there are: {', '.join(PROTOCOL_OF)}")
    results: list[dict[str, Any]] = []
    round_trips: dict[str, float] = {}
    for scene in SCENES:
        rows = []
        for _ in range(rounds):
            with ExitStack() as stack:
                venues = [DrillVenue(name, stack) for name in names]
                rows.append(play(scene, venues))
                round_trips = {venue.name: venue.round_trip_ms() for venue in venues}
        worst = {name: max((row[name] for row in rows), key=lambda ms: (ms < 0, ms)) for name in names}
        totals = [-1.0 if min(row.values()) < 0 else max(row.values()) for row in rows]
        results.append(
            {
                "scene": scene,
                "gone_ms": totals,
                "worst_ms": -1.0 if min(totals) < 0 else max(totals),
                "venues_ms": worst,
            }
        )
    return {
        "drill": "sentinel",
        "machine": machine_facts(),
        "results": results,
        "round_trip_ms": round_trips,
        "is_passed": all(row["worst_ms"] >= 0 for row in results),
    }
