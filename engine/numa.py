"""Segments in the memory of the node whose core writes them.

A page of shared memory is taken from a node when it is first allocated, which for a segment is inside
`Segment.create`: by the memory policy of the thread that creates it, whoever uses it later. So the supervisor
prefers the writer's node for that moment.

Source: set_mempolicy(2), Linux `Documentation/admin-guide/mm/numa_memory_policy.rst`.
"""

from __future__ import annotations

import ctypes
import os
import platform
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

NODES = Path("/sys/devices/system/node")
MPOL_DEFAULT = 0
MPOL_PREFERRED = 1
SYSCALL = {"x86_64": 238, "aarch64": 237}  # of set_mempolicy


def parse_list(text: str) -> set[int]:
    """The numbers of a kernel list such as `0-3,8`."""
    numbers: set[int] = set()
    for part in text.strip().split(","):
        first, _, last = part.partition("-")
        if first:
            numbers.update(range(int(first), int(last or first) + 1))
    return numbers


def set_policy(node: int | None) -> str:
    """Take new pages of this thread from a node if it has some, None = wherever; returns why not, or ""."""
    number = SYSCALL.get(platform.machine())
    if number is None:
        return f"set_mempolicy has no known number on {platform.machine()}"
    libc = ctypes.CDLL(None, use_errno=True)
    mask = (ctypes.c_ulong * 16)()
    if node is not None:
        mask[node // 64] = 1 << (node % 64)
    mode = MPOL_DEFAULT if node is None else MPOL_PREFERRED
    argument = None if node is None else ctypes.byref(mask)
    if libc.syscall(number, mode, argument, 0 if node is None else 1025) != 0:
        return f"set_mempolicy: {os.strerror(ctypes.get_errno())}"
    return ""


@dataclass(frozen=True, slots=True)
class NumaTopology:
    """Which cores each node with memory has."""

    nodes: Mapping[int, frozenset[int]]

    @classmethod
    def read(cls, root: Path = NODES) -> NumaTopology:
        """What the kernel tells; no node at all where it tells nothing."""
        nodes = {}
        for folder in sorted(root.glob("node[0-9]*")):
            try:
                cores = frozenset(parse_list((folder / "cpulist").read_text()))
            except (OSError, ValueError):
                continue
            nodes[int(folder.name.removeprefix("node"))] = cores
        return cls(nodes)

    def node_of(self, core: int | None) -> int | None:
        """The node of a core; None if there is nothing to choose or the core is not known."""
        if core is None or len(self.nodes) < 2:
            return None
        return next((node for node, cores in self.nodes.items() if core in cores), None)


class NumaPlacement:
    """Puts segments on the node of their writer's core.

    Args:
        topology: nodes of this machine.
        cores: core of each worker slot, None = not pinned.
        enabled: False leaves every page where it falls.
        set_policy: changes the thread's memory policy; tests give their own.
    """

    def __init__(
        self,
        topology: NumaTopology,
        cores: Mapping[int, int | None],
        *,
        enabled: bool = True,
        set_policy: Callable[[int | None], str] = set_policy,
    ) -> None:
        self._topology = topology
        self._cores = cores
        self._enabled = enabled
        self._set_policy = set_policy
        self._refused = ""
        self.placed: dict[int, int] = {}

    @contextmanager
    def near(self, slot: int) -> Iterator[None]:
        """Meanwhile new pages of this thread come from the node of worker `slot`, unless it is full."""
        node = self._topology.node_of(self._cores.get(slot)) if self._enabled else None
        if node is None:
            yield
            return
        refused = self._set_policy(node)
        if refused:
            self._refused = refused
            yield
            return
        self.placed[node] = self.placed.get(node, 0) + 1
        try:
            yield
        finally:
            self._set_policy(None)

    def describe(self) -> str:
        """`held (…)` or `not held (reason)`."""
        if not self._enabled:
            return "not held (off)"
        if len(self._topology.nodes) < 2:
            return "held (one node: nothing to place)"
        if self._refused:
            return f"not held ({self._refused})"
        if not self.placed:
            return "not held (no worker is pinned)"
        return "held (" + ", ".join(f"{n} segments on node {k}" for k, n in sorted(self.placed.items())) + ")"
