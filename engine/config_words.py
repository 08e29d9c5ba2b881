"""What is wrong with a configuration, in the words of who wrote it: keys of the file, no types of ours."""

from __future__ import annotations

import difflib
import re
import typing
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel, ValidationError

from engine.toml_lines import Key
from engine.venue_config import SecretRef

REFERENCE = '{ env = "NAME" } or { file = "PATH" }'
#: What a text must be like, by the pattern that refuses it.
LIKE = {
    r"^wss?://": "an address ws://… or wss://…",
    r"^https?://": "an address http://… or https://…",
    r"^[a-z0-9][a-z0-9-]{0,31}$": "up to 32 lower-case letters, digits and -",
}
#: Types of TOML by those of the parser.
NAMES = {bool: "boolean", int: "integer", float: "float", str: "string", list: "array", dict: "table"}

Model = type[BaseModel]


def problem_texts(error: ValidationError, data: object, model: Model) -> dict[Key, str]:
    """What a model found wrong, a text per key of the file.

    Args:
        error: of the validation.
        data: what was validated.
        model: of the whole configuration.
    """
    found: dict[Key, dict[str, list[str]]] = {}
    for detail in error.errors(include_url=False):
        key = _real_key(detail["loc"], data)
        text, got = _describe(detail, key, model)
        # What refuses the same value for several reasons, as each type that it might be, is one problem.
        found.setdefault(key, {}).setdefault(got, []).append(text)
    return {key: "; ".join(_joined(texts, got) for got, texts in told.items()) for key, told in found.items()}


def _joined(texts: list[str], got: str) -> str:
    several = list(dict.fromkeys(texts))
    return f"expected {' or '.join(several)}, got {got}" if got else "; ".join(several)


def _real_key(loc: tuple[int | str, ...], data: object) -> Key:
    """The part of a pydantic location that exists in the file; members of a union add names of their own."""
    key: Key = ()
    value = data
    for i, part in enumerate(loc):
        if isinstance(value, dict):
            if part in value:
                value = value[part]
            elif i < len(loc) - 1:
                return key
            key += (part,)
        elif isinstance(value, list) and isinstance(part, int) and part < len(value):
            value = value[part]
            key += (part,)
        else:
            return key
    return key


def _describe(detail: Any, key: Key, model: Model) -> tuple[str, str]:
    """What was expected, and what was found; or the whole problem and nothing."""
    kind, message, value = detail["type"], str(detail["msg"]), detail["input"]
    if kind == "extra_forbidden":
        return _unknown_key(key, model), ""
    if kind == "missing":
        return "is missing", ""
    if kind == "value_error":
        return message.removeprefix("Value error, "), ""
    context = detail.get("ctx", {})
    if kind == "model_type":
        if context.get("class_name") == SecretRef.__name__:
            # Never the value: it may be the secret itself.
            return REFERENCE, f"{_article(_name(value))} {_name(value)}"
        return "table", _shown(value)
    if kind == "string_pattern_mismatch":
        pattern = str(context.get("pattern"))
        return LIKE.get(pattern, f"text like {pattern}"), _shown(value)
    expected = re.sub(r"^Input should be (a valid |an? )?", "", message).replace("dictionary", "table")
    return expected, _shown(value)


def _name(value: object) -> str:
    return NAMES.get(type(value), type(value).__name__)


def _article(name: str) -> str:
    return "an" if name[0] in "aeiou" else "a"


def _shown(value: object) -> str:
    name = _name(value)
    if isinstance(value, dict | list):
        return f"{_article(name)} {name}"
    text = f'"{value}"' if isinstance(value, str) else str(value)
    return f"{text.lower() if isinstance(value, bool) else text} ({name})"


def _unknown_key(key: Key, model: Model) -> str:
    known = list(_section_at(key[:-1], model).model_fields)
    if key[:-1] == ("engine",) and key[-1] in _section_at(("machine",), model).model_fields:
        return f"unknown key; it stands in [machine]: machine.{key[-1]}"
    close = difflib.get_close_matches(str(key[-1]), known, n=3, cutoff=0.5)
    if close:
        return f"unknown key; did you mean {' or '.join(close)}?"
    return f"unknown key; known here: {', '.join(known)}"


def _section_at(key: Key, model: Model) -> Model:
    """The section at a key."""
    section, is_name = model, False
    for part in key:
        if isinstance(part, int) or is_name:
            is_name = False
            continue
        field = section.model_fields.get(part)
        annotation = None if field is None else field.annotation
        section = next(_models_in(annotation), section)
        is_name = typing.get_origin(annotation) is dict
    return section


def _models_in(annotation: object) -> Iterator[Model]:
    """The sections that a field holds."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in typing.get_args(annotation):
        yield from _models_in(part)
