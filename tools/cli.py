"""The command `ringlane`: one verb per file under `tools/verbs`, loaded when it is used.

A mistake of the user's is one line on standard error, `ringlane: error: …`, and exit code 2. A run that
failed is exit code 1. `doctor` answers by its exit code and has others for both. A traceback is always a
defect of ours.
"""

from __future__ import annotations

import difflib
import importlib
import os
import sys
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from typing import Annotated, Any

import typer

from engine.errors import ConfigError, EngineError
from shm.errors import ShmError

# Each verb is the function of that name in `tools/verbs/<verb>.py`.
VERBS = (
    "run",
    "check",
    "doctor",
    "capacity",
    "status",
    "actors",
    "rings",
    "books",
    "rates",
    "risk",
    "reload",
    "halt",
    "resume",
    "drill",
    "venue",
    "capture",
    "replay",
    "report",
    "journal",
    "store",
    "bench",
)
EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130
# Of a verb whose codes 1 and 2 are an answer: a mistake of the user's and a failure, after sysexits.h.
OTHER_CODES = {"doctor": {EXIT_USAGE: 64, EXIT_FAILED: 70}}

app = typer.Typer(
    name="ringlane",
    help="A trading engine for one Linux box: pinned processes, order books in lock-free shared memory.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _tell_version(wanted: bool) -> None:
    if not wanted:
        return
    try:
        typer.echo(f"ringlane {version('ringlane')}")
    except PackageNotFoundError:
        typer.echo("ringlane, from sources that are not installed")
    raise typer.Exit


@app.callback()
def root(
    _version: Annotated[
        bool, typer.Option("--version", callback=_tell_version, is_eager=True, help="Say which one it is.")
    ] = False,
) -> None:
    """Hold the verbs together; does nothing by itself."""


def load_verb(name: str) -> Callable[..., Any]:
    """The function of a verb.

    Raises:
        ImportError: its module is not there.
    """
    function: Callable[..., Any] = getattr(importlib.import_module(f"tools.verbs.{name}"), name)
    return function


def _register(names: list[str]) -> None:
    """Add verbs to the app; one whose module is not there is left out."""
    known = {command.name for command in app.registered_commands}
    for name in names:
        if name in known:
            continue
        try:
            app.command(name)(load_verb(name))
        except ModuleNotFoundError as error:
            if not (error.name or "").startswith("tools.verbs."):
                raise


def fail(text: str, code: int = EXIT_USAGE) -> int:
    """Print one error line and return the exit code."""
    print(f"ringlane: error: {text}", file=sys.stderr)
    return code


def _in_one_line(text: str) -> str:
    """What the parser says, without its own words for "this is a mistake"."""
    return " ".join(text.removeprefix("Invalid value: ").replace(": Value error, ", ": ").split())


def _unknown(verb: str) -> int:
    _register(list(VERBS))
    _invoke(["--help"])
    close = difflib.get_close_matches(verb, VERBS, n=2)
    hint = f"; did you mean {' or '.join(close)}?" if close else ""
    return fail(f'no verb "{verb}"{hint}')


def _invoke(arguments: list[str], usage: int = EXIT_USAGE, failed: int = EXIT_FAILED) -> int:
    # Whether the parser comes from typer itself or from click depends on typer's version: ask its own class.
    usage_error: type[Exception] = typer.BadParameter
    while usage_error.__name__ != "ClickException":
        usage_error = usage_error.__bases__[0]
    try:
        result = app(arguments, prog_name="ringlane", standalone_mode=False)
    except usage_error as error:
        return fail(_in_one_line(str(getattr(error, "format_message", error.__str__)())), usage)
    except typer.Exit as error:
        return int(error.exit_code)
    except typer.Abort:
        return EXIT_INTERRUPTED
    except ConfigError as error:
        for line in str(error).splitlines():
            fail(line)
        return usage
    except (EngineError, ShmError) as error:
        return fail(str(error), failed)
    except BrokenPipeError:
        return failed
    except OSError as error:
        if error.filename is None:
            raise
        # A path that may not be read, or can not be one: the verbs say what else may be wrong with theirs.
        return fail(f"{os.fsdecode(error.filename)}: {error.strerror}", failed)
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    return result if isinstance(result, int) else 0


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit code (the console script passes it to the shell)."""
    given = sys.argv[1:] if arguments is None else arguments
    verb = next((a for a in given if not a.startswith("-")), None)
    if verb is None or given[0] in ("-h", "--help"):
        _register(list(VERBS))
        return _invoke(given or ["--help"])
    if verb not in VERBS:
        return _unknown(verb)
    _register([verb])
    if verb not in {command.name for command in app.registered_commands}:
        return fail(f'the verb "{verb}" is not part of this installation')
    codes = OTHER_CODES.get(verb, {})
    return _invoke(given, codes.get(EXIT_USAGE, EXIT_USAGE), codes.get(EXIT_FAILED, EXIT_FAILED))


if __name__ == "__main__":
    sys.exit(main())
