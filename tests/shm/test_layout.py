"""The Python description, the C header, the Cython declarations and the golden dump are one layout."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from shm import layout

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = ROOT / "tests" / "data" / "layout.txt"
CONSTANTS = {
    "SHM_LAYOUT_VERSION": layout.LAYOUT_VERSION,
    "SHM_MAGIC": layout.MAGIC,
    "SHM_SEGMENT_HEADER_BYTES": layout.SEGMENT_HEADER_BYTES,
    "SHM_SEGMENT_NAME_BYTES": layout.SEGMENT_NAME_BYTES,
    "SHM_WORKER_SLOTS": layout.WORKER_SLOTS,
    "SHM_PAIR": layout.PAIR_BYTES,
}


def test_layout_is_the_golden_one() -> None:
    """A difference means a new SHM_LAYOUT_VERSION, or a mistake; then write the golden file anew."""
    assert layout.dump() == GOLDEN.read_text()


def test_c_compiler_sees_the_same_offsets_and_sizes(tmp_path: Path) -> None:
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler")
    lines = []
    for struct in layout.STRUCTS.values():
        lines.append(f'  printf("{struct.name} %zu\\n", sizeof({struct.name}));')
        for f in struct.fields:
            place = f"offsetof({struct.name}, {f.name}), sizeof((({struct.name} *)0)->{f.name})"
            lines.append(f'  printf("{struct.name}.{f.name} %zu %zu\\n", {place});')
    lines += [f'  printf("{name} %llu\\n", (unsigned long long){name});' for name in CONSTANTS]
    source = tmp_path / "offsets.c"
    source.write_text(
        '#include <stdio.h>\n#include "shm/native/shm_layout.h"\nint main(void) {\n'
        + "\n".join(lines)
        + "\n}\n"
    )
    program = tmp_path / "offsets"
    subprocess.run(
        [compiler, "-std=c11", "-Wall", "-Werror", f"-I{ROOT}", str(source), "-o", str(program)], check=True
    )
    seen = subprocess.run([str(program)], check=True, capture_output=True, text=True).stdout.splitlines()
    expected = []
    for struct in layout.STRUCTS.values():
        expected.append(f"{struct.name} {struct.size_bytes}")
        expected += [f"{struct.name}.{f.name} {f.offset} {f.size_bytes}" for f in struct.fields]
    expected += [f"{name} {value}" for name, value in CONSTANTS.items()]
    assert seen == expected


def test_every_struct_and_field_of_the_header_is_described() -> None:
    text = re.sub(r"/\*.*?\*/", "", (ROOT / "shm/native/shm_layout.h").read_text(), flags=re.DOTALL)
    found = {}
    for body, name in re.findall(r"typedef struct \w+ \{(.*?)\} (\w+);", text, flags=re.DOTALL):
        fields = [re.search(r"(\w+)\s*(?:\[.*\])?\s*$", d)[1] for d in body.split(";") if d.strip()]  # type: ignore[index]
        found[name] = [f for f in fields if not f.startswith("reserved")]
    described = {
        s.name: [f.name for f in s.fields if not f.name.startswith("reserved")]
        for s in layout.STRUCTS.values()
    }
    assert described == found


def test_cython_declares_the_same_fields_with_the_same_types() -> None:
    text = (ROOT / "shm/layout.pxd").read_text()
    c_types = {"u8": "uint8_t", "u16": "uint16_t", "u32": "uint32_t", "u64": "uint64_t", "i64": "int64_t",
               "a32": "shm_a32", "a64": "shm_a64"}  # fmt: skip
    for name, body in re.findall(r"ctypedef struct (\w+):\n((?:        .+\n?)+)", text):
        if name in ("shm_a64", "shm_a32"):
            continue
        declared = {
            m[1].partition("[")[0]: m[0]
            for m in re.findall(r"^        (\w+) (\S+)$", body, flags=re.MULTILINE)
        }
        described = {
            f.name: c_types.get(f.type, f.type)
            for f in layout.STRUCTS[name].fields
            if not f.name.startswith("reserved")
        }
        # The C compiler fills in the rest of an extern struct: leaving reserved words out is fine.
        assert declared.items() <= described.items(), name
        assert set(described) == set(declared), name


def test_offset_of_an_unknown_field_is_a_key_error() -> None:
    with pytest.raises(KeyError, match="no field nonsense"):
        layout.STRUCTS["shm_control"].offset("nonsense")
