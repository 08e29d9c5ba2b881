"""Children of kind `command`: programs the engine must start but may not import, here the simulated venues.

A command tells that it is up by one line of JSON on a descriptor it inherits; its addresses are in that line.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Iterable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import orjson

from engine.accounts import OrderUrls
from engine.errors import StartError
from engine.placement import VENUE_NICE
from engine.processes import Child
from engine.topology import VenueUrls
from engine.venue_config import TRADING_KEYS, SimulatedConfig, VenueConfig

READY_FD = "{ready_fd}"
READY_LINE_MAX = 1 << 20
STATISTICS_MAX = 1 << 20


@dataclass(frozen=True, slots=True)
class CommandSpec:
    """A command to supervise.

    Attributes:
        name: unique in the run.
        argv: program and arguments; `{ready_fd}` stands for the number of the descriptor it reports on.
    """

    name: str
    argv: tuple[str, ...]


def venue_command(name: str, venue: VenueConfig, seed: int, urls: VenueUrls | None = None) -> CommandSpec:
    """The command of a simulated venue.

    Args:
        name: its name in the configuration.
        venue: a venue with a `simulated` table.
        seed: of the run, used when the venue has none of its own.
        urls: where an earlier incarnation was reached: a reborn venue must be found at the same ports.
    """
    simulated = venue.simulated
    assert simulated is not None
    port = _port(urls.websocket_url) if urls else simulated.port
    rest_port = _port(urls.rest_url) if urls else simulated.rest_port
    argv = [sys.executable, "-P", "-m", "tools.venues", venue.adapter, "--ready-fd", READY_FD]
    argv += ["--port", str(port), "--rest-port", str(rest_port)]
    argv += ["--seed", str(seed if simulated.seed is None else simulated.seed)]
    argv += ["--stats", "json", *_source_options(simulated)]
    return CommandSpec(f"venue-{name}", tuple(argv))


def _source_options(simulated: SimulatedConfig) -> list[str]:
    options: list[str] = []
    for file in simulated.capture:
        options += ["--capture", file]
    if simulated.capture:
        speed = "1" if simulated.speed == "original" else str(simulated.speed)
        options += ["--speed", speed, "--times", simulated.times, "--at-end", simulated.at_end]
    if simulated.instruments is not None:
        options += ["--instruments", str(simulated.instruments)]
    if simulated.rate is not None:
        options += ["--rate", str(simulated.rate)]
    if simulated.clients is not None:
        options += ["--clients", str(simulated.clients)]
    if simulated.tls:
        options.append("--tls")
    options += _trading_options(simulated)
    return options if simulated.faults is None else [*options, f"--faults={simulated.faults}"]


def _trading_options(simulated: SimulatedConfig) -> list[str]:
    if not simulated.trade:
        return ["--no-trade"]
    options = [] if simulated.rate_factor == 1.0 else ["--limits", str(simulated.rate_factor)]
    given = ((key, getattr(simulated, key)) for key in TRADING_KEYS)
    # one word each: a value may begin with a minus
    return options + [f"--{key.replace('_', '-')}={value}" for key, value in given if value is not None]


def _port(url: str) -> int:
    return urlsplit(url).port or 0


def parse_ready(line: bytes, name: str) -> VenueUrls:
    """Read the ready line of a simulated venue.

    Raises:
        StartError: it is not the JSON object it must be.
    """
    try:
        data: Any = orjson.loads(line)
        return VenueUrls(
            websocket_url=str(data["ws"]),
            rest_url=str(data["rest"]),
            ca_file=None if data.get("ca") is None else str(data["ca"]),
            symbols=tuple(str(s) for s in data["symbols"]),
            orders=_order_urls(data.get("trading")),
        )
    except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
        raise StartError(f"{name}: its ready line can not be read: {line[:200]!r}") from error


def _order_urls(data: Any) -> OrderUrls | None:
    if data is None:
        return None
    return OrderUrls(str(data["order"]), str(data["private"]), str(data["rest"]))


async def spawn_command(child: Child, spec: CommandSpec, spawner: Executor, timeout_s: float) -> bytes:
    """Start a command and wait for its ready line.

    Returns:
        The line, without its end.

    Raises:
        StartError: it ended, or said nothing within the timeout; with the last lines of its log.
    """
    read_end, write_end = os.pipe()
    try:
        command = [part.replace(READY_FD, str(write_end)) for part in spec.argv]
        argv = [sys.executable, "-P", "-m", "engine.child", "--exec", str(os.getpid())]
        argv += ["--nice", str(VENUE_NICE), "--", *command]
        try:
            await child.spawn(argv, (write_end,), spawner, own_group=True)
        finally:
            os.close(write_end)
        return await _read_line(child, read_end, timeout_s)
    finally:
        os.close(read_end)


async def _read_line(child: Child, fd: int, timeout_s: float) -> bytes:
    loop = asyncio.get_running_loop()
    done: asyncio.Future[bytes] = loop.create_future()
    received = bytearray()

    def readable() -> None:
        data = os.read(fd, 65_536)
        received.extend(data)
        if not data or b"\n" in received or len(received) > READY_LINE_MAX:
            loop.remove_reader(fd)
            if not done.done():
                done.set_result(bytes(received))

    loop.add_reader(fd, readable)
    try:
        line = await asyncio.wait_for(done, timeout_s)
    except TimeoutError as error:
        raise StartError(
            f"{child.name} said nothing in {timeout_s:g} s; its log ends:\n{child.log_tail()}"
        ) from error
    finally:
        loop.remove_reader(fd)
    if b"\n" not in line:
        # The end of the pipe without a line is the end of the process: wait, so that the log is complete.
        await child.wait_exit(timeout_s)
        how = child.last_exit.describe() if child.last_exit else "no exit"
        raise StartError(f"{child.name} did not come up ({how}); its log ends:\n{child.log_tail()}")
    return line.partition(b"\n")[0]


def split_commands(venues: Sequence[tuple[str, VenueConfig]]) -> tuple[list[str], dict[str, VenueUrls]]:
    """Names of the simulated venues, and the addresses of the real ones."""
    simulated = [name for name, venue in venues if venue.simulated is not None]
    real = {
        name: VenueUrls(venue.websocket_url or "", venue.rest_url or "", venue.ca_file)
        for name, venue in venues
        if venue.simulated is None
    }
    return simulated, real


def answer_delays(children: Iterable[Child]) -> dict[str, dict[str, Any]]:
    """What simulated venues took to answer commands, as rows of the report's latency section.

    A venue that has ended left its numbers as the last line of its log; one that was killed left none.

    Args:
        children: the command children, ended.
    """
    found: dict[str, dict[str, Any]] = {}
    for child in children:
        try:
            text = child.log_path.read_bytes()[-STATISTICS_MAX:].rstrip().rpartition(b"\n")[2]
            row = orjson.loads(text)["trading"]["answer_delay"]
            count = int(row["count"])
        except (OSError, orjson.JSONDecodeError, KeyError, TypeError, ValueError):
            continue
        if count:
            meaning = "request at the simulated venue → its answer on the way; part of ack"
            found[f"{child.name}.answer_ns"] = row | {"title": f"{child.name} itself", "meaning": meaning}
    return found
