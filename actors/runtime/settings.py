"""Reading a role's settings: a JSON object into a dataclass, strict and with precise errors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, fields
from importlib import import_module
from types import ModuleType, UnionType
from typing import TYPE_CHECKING, Any, TypeVar, Union, get_args, get_origin, get_type_hints

from actors.errors import ActorError, RoleError, SettingsError

if TYPE_CHECKING:
    from actors.runtime.actor import Actor

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


def check_role_settings(cls: type[Actor], settings: Mapping[str, Any]) -> None:
    """Let a role say what is wrong with settings; whatever a user's class raises is a refusal.

    Raises:
        SettingsError: it is refused.
    """
    try:
        cls.check_settings(settings)
    except ActorError:
        raise
    except Exception as error:  # noqa: BLE001 (a user's class; neither supervisor nor worker may end for it)
        raise SettingsError(f"{cls.__name__}.check_settings: {type(error).__name__}: {error}") from error


def import_role_module(role: str, name: str) -> ModuleType:
    """Import the module of a role; whatever a user's module raises is a refusal.

    Raises:
        RoleError: it can not be imported.
    """
    try:
        return import_module(name)
    except ImportError as error:
        raise RoleError(f"role {role!r}: {error}") from error
    except Exception as error:  # noqa: BLE001 (as above)
        raise RoleError(f"role {role!r}: importing {name}: {type(error).__name__}: {error}") from error
