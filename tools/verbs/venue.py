"""`ringlane venue`: a simulated venue alone, from recorded frames or a synthetic market."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tools.venues.capture_source import CaptureSettings
from tools.venues.errors import SettingsError, VenueSimulatorError
from tools.venues.run import DEFAULT_VENUE, PROTOCOLS, VenueSettings, run_venue
from tools.venues.synthetic_source import SyntheticSettings
from tools.venues.trading.settings import BALANCES, TradingSettings


def _speed(text: str) -> float:
    if text == "max":
        return 0.0
    try:
        speed = float(text.removesuffix("x"))
    except ValueError:
        raise SettingsError(f"--speed takes a number or max, not {text!r}") from None
    if not 0 < speed <= 1e6:
        raise SettingsError(f"--speed must be above 0 and at most 1e6, or max, not {text}")
    return speed


def _choice(name: str, value: str, allowed: tuple[str, ...]) -> str:
    if value not in allowed:
        raise SettingsError(f"--{name} takes {' or '.join(allowed)}, not {value!r}")
    return value


def _market(capture: list[Path], times: str, speed: str, at_end: str,
            synthetic: SyntheticSettings) -> CaptureSettings | SyntheticSettings:  # fmt: skip
    shift = _choice("times", times, ("shift", "original")) == "shift"
    pace, end = _speed(speed), _choice("at-end", at_end, ("stop", "loop", "exit"))
    return CaptureSettings(tuple(capture), pace, shift, end) if capture else synthetic


def venue(
    name: Annotated[
        str, typer.Argument(help=f"The venue to simulate: {', '.join(PROTOCOLS)}.")
    ] = DEFAULT_VENUE,
    capture: Annotated[
        list[Path] | None,
        typer.Option(help="Play recorded frames of this file, plain or gzip; may be repeated."),
    ] = None,
    speed: Annotated[
        str, typer.Option(help="Pace of a capture: 1, N, or max (as fast as clients read).")
    ] = "1",
    times: Annotated[
        str, typer.Option(help="Event times of a capture: shift (to now) or original.")
    ] = "shift",
    at_end: Annotated[str, typer.Option(help="At the end of a capture: stop, loop or exit.")] = "stop",
    instruments: Annotated[int, typer.Option(help="Synthetic market: number of instruments.")] = 5,
    rate: Annotated[
        float, typer.Option(help="Synthetic market: updates a second in total; 0 is silence.")
    ] = 1000.0,
    seed: Annotated[int, typer.Option(help="Synthetic market: seed.")] = 1,
    max_updates: Annotated[
        int, typer.Option(help="Synthetic market: stop after that many updates; 0: never.")
    ] = 0,
    batch_ms: Annotated[float, typer.Option(help="Synthetic market: timer period, 1 to 100 ms.")] = 1.0,
    start_time_ms: Annotated[
        int, typer.Option(help="Synthetic market: time of the first moment; 0: now.")
    ] = 0,
    list_after: Annotated[
        float, typer.Option(help="Synthetic market: seconds until one more instrument trades.")
    ] = 0.0,
    delist_after: Annotated[
        float, typer.Option(help="Synthetic market: seconds until an instrument ends.")
    ] = 0.0,
    relist_after: Annotated[
        float, typer.Option(help="Synthetic market: seconds until the ended one trades again.")
    ] = 0.0,
    skew_ms: Annotated[
        int, typer.Option(help="Synthetic market: how far the venue's clock is ahead of this machine's.")
    ] = 0,
    every_change: Annotated[
        bool,
        typer.Option(
            "--every-change", help="Streams of the best levels: each change at once, whatever their interval."
        ),
    ] = False,
    checksum: Annotated[
        bool, typer.Option("--checksum", help="Books carry a checksum, where the venue had one.")
    ] = False,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Websocket port; 0 picks a free one.")] = 0,
    rest_port: Annotated[int, typer.Option(help="REST port; 0 picks a free one.")] = 0,
    tls: Annotated[bool, typer.Option("--tls", help="Serve wss and https with a CA made at start.")] = False,
    start: Annotated[
        str, typer.Option(help="Begin when clients have subscribed, or immediately.")
    ] = "subscribed",
    clients: Annotated[int, typer.Option(help="Number of subscribed connections to wait for.")] = 1,
    misuse: Annotated[
        str,
        typer.Option(
            help="Unknown or misplaced streams: refuse with a reason, or silent like the real venue."
        ),
    ] = "refuse",
    buffer_bytes: Annotated[int, typer.Option(help="Unread bytes after which a client is cut.")] = 16
    * 1024
    * 1024,
    ping_interval_s: Annotated[float, typer.Option(help="Seconds between pings; 0: as the venue.")] = 0.0,
    connection_s: Annotated[float, typer.Option(help="Lifetime of a connection; 0: as the venue.")] = 0.0,
    ready_fd: Annotated[
        int, typer.Option(help="Write the ready line to this descriptor instead of stdout.")
    ] = -1,
    stats: Annotated[str, typer.Option(help="Statistics at the end: none, text or json.")] = "none",
    parent_pid: Annotated[int, typer.Option(help="End when this process ends.")] = 0,
    faults: Annotated[
        str, typer.Option(help="What shall go wrong: a fault script, or the name of its file.")
    ] = "",
    trade: Annotated[bool, typer.Option(help="Take orders too, where this venue does.")] = True,
    accounts: Annotated[str, typer.Option(help="Names of the accounts, with commas.")] = "main",
    balances: Annotated[str, typer.Option(help="Of each account: ASSET=AMOUNT,…")] = BALANCES,
    leverage: Annotated[int, typer.Option(help="Of each symbol until it is set.")] = 20,
    maker_fee: Annotated[
        float | None, typer.Option(help="Fraction of notional; left out: the venue's.")
    ] = None,
    taker_fee: Annotated[
        float | None, typer.Option(help="Fraction of notional; left out: the venue's.")
    ] = None,
    entry_latency: Annotated[
        str, typer.Option(help="Client to venue: 250us, lognormal:250us:0.5 or table:FILE.")
    ] = "0",
    response_latency: Annotated[str, typer.Option(help="Venue to client, as --entry-latency.")] = "0",
    limits: Annotated[
        float, typer.Option(help="The venue's rate limits hold so many times; 0: none does.")
    ] = 1.0,
    funding_s: Annotated[float, typer.Option(help="Seconds between two fundings; 0: none.")] = 0.0,
    funding_rate: Annotated[
        float, typer.Option(help="Fraction of a position's value that longs pay to shorts.")
    ] = 0.0001,
) -> None:
    """Serve a simulated venue on loopback: its market-data websockets and REST, and order entry.

    Prints one JSON line with the URLs and API keys when it is ready, and ends on SIGTERM or Ctrl-C. Keys may
    be given by the environment variable RINGLANE_VENUE_KEYS and are not printed then.
    """
    try:
        synthetic = SyntheticSettings(instruments, rate, seed, batch_ms / 1000.0, max_updates, start_time_ms,
                                      list_after, delist_after, relist_after, skew_ms)  # fmt: skip
        settings = VenueSettings(
            name=name,
            market=_market(capture or [], times, speed, at_end, synthetic),
            host=host,
            ws_port=port,
            rest_port=rest_port,
            tls=tls,
            strict=_choice("misuse", misuse, ("refuse", "silent")) == "refuse",
            every_change=every_change,
            with_checksum=checksum,
            start=start,
            clients_wanted=clients,
            buffer_bytes_max=buffer_bytes,
            ping_interval_s=ping_interval_s,
            connection_s=connection_s,
            ready_fd=ready_fd,
            statistics=_choice("stats", stats, ("none", "text", "json")),
            parent_pid=parent_pid,
            faults=faults,
            trading=TradingSettings(
                tuple(accounts.split(",")),
                balances,
                leverage,
                maker_fee,
                taker_fee,
                entry_latency,
                response_latency,
                limits,
                funding_s=funding_s,
                funding_rate=funding_rate,
            )
            if trade
            else None,
        )
        status = run_venue(settings)
    except VenueSimulatorError as error:
        typer.echo(f"ringlane: error: venue: {error}", err=True)
        raise typer.Exit(2) from None
    raise typer.Exit(status)
