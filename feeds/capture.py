"""Raw-frame captures: reading them exactly, and finding the instruments they need.

Two line forms, plain or gzip:

- `<receive time, ns> <raw frame>`: websocket frames, and REST snapshots among them (a tab may stand for the
  blank);
- `<receive time, ns> <connection> <kind> <raw text>`, kind one of `connect` (text = URL), `send`, `recv` and
  `http` (connection = `http:` + path); with `ringlane` as the connection, a line of `feeds.capture_writer`.

A frame is handed on as it stands, garbage included: judging frames is the decoder's work. A line that is no
line of either form, or a file that ends inside one, is a `CaptureError` naming file and line.
"""

from __future__ import annotations

import gzip
import heapq
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import fields
from pathlib import Path
from stat import S_ISREG
from typing import TYPE_CHECKING, BinaryIO, NamedTuple, cast

import orjson

from feeds.adapter import join_answers
from feeds.capture_blocks import is_block_file, read_blocks, read_head
from feeds.capture_writer import OWN_CHANNEL
from feeds.errors import CaptureError, EmptyCaptureError, ForeignCaptureError, VenueError
from feeds.routing import CaptureRouter
from feeds.seen_numbers import SeenNumbers
from feeds.venues import ADAPTERS, get_adapter
from feeds.venues.rows import InstrumentList, OddRow
from shm.errors import InstrumentError
from shm.instruments import Instrument, check_instrument

if TYPE_CHECKING:
    from feeds.adapter import VenueAdapter

OWN_KINDS = frozenset({b"capture", b"instruments", b"lost"})
KINDS = frozenset({b"connect", b"send", b"recv", b"http"}) | OWN_KINDS
GZIP_MAGIC = b"\x1f\x8b"
STAMP_DIGITS = 19
STAMP_MAX = 2**63 - 1
LINE_BYTES_MAX = 64 * 1024 * 1024
NAMES_SHOWN = 10
PROBED_LINES = 200


class CaptureLine(NamedTuple):
    """One recorded event.

    `kind` is "ws" for a received frame, "http" for an answer, else "connect", "send" or one of `OWN_KINDS`.
    `path` is the request path of an answer ("" for frames); a snapshot recorded without its request gets the
    path of its file's only symbol.
    """

    recv_ns: int
    channel: str
    kind: str
    path: str
    payload: bytes
    file: str
    line: int


#: Receives a damaged line where damage shall not end the reading.
OnDamage = Callable[[CaptureError], None]


def read_capture(
    paths: str | Path | Sequence[str | Path],
    adapter: VenueAdapter | str | None = None,
    on_damage: OnDamage | None = None,
) -> Iterator[CaptureLine]:
    """Read captures, merged by receive time; lines of one file keep their order.

    Args:
        paths: one or more files.
        adapter: the venue (name or adapter) whose snapshots are looked for among frames; None = any known.
        on_damage: called for each line that is no line of either form, a last one cut short included; reading
            goes on behind it. What it raises ends the reading. None = the first such line is an error.

    Raises:
        CaptureError: a damaged line without `on_damage`, after everything before it was yielded (of that
            file); always for a file that can not be read, is not a regular file, is empty, holds no whole
            line, or was recorded by a newer version or at a venue that is not known here.
    """
    files = [paths] if isinstance(paths, str | Path) else list(paths)
    adapters = _adapters(adapter)
    readers = [_read_file(Path(path), adapters, on_damage) for path in files]
    return readers[0] if len(readers) == 1 else heapq.merge(*readers, key=lambda line: line.recv_ns)


def _adapters(adapter: VenueAdapter | str | None) -> list[VenueAdapter]:
    if adapter is None:
        return [get_adapter(name) for name in ADAPTERS]
    return [get_adapter(adapter) if isinstance(adapter, str) else adapter]


def _open(path: Path) -> BinaryIO:
    try:
        # A capture is read twice (instruments, then frames): what can be read once, or never ends, is none.
        if not S_ISREG(path.stat().st_mode):
            raise CaptureError(path, 0, "is not a regular file")
        raw = path.open("rb")
        if raw.peek(2)[:2] != GZIP_MAGIC:
            return raw
        raw.close()
        return cast("BinaryIO", gzip.open(path))
    except OSError as error:
        raise CaptureError(path, 0, f"can not be read: {error.strerror}") from error


def _lines(path: Path, on_damage: OnDamage | None = None) -> Iterator[tuple[int, bytes]]:
    """Numbered lines as they stand, newline included. `on_damage` hears of blocks that are left out."""
    number = 0
    if _is_block_file(path):
        for block in read_blocks(path, on_damage):
            for line in block.splitlines(keepends=True):
                number += 1
                yield number, line
        if not number:
            raise CaptureError(path, 0, "the capture holds no line")
        return
    with _open(path) as stream:
        while True:
            try:
                line = stream.readline(LINE_BYTES_MAX)
            except OSError as error:
                if not isinstance(error, gzip.BadGzipFile):
                    raise CaptureError(path, number + 1, f"can not be read: {error.strerror}") from error
                _tell_end(path, number, error, on_damage)
                return
            except (EOFError, zlib.error) as error:
                _tell_end(path, number, error, on_damage)
                return
            if not line:
                break
            number += 1
            if len(line) == LINE_BYTES_MAX:
                raise CaptureError(path, number, f"a line of {LINE_BYTES_MAX >> 20} MiB or more is no frame")
            yield number, line
    if not number:
        raise CaptureError(path, 0, "the file is empty")


def _tell_end(path: Path, number: int, error: Exception, on_damage: OnDamage | None) -> None:
    """Say that a gzip file goes no further; raises where nobody is told, or nothing was read."""
    damage = CaptureError(path, number + 1, f"the file ends early or is damaged: {error}")
    if on_damage is None or not number:
        raise damage from error
    on_damage(damage)


def _is_block_file(path: Path) -> bool:
    try:
        return S_ISREG(path.stat().st_mode) and is_block_file(path)
    except OSError:
        return False  # `_open` says what is the matter


def _is_json(payload: bytes) -> bool:
    try:
        orjson.loads(payload)
    except orjson.JSONDecodeError:
        return False
    return True


def _read_file(path: Path, adapters: list[VenueAdapter], on_damage: OnDamage | None) -> Iterator[CaptureLine]:
    parser = _LineParser(path, adapters)
    first: CaptureError | None = None
    is_usable = False
    for number, line in _lines(path, on_damage):
        try:
            parsed = parser.parse(number, line)
        except CaptureError as error:
            if on_damage is None or isinstance(error, ForeignCaptureError):
                raise
            first = first or error
            on_damage(error)
            continue
        is_usable = True
        yield parsed
    if not is_usable and first is not None:
        raise CaptureError(path, first.line, f"no capture: not one line of it can be read; {first.text}")


class _LineParser:
    """Reads the lines of one file; remembers its form and its symbols."""

    def __init__(self, path: Path, adapters: list[VenueAdapter]) -> None:
        self._path = path
        self._adapters = adapters
        self._symbols: set[str] = set()
        self._is_long: bool | None = None

    def parse(self, number: int, line: bytes) -> CaptureLine:
        """Read one line; CaptureError when it is of neither form."""
        if line.endswith(b"\n"):
            line = line[:-1].removesuffix(b"\r")
        elif not _is_json(line[line.find(b"{") :] if b"{" in line else line):
            raise self._error(number, f"the capture ends in the middle of a line: …{line[-40:]!r}")
        if not line:
            raise self._error(number, "empty line")
        stamp, blank, rest = line.partition(b"\t" if line[: STAMP_DIGITS + 1].find(b"\t") > 0 else b" ")
        if not blank or not stamp.isdigit() or len(stamp) > STAMP_DIGITS or not 0 < int(stamp) <= STAMP_MAX:
            raise self._error(number, f"expected a receive time in ns and a space, found {line[:40]!r}")
        parts = rest.split(b" ", 2)
        if len(parts) == 3 and parts[1] in KINDS and not rest.startswith((b"{", b"[")):
            self._is_long = True
            return _long_line(self._path, number, int(stamp), parts)
        if self._is_long:
            raise self._error(number, f"expected connection and kind behind the time, found {rest[:40]!r}")
        if not rest:
            raise self._error(number, "no frame behind the time")
        if self._is_long is None and not rest.startswith((b"{", b"[")):
            raise self._error(number, f"neither JSON nor connection and kind behind the time: {rest[:40]!r}")
        self._is_long = False
        return self._short_line(number, int(stamp), rest)

    def _error(self, number: int, text: str) -> CaptureError:
        return CaptureError(self._path, number, text)

    def _short_line(self, number: int, recv_ns: int, payload: bytes) -> CaptureLine:
        adapters, file = self._adapters, str(self._path)
        snapshot_of = next((a for a in adapters if a.is_snapshot(payload)), None)
        if snapshot_of is None:
            if len(self._symbols) < 2:
                self._symbols |= {s for s in (a.symbol_of_frame(payload) for a in adapters) if s}
            return CaptureLine(recv_ns, "", "ws", "", payload, file, number)
        symbol = _only_symbol(self._path, number, self._symbols, snapshot_of)
        request = snapshot_of.snapshot_request(symbol).path
        return CaptureLine(recv_ns, "", "http", request, payload, file, number)


def _long_line(path: Path, number: int, recv_ns: int, parts: list[bytes]) -> CaptureLine:
    channel, kind = parts[0].decode("utf-8", "replace"), parts[1].decode()
    if parts[1] in OWN_KINDS and parts[0] != OWN_CHANNEL:
        raise CaptureError(path, number, f"kind {kind} on connection {channel!r}, expected ringlane")
    if kind == "capture":
        read_head(parts[2], path, number)
    if kind != "http":
        return CaptureLine(
            recv_ns, channel, "ws" if kind == "recv" else kind, "", parts[2], str(path), number
        )
    if not channel.startswith("http:"):
        raise CaptureError(path, number, f"kind http on connection {channel!r}, expected http:<path>")
    return CaptureLine(recv_ns, channel, "http", channel.removeprefix("http:"), parts[2], str(path), number)


def _only_symbol(path: Path, number: int, seen: set[str], adapter: VenueAdapter) -> str:
    """Symbol of a snapshot that does not name it: the only one in its file."""
    if not seen:
        for _, line in _lines(path):
            symbol = adapter.symbol_of_frame(line)
            if symbol:
                seen.add(symbol)
                break
    if len(seen) != 1:
        found = ", ".join(sorted(seen)) or "none"
        raise CaptureError(
            path, number, f"a snapshot without its symbol needs a file of one symbol; found {found}"
        )
    return next(iter(seen))


def capture_venues(paths: str | Path | Sequence[str | Path]) -> list[str]:
    """Find whose frames captures hold: adapter names, in order of appearance; empty = none of ours.

    A recorder's own line or the address of a connection says it; of a capture with neither, the first venue
    that knows a symbol in one of the first frames is taken.

    Raises:
        CaptureError: a file that can not be used.
    """
    files = [paths] if isinstance(paths, str | Path) else list(paths)
    found: dict[str, None] = {}
    adapters = _adapters(None)
    for path in files:
        venues: dict[str, None] = {}
        for index, line in enumerate(_read_file(Path(path), adapters, on_damage=lambda _: None)):
            if line.kind == "capture":
                venues.setdefault(read_head(line.payload, line.file, line.line))
                break
            if line.kind == "connect":
                url = line.payload.decode("utf-8", "replace")
                venues.update(dict.fromkeys(a.name for a in adapters if a.owns_connection(url)))
            elif not venues and line.kind == "ws":
                venues.update(
                    dict.fromkeys([a.name for a in adapters if a.symbol_of_frame(line.payload)][:1])
                )
            if index >= PROBED_LINES and venues:
                break
        found.update(venues)
    return list(found)


# ---- instruments of a capture ------------------------------------------------------------------


def _scan(
    paths: Sequence[str | Path], adapter: VenueAdapter, on_damage: OnDamage | None = None
) -> tuple[dict[str, SeenNumbers], list[bytes], dict[str, Instrument]]:
    """One pass: what stands in the capture by symbol, its instrument answers, and its recorder's rows."""
    seen: dict[str, SeenNumbers] = {}
    answers: list[bytes] = []
    rows: dict[str, Instrument] = {}
    router = CaptureRouter([adapter])
    for line in read_capture(paths, adapter, on_damage):
        if line.kind == "instruments":
            rows.update((row.symbol, row) for row in _recorded_rows(line, adapter))
            continue
        if router.route(line) is None or line.kind not in ("ws", "http"):
            continue
        if adapter.is_instruments(line.path):
            answers.append(line.payload)
            continue
        of_request = adapter.symbol_of_request(line.path)
        for written in adapter.written(line.payload):
            symbol = written.symbol or of_request
            if symbol:
                entry = seen.setdefault(symbol, SeenNumbers())
                entry.take(0, written.prices)
                entry.take(1, written.quantities)
    return seen, answers, rows


def scan_exponents(paths: str | Path | Sequence[str | Path], adapter: VenueAdapter | str) -> list[Instrument]:
    """Make instrument rows from a first pass over captures, for those without instrument data.

    Exponents are the most decimals seen; tick and lot size the greatest common divisor of all prices and
    quantities seen. Frames that are not JSON are passed over here: the replay itself counts and keeps them.

    Raises:
        CaptureError: a damaged file, or no symbol in it.
    """
    files = [paths] if isinstance(paths, str | Path) else list(paths)
    venue = _adapters(adapter)[0]
    return _rows_of(_scan(files, venue)[0], venue, files)


def _rows_of(
    seen: dict[str, SeenNumbers], venue: VenueAdapter, files: Sequence[str | Path]
) -> list[Instrument]:
    if not seen:
        text = f"no market data of {venue.name} in the capture"
        raise EmptyCaptureError(", ".join(map(str, files)), 0, text)
    return [
        row
        for symbol, entry in sorted(seen.items())
        if _is_row(row := venue.plain_instrument(
            symbol, entry.decimals[0], entry.decimals[1], max(entry.step[0], 1), max(entry.step[1], 1)))
    ]  # fmt: skip


def _is_row(row: Instrument) -> bool:
    """Whether a row made from frames can be one: a garbage frame may name anything as its symbol."""
    try:
        check_instrument(row)
    except InstrumentError:
        return False
    return True


def capture_instruments(
    paths: str | Path | Sequence[str | Path],
    adapter: VenueAdapter | str,
    instruments_file: str | Path | None = None,
    on_damage: OnDamage | None = None,
) -> list[Instrument]:
    """Find the instrument rows of a capture: from a file, else as recorded, else by a first pass.

    Only symbols that occur in the capture are returned, in alphabetic order, instrument_id 0. Symbols that
    the instrument data lacks are left out: their frames are those of unknown symbols.

    Args:
        paths: the captures.
        adapter: their venue.
        instruments_file: instrument data.
        on_damage: as in `read_capture`.

    Raises:
        CaptureError: a damaged capture or instruments file, or instrument data without any symbol of it.
        VenueError: the recorded instrument data is not as documented.
    """
    files = [paths] if isinstance(paths, str | Path) else list(paths)
    venue = _adapters(adapter)[0]
    rows: dict[str, Instrument] | None = None
    odd: list[OddRow] = []
    if instruments_file is not None:  # before the captures: it is small, they may be long
        listed, odd = _load(instruments_file, venue)
        rows = {row.symbol: row for row in listed}
    seen, answers, recorded = _scan(files, venue, on_damage)
    for one in odd:
        if one.symbol in seen and one.is_left_out:
            raise CaptureError(instruments_file or "", 0, one.text)
    if rows is None and recorded:
        rows = recorded
    elif rows is None and answers:
        body = join_answers(answers)
        known = venue.listed_symbols(body)
        listed = venue.parse_instruments(body, sorted(seen.keys() & known))
        rows = {row.symbol: row for row in listed}
    if rows is None or not seen:
        return _rows_of(seen, venue, files)
    found = [rows[symbol] for symbol in sorted(seen) if symbol in rows]
    if not found:
        source = instruments_file if instruments_file is not None else ", ".join(map(str, files))
        names = ", ".join(sorted(seen)[:NAMES_SHOWN])
        raise CaptureError(source, 0, f"instrument data without any symbol of the capture ({names})")
    return found


def load_instruments(path: str | Path, adapter: VenueAdapter | str) -> list[Instrument]:
    """Read an instruments file: the venue's own answer, a capture that holds one, or a list of our rows.

    A list of rows is JSON objects with the field names of `shm.instruments.Instrument`; symbol,
    price_exponent and quantity_exponent are required, venue_id is the adapter's. Rows of the venue's that are
    not as documented are left out.

    Raises:
        CaptureError: the file is none of these; the text says what is wrong with it.
    """
    return _load(path, _adapters(adapter)[0]).rows


def _load(path: str | Path, venue: VenueAdapter) -> InstrumentList:
    with _open(Path(path)) as stream:
        try:
            body = stream.read()
        except (EOFError, zlib.error, OSError) as error:
            raise CaptureError(path, 0, f"the file ends early or is damaged: {error}") from error
    try:
        content = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        answer = _recorded_answer(path, body, venue)
        if answer is None:
            raise CaptureError(path, 0, f"not JSON, and no capture with instrument data: {error}") from error
        body, content = answer, None
    try:
        if isinstance(content, list):
            return InstrumentList([_own_row(row, venue) for row in content], [])
        return venue.read_list(body)
    except (VenueError, TypeError, ValueError) as error:
        raise CaptureError(path, 0, str(error)) from error


def _recorded_answer(path: str | Path, body: bytes, venue: VenueAdapter) -> bytes | None:
    if not body.partition(b" ")[0].isdigit():
        return None
    return next(
        (x.payload for x in read_capture(path, venue) if x.kind == "http" and venue.is_instruments(x.path)),
        None,
    )


def _recorded_rows(line: CaptureLine, venue: VenueAdapter) -> list[Instrument]:
    """Rows of this venue in a line that a recorder wrote."""
    try:
        content = orjson.loads(line.payload)
        return [_own_row(row, venue) for row in content if row["venue_id"] == venue.venue_id]
    except (LookupError, TypeError, ValueError) as error:
        raise CaptureError(line.file, line.line, f"instrument rows that can not be read: {error}") from error


def _own_row(row: object, venue: VenueAdapter) -> Instrument:
    if not isinstance(row, dict):
        raise ValueError(f"expected an object for each instrument, found {row!r}")
    known = {entry.name for entry in fields(Instrument)}
    unknown = sorted(row.keys() - known)
    missing = sorted({"symbol", "price_exponent", "quantity_exponent"} - row.keys())
    if unknown or missing:
        raise ValueError(
            f"instrument {row.get('symbol', '?')!r}: unknown fields {unknown}, missing fields {missing}"
        )
    return Instrument(**{**row, "venue_id": venue.venue_id, "instrument_id": 0})


def symbols_of(rows: Iterable[Instrument]) -> list[str]:
    """Return the symbols of instrument rows, in their order."""
    return [row.symbol for row in rows]
