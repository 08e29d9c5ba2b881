"""Reading a role's settings: a JSON object into a dataclass, strict and with precise errors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, fields
from types import UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from actors.errors import SettingsError

T = TypeVar("T")


def _fits(value: object, hint: Any) -> bool:
    origin = get_origin(hint)
    if origin in (Union, UnionType):
        return any(_fits(value, part) for part in get_args(hint))
    if origin is list:
        return isinstance(value, list) and all(_fits(item, get_args(hint)[0]) for item in value)
    if origin is dict:
        key, item = get_args(hint)
        return isinstance(value, dict) and all(_fits(k, key) and _fits(v, item) for k, v in value.items())
    if hint is Any:
        return True
    if hint is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, hint)


def read_settings(cls: type[T], data: Mapping[str, Any], role: str) -> T:
    """Make a settings dataclass from a JSON object.

    Args:
        cls: a dataclass; fields without default are required.
        data: the object; every key must be a field.
        role: named in errors.

    Raises:
        SettingsError: an unknown or missing key, or a value of the wrong type, each named.
    """
    hints = get_type_hints(cls)
    known = {item.name: item for item in fields(cls)}  # type: ignore[arg-type]
    for key, value in data.items():
        if key not in known:
            raise SettingsError(f"{role}: unknown setting {key!r} (known: {', '.join(sorted(known))})")
        if not _fits(value, hints[key]):
            raise SettingsError(f"{role}: setting {key!r} has the wrong type: {value!r}")
    for key, item in known.items():
        if item.default is MISSING and item.default_factory is MISSING and key not in data:
            raise SettingsError(f"{role}: setting {key!r} is missing")
    return cls(**data)
