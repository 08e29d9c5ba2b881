"""Where in a TOML file a dotted key stands, so that an error can name the line.

The standard parser gives values without positions. This scan reads only as much of the grammar as needed:
table headers, keys at the start of a line, and enough of strings and brackets to skip what spans lines.
"""

from __future__ import annotations

import re

Key = tuple[str | int, ...]

_HEADER = re.compile(r"^\s*(\[\[?)\s*([^\[\]]+?)\s*\]\]?\s*(?:#.*)?$")
_KEY = re.compile(
    r"""^\s*((?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*')(?:\s*\.\s*(?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*'))*)\s*=(.*)$"""
)
_PART = re.compile(r"""[A-Za-z0-9_-]+|"[^"]*"|'[^']*'""")
_PLAIN_STRING = re.compile(r"\"(?:[^\"\\]|\\.)*\"|'[^']*'")


def _parts(dotted: str) -> list[str]:
    return [part.strip("\"'") for part in _PART.findall(dotted)]


def _balance(text: str) -> int:
    """Opened minus closed brackets and braces outside strings and comments."""
    bare = _PLAIN_STRING.sub("", text).partition("#")[0]
    return bare.count("[") + bare.count("{") - bare.count("]") - bare.count("}")


def key_lines(text: str) -> dict[Key, int]:
    """Line of each table header and key.

    Args:
        text: the TOML source.

    Returns:
        By path (names, and indices of arrays of tables), the line from 1. Keys inside inline tables are
        not listed: look up the longest known prefix with `find_line`.
    """
    lines: dict[Key, int] = {}
    counts: dict[Key, int] = {}
    prefix: Key = ()
    open_brackets, open_string = 0, ""
    for number, line in enumerate(text.splitlines(), 1):
        if open_string:
            open_string = "" if open_string in line else open_string
            continue
        if open_brackets > 0:
            open_brackets += _balance(line)
            continue
        header = _HEADER.match(line)
        if header:
            prefix = _with_indices(_parts(header[2]), counts, new=header[1] == "[[")
            lines.setdefault(prefix, number)
            continue
        match = _KEY.match(line)
        if match:
            lines.setdefault(prefix + tuple(_parts(match[1])), number)
            value = match[2]
            for quote in ('"""', "'''"):
                if value.count(quote) == 1:
                    open_string = quote
            open_brackets = 0 if open_string else _balance(value)
    return lines


def _with_indices(names: list[str], counts: dict[Key, int], *, new: bool) -> Key:
    path: Key = ()
    for i, name in enumerate(names):
        path += (name,)
        if new and i == len(names) - 1:
            counts[path] = counts.get(path, -1) + 1
        if path in counts:
            path += (counts[path],)
    return path


def find_line(lines: dict[Key, int], key: Key) -> int:
    """Line of a key, or of the nearest enclosing table or key, or 0."""
    for length in range(len(key), 0, -1):
        if key[:length] in lines:
            return lines[key[:length]]
    return 0


def dotted(key: Key) -> str:
    """The key as an error names it: `strategies[0].kind`."""
    text = ""
    for part in key:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text
