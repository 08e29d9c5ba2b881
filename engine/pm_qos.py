"""Hold the processor out of deep idle states while the engine trades.

Source: Linux `Documentation/power/pm_qos_interface.rst`: a process that keeps /dev/cpu_dma_latency open
with a 32-bit value written to it limits the wake latency of every core, in µs, until it closes the file.
"""

from __future__ import annotations

import os
import struct

DEVICE = "/dev/cpu_dma_latency"


class PmQos:
    """The held (or not held) limit on wake latency.

    Args:
        device: path of the PM QoS file.
    """

    def __init__(self, device: str = DEVICE) -> None:
        self._device = device
        self._fd = -1
        self._reason = "not asked for"

    def hold(self) -> bool:
        """Ask for zero wake latency; returns whether it is held. Never raises: `describe` has the reason."""
        if self._fd >= 0:
            return True
        try:
            fd = os.open(self._device, os.O_WRONLY | os.O_CLOEXEC)
        except OSError as error:
            self._reason = f"{self._device}: {error.strerror}"
            return False
        try:
            os.write(fd, struct.pack("=i", 0))
        except OSError as error:
            os.close(fd)
            self._reason = f"{self._device}: {error.strerror}"
            return False
        self._fd = fd
        return True

    @property
    def held(self) -> bool:
        """Whether the limit is in force."""
        return self._fd >= 0

    def describe(self) -> str:
        """`held`, or `not held (reason)`; every figure names it."""
        return "held" if self.held else f"not held ({self._reason})"

    def release(self) -> None:
        """Give the limit back; safe to call twice."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
            self._reason = "released"
