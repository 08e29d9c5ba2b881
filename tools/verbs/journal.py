"""`ringlane journal`: is it what was written (verify), all of it readable (cat), what happens now (tail)."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal

import orjson
import typer

from actors.measures import measure_folders
from engine.run_file import running
from shm.errors import JournalError
from shm.instance import default_state_root
from shm.journal import FileView, JournalEntry
from shm.journal_files import FILE_NAME, journal_files, map_to_read
from shm.journal_reader import START, JournalFollower
from shm.journal_seals import SEALS_NAME, read_seals
from shm.journal_verify import Key, VerifyReport, verify
from tools.journal_view import KINDS, Filter, View, documents, line, parse_time

FOLLOW_S = 0.1
EXIT_DAMAGED = 1
ORDER_BITS = 64
DIGEST = re.compile(r"[0-9a-fA-F]{64}")
_MIB = 1 << 20
Action = Literal["verify", "cat", "tail"]
Target = tuple[Path, Key | None]


def journal(
    action: Annotated[Action, typer.Argument(help="verify, cat or tail", metavar="verify|cat|tail")],
    target: Annotated[
        str | None,
        typer.Argument(
            metavar="[PATH|INSTANCE]",
            help="a journal folder, a state directory, one journal file, or the name of an instance "
            "(default: the newest running one, else the only one there is)",
        ),
    ] = None,
    state: Annotated[Path | None, typer.Option(help="state root that the instance is under")] = None,
    json: Annotated[bool, typer.Option("--json", help="one JSON object per line")] = False,
    epoch: Annotated[int | None, typer.Option(min=1, help="verify, cat: this run only")] = None,
    noted: Annotated[
        str | None,
        typer.Option(
            metavar="DIGEST", help="verify: a head digest noted earlier, which must be in the chain of seals"
        ),
    ] = None,
    kind: Annotated[
        list[str] | None,
        typer.Option(
            help="cat, tail: INTENT, SENT, REPORT, DISCREPANCY, … or what they hold: NEW, CANCEL, FILL, "
            "DECISION, GHOST_ORDER, …; may be repeated"
        ),
    ] = None,
    order: Annotated[
        str | None, typer.Option(help="cat, tail: this client order id, decimal or 0x…, through its replaces")
    ] = None,
    instrument: Annotated[
        str | None, typer.Option(help="cat, tail: symbol, canonical name or number of an instrument")
    ] = None,
    since: Annotated[
        str | None, typer.Option(help="cat, tail: from then on: ISO 8601 (UTC), or 90s, 10m, 2h, 1d ago")
    ] = None,
    until: Annotated[str | None, typer.Option(help="cat, tail: up to then")] = None,
    lines: Annotated[
        int, typer.Option("--lines", "-n", min=0, help="tail: begin with that many entries")
    ] = 10,
    follow: Annotated[
        bool,
        typer.Option("--follow", "-f", help="tail: go on until Ctrl-C, from file to file and run to run"),
    ] = False,
) -> int:
    """Check, print or follow the journal of orders: every intent, command, report and discrepancy.

    Looks only: it never writes and never holds up a running engine. Exit codes: 0; 1 something is damaged or
    missing (verify), or could not be read on; 2 a wrong argument.

    verify names file, byte offset and record of whatever is not what was written: a changed byte, a record
    or file that is missing, moved or replaced. An end as a kill leaves it is said, and no damage. It can not
    find records cut off the very end without a trace, nor a journal computed anew as a whole: against that,
    note the head digest that it prints and give it back with --noted.
    """
    _check_options(action, kind, order, instrument, since, until, noted, epoch, follow)
    wanted = _make_filter(kind, order, instrument, since, until)
    targets = find_journals(target, state)
    _check_epoch(targets, epoch)
    if action == "verify":
        return run_verify(targets, epoch, noted, as_json=json)
    if action == "cat":
        return run_cat(targets, epoch, wanted, as_json=json)
    return run_tail(targets, lines, wanted, follow=follow, as_json=json)


def _check_options(action: Action, *given: object) -> None:
    kind, order, instrument, since, until, noted, epoch, follow = given
    for name, value, actions in (
        ("--kind", kind, ("cat", "tail")),
        ("--order", order, ("cat", "tail")),
        ("--instrument", instrument, ("cat", "tail")),
        ("--since", since, ("cat", "tail")),
        ("--until", until, ("cat", "tail")),
        ("--noted", noted, ("verify",)),
        ("--epoch", epoch, ("verify", "cat")),
        ("--follow", follow or None, ("tail",)),
    ):
        if value is not None and action not in actions:
            raise typer.BadParameter(f"{name} belongs to journal {' and '.join(actions)}")
    if isinstance(noted, str) and not DIGEST.fullmatch(noted):
        raise typer.BadParameter(f"--noted {noted!r}: expected a digest of 64 hexadecimal digits")


def _check_epoch(targets: list[Target], epoch: int | None) -> None:
    there = sorted({file[0] for path, _ in targets for file in journal_files(path)})
    if epoch is not None and epoch not in there:
        known = ", ".join(map(str, there)) or "none"
        raise typer.BadParameter(f"--epoch {epoch}: there are no entries of that run; there are: {known}")


def _make_filter(
    kind: list[str] | None, order: str | None, instrument: str | None, since: str | None, until: str | None
) -> Filter:
    now = time.time_ns()
    times = []
    for name, text in (("--since", since), ("--until", until)):
        try:
            times.append(parse_time(text, now) if text else 0)
        except ValueError:
            raise typer.BadParameter(f"{name} {text!r}: expected ISO 8601, or 90s, 10m, 2h, 1d ago") from None
    try:
        number = int(order, 0) if order else 0
    except ValueError:
        raise typer.BadParameter(f"--order {order!r}: expected a number, decimal or 0x…") from None
    if not 0 <= number < 1 << ORDER_BITS:
        raise typer.BadParameter(f"--order {order!r}: an order's id has {ORDER_BITS} bits")
    kinds = frozenset(name.upper().replace("-", "_") for name in kind or ())
    for name in sorted(kinds - KINDS):
        close = get_close_matches(name, KINDS, n=3)
        hint = (
            f"; did you mean {' or '.join(close)}?" if close else f"; there are: {', '.join(sorted(KINDS))}"
        )
        raise typer.BadParameter(f"no kind {name!r}{hint}")
    return Filter(kinds, number, instrument or "", times[0], times[1])


# ---- which journals --------------------------------------------------------------------------------


def is_journal(path: Path) -> bool:
    """Whether a folder is a journal's."""
    return path.is_dir() and ((path / SEALS_NAME).exists() or any(path.glob("journal-*.rlj")))


def journals_of(state_dir: Path) -> list[Path]:
    """The journal folders of an instance's state directory: one per gateway, then those of measurements."""
    if not state_dir.is_dir():
        return []
    gateways = sorted(path for path in state_dir.glob("journal-*") if is_journal(path))
    return gateways + [path for path, _ in measure_folders(state_dir) if is_journal(path)]


def find_journals(target: str | None, state: Path | None) -> list[Target]:
    """The journals that a user means, each with the one file that was named, if it was a file.

    Raises:
        typer.BadParameter: there is none.
    """
    root = state or default_state_root()
    if target is None:
        return [(path, None) for path in journals_of(_only_instance(root))]
    path = Path(target)
    match = FILE_NAME.fullmatch(path.name)
    if match and path.is_file():
        return [(path.parent, (int(match[1]), int(match[2])))]
    for folder in (path, root / target):
        if is_journal(folder):
            return [(folder, None)]
        if found := journals_of(folder):
            return [(journal, None) for journal in found]
    if path.exists():
        raise typer.BadParameter(f"{path} holds no journal and is no journal file")
    known = ", ".join(_instances(root)) or "none"
    raise typer.BadParameter(
        f"no journal {target!r}: no such path, and no instance under {root} (there: {known})"
    )


def _instances(root: Path) -> list[str]:
    return sorted(path.name for path in root.iterdir() if journals_of(path)) if root.is_dir() else []


def _only_instance(root: Path) -> Path:
    notes = running(root)
    if notes:
        return Path(notes[0].state_dir)
    known = _instances(root)
    if len(known) == 1:
        return root / known[0]
    if not known:
        raise typer.BadParameter(f"there is no journal under {root}")
    raise typer.BadParameter(f"which of them? {', '.join(known)} (under {root})")


# ---- verify ----------------------------------------------------------------------------------------


def run_verify(targets: list[Target], epoch: int | None, noted: str | None, *, as_json: bool) -> int:
    """Check each journal; 1 = damage somewhere."""
    reports = [verify(path, epoch=epoch, only=only) for path, only in targets]
    has_noted = noted is None or any(noted.lower() in report.anchors for report in reports)
    for report in reports:
        if as_json:
            typer.echo(orjson.dumps(_verify_json(report)).decode())
        else:
            _show_verify(report)
    if not has_noted:
        typer.echo(
            f"ringlane: error: the digest {noted} is in no chain of seals: it was computed anew", err=True
        )
    return 0 if has_noted and all(report.is_good for report in reports) else EXIT_DAMAGED


def _verify_json(report: VerifyReport) -> dict[str, Any]:
    return {
        "journal": str(report.directory),
        "good": report.is_good,
        "files": report.files,
        "sealed": report.sealed,
        "records": report.records,
        "bytes": report.size_bytes,
        "epochs": list(report.epochs),
        "removed": report.removed,
        "open": report.is_open,
        "digest": report.digest,
        "findings": [
            {**asdict(f), "file": str(f.file) if f.file else None} for f in report.findings
        ],
    }  # fmt: skip


def _show_verify(report: VerifyReport) -> None:
    for finding in report.findings:
        label = {"damage": "DAMAGED", "torn": "torn", "note": "note"}[finding.severity]
        typer.echo(f"{label}: {finding}")
    first, last = report.epochs
    runs = f"epoch {first}" if first == last else f"epochs {first} to {last}"
    verdict = "good" if report.is_good else "DAMAGED"
    typer.echo(
        f"{report.directory}: {verdict}; {report.records} records in {report.files} files "
        f"({report.sealed} sealed), {report.size_bytes / _MIB:.1f} MiB, {runs}"
        + ("; a writer has it open" if report.is_open else "")
    )
    if report.digest:
        typer.echo(f"head digest {report.digest}")


# ---- cat and tail ----------------------------------------------------------------------------------


def _print(found: dict[str, Any], *, as_json: bool) -> None:
    text = orjson.dumps(found).decode() if as_json else line(found)
    sys.stdout.write(text + "\n")


def run_cat(targets: list[Target], epoch: int | None, wanted: Filter, *, as_json: bool) -> int:
    """Print every entry that is wanted; 1 = a run's entries could not be read to their end."""
    code, count = 0, 0
    for path, only in targets:
        view = View(path)
        for run in _runs(path, only, epoch):
            try:
                for found in documents(view, _entries(path, only, run), wanted):
                    _print(found, as_json=as_json)
                    count += 1
            except JournalError as error:
                sys.stdout.flush()
                typer.echo(f"ringlane: error: {error}", err=True)
                code = EXIT_DAMAGED
    if not count and not code:
        typer.echo("no entry fits", err=True)
    return code


def _runs(path: Path, only: Key | None, epoch: int | None) -> list[int]:
    """The epochs to print; one that can not be read does not hide the next."""
    if only is not None:
        return [only[0]]
    return sorted({file[0] for file in journal_files(path) if epoch in (None, file[0])})


def _entries(path: Path, only: Key | None, epoch: int) -> Iterator[JournalEntry]:
    if only is None:
        yield from JournalFollower(path, epoch=epoch)
        return
    file = next(file for file in journal_files(path) if file[:2] == only)
    view = FileView(file[2], map_to_read(file[2]), *only)
    while batch := view.read(1024):
        yield from batch
    view.damage()


def _near_the_end(path: Path, count: int) -> JournalFollower:
    """A follower some files before the end, so that at least `count` entries come."""
    seals = read_seals(path)
    files = [file for file in journal_files(path) if not seals.is_removed(file[:2])]
    position, have = START, 0
    for epoch, index, file in reversed(files):
        view = FileView(file, map_to_read(file), epoch, index)
        position = view.position
        have += view.skip()
        if have >= count:
            break
    return JournalFollower(path, position)


def run_tail(targets: list[Target], lines: int, wanted: Filter, *, follow: bool, as_json: bool) -> int:
    """Print the last entries, and what comes when following."""
    if any(only for _, only in targets):
        raise typer.BadParameter("tail follows a journal folder or an instance, not one file")
    followed = []
    for path, _ in targets:
        view, follower = View(path), _near_the_end(path, lines)
        last = list(documents(view, follower, wanted))
        for found in last[len(last) - lines if lines < len(last) else 0 :] if lines else ():
            _print(found, as_json=as_json)
        followed.append((view, follower))
    sys.stdout.flush()
    while follow:
        quiet = True
        for view, follower in followed:
            for found in documents(view, follower.read(), wanted):
                quiet = False
                _print(found, as_json=as_json)
        if quiet:
            sys.stdout.flush()
            time.sleep(FOLLOW_S)
    return 0
