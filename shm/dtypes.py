"""The records of `native/shm_layout.h` as numpy structured types, derived from `layout`'s description."""

from __future__ import annotations

import functools

import numpy as np

from shm.errors import LayoutError
from shm.layout import STRUCTS

_FORMATS = {
    "u8": "<u1", "u16": "<u2", "u32": "<u4", "u64": "<u8", "i64": "<i8", "a32": "<u4", "a64": "<u8",
}  # fmt: skip


@functools.cache
def record_dtype(struct_name: str) -> np.dtype[np.void]:
    """Return the type of one struct: field names, offsets and size exactly as in the header.

    Args:
        struct_name: as in `layout.STRUCTS`, "shm_market_record" for example.

    Returns:
        A structured type. Arrays in it are sub-arrays ("value" of a market record has shape (4,)), text is
        bytes without the zeros behind it, pads have no field.

    Raises:
        LayoutError: There is no such struct.
    """
    if struct_name not in STRUCTS:
        raise LayoutError(f"no struct {struct_name!r} in the layout")
    struct = STRUCTS[struct_name]
    formats: list[object] = []
    for f in struct.fields:
        if f.type == "char":
            formats.append(f"S{f.count}")
            continue
        element = record_dtype(f.type) if f.type in STRUCTS else np.dtype(_FORMATS[f.type])
        formats.append(element if f.count == 1 else (element, (f.count,)))
    # The description as a dictionary is right for numpy and unknown to its stubs.
    return np.dtype(
        {  # type: ignore[call-overload, no-any-return, unused-ignore]
            "names": [f.name for f in struct.fields],
            "formats": formats,
            "offsets": [f.offset for f in struct.fields],
            "itemsize": struct.size_bytes,
        }
    )


def slot_dtype(dtype: np.dtype[np.void], slot_bytes: int) -> np.dtype[np.void]:
    """Return a record's type stretched to the slots it stands in.

    Args:
        dtype: Type of the record; one smaller than the slot must be a structured type.
        slot_bytes: Bytes of a slot.

    Raises:
        LayoutError: The record does not fit the slot, or is no structured type and smaller.
    """
    if dtype.hasobject:
        raise LayoutError("a ring holds no Python objects")
    if dtype.itemsize == slot_bytes:
        return dtype
    if dtype.itemsize > slot_bytes or dtype.names is None or dtype.fields is None:
        raise LayoutError(f"records of {dtype.itemsize} bytes do not stand in slots of {slot_bytes}")
    fields = [dtype.fields[name] for name in dtype.names]
    return np.dtype(
        {  # type: ignore[call-overload, no-any-return, unused-ignore]
            "names": list(dtype.names),
            "formats": [f[0] for f in fields],
            "offsets": [f[1] for f in fields],
            "itemsize": slot_bytes,
        }
    )
