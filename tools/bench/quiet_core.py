"""One core for a measurement, kept out of deep idle states, and the facts of the machine it was taken on."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from engine.pm_qos import PmQos
from profiles.machine import machine_facts


@dataclass(slots=True)
class QuietCore:
    """Where a measurement runs.

    Attributes:
        own: the core this process is on meanwhile.
        other: a core for another process; the same where there is only one.
        facts: of the machine, PM QoS as it was; filled when the measurement ends.
    """

    own: int
    other: int
    facts: dict[str, object] = field(default_factory=dict)


@contextmanager
def quiet_core(*, hold_pm_qos: bool) -> Iterator[QuietCore]:
    """Run what is inside on one core; afterwards the process may run where it could before.

    Args:
        hold_pm_qos: keep the cores out of deep idle states meanwhile, if permitted.
    """
    cores = os.sched_getaffinity(0)
    core = QuietCore(min(cores), max(cores))
    qos = PmQos()
    if hold_pm_qos:
        qos.hold()
    try:
        os.sched_setaffinity(0, {core.own})
        yield core
    finally:
        os.sched_setaffinity(0, cores)
        pm_qos = qos.describe()
        qos.release()
        core.facts = machine_facts(pm_qos=pm_qos)
