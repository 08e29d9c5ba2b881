"""Numbers that C reads stand in shm_enums.h exactly as in shm/enums.py."""

from __future__ import annotations

import re
from enum import IntEnum, IntFlag
from pathlib import Path

import pytest

from shm import enums

HEADER = Path(enums.__file__).parent / "native" / "shm_enums.h"


def snake(name: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()


def enums_in_c() -> dict[str, dict[str, int]]:
    text = re.sub(r"/\*.*?\*/", "", HEADER.read_text(), flags=re.DOTALL)
    return {
        name: {member: int(value) for member, value in re.findall(r"(\w+)\s*=\s*(\d+)", body)}
        for name, body in re.findall(r"enum\s+(\w+)\s*\{(.*?)\}", text, flags=re.DOTALL)
    }


def enums_in_python() -> dict[str, dict[str, int]]:
    found = {}
    for cls in vars(enums).values():
        if isinstance(cls, type) and issubclass(cls, (IntEnum, IntFlag)) and cls not in (IntEnum, IntFlag):
            prefix = f"shm_{snake(cls.__name__)}"
            found[prefix] = {
                f"{prefix}_{name}".upper(): int(member) for name, member in cls.__members__.items()
            }
    return found


def test_the_header_was_read() -> None:
    assert len(enums_in_c()) >= 5


@pytest.mark.parametrize("name", sorted(enums_in_c()))
def test_every_number_in_c_is_the_number_in_python(name: str) -> None:
    assert enums_in_c()[name].items() <= enums_in_python()[name].items()


@pytest.mark.parametrize("name", sorted(enums_in_python()))
def test_no_number_is_used_twice(name: str) -> None:
    numbers = list(enums_in_python()[name].values())
    assert len(numbers) == len(set(numbers))
