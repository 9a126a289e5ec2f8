"""The resources of this process for outcome deltas: CPU time, memory, and memory on GPUs."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

from forebay.stream.core.clock import Clock
from forebay.stream.rollouts.performance import ProcessUsage
from forebay.stream.telemetry.process_usage import ProcessMeter

MEMORY_INTERVAL_S = 1.0
"""Reading the memory takes a tenth of a millisecond, so not every commit reads it again."""


class ProcessReport:
    """Returns what the process has used since the last call. Not for concurrent use.

    gpu_memory: returns the bytes that the process holds on its GPUs; None if this is not known.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        gpu_memory: Callable[[], int] | None = None,
        cpu_s: Callable[[], float] = time.process_time,
        memory: Callable[[], int | None] | None = None,
    ) -> None:
        self._clock = clock
        self._gpu_memory = gpu_memory
        self._cpu_s = cpu_s
        self._memory = memory or _resident_memory()
        self._reported_s = cpu_s()
        self._read_at_s: float | None = None
        self._sizes: tuple[int | None, int | None] = (None, None)

    def __call__(self) -> ProcessUsage:
        """Return the CPU seconds since the last call, and the memory of the last second."""
        now_s, cpu_s = self._clock.monotonic_s(), self._cpu_s()
        if self._read_at_s is None or now_s - self._read_at_s >= MEMORY_INTERVAL_S:
            self._read_at_s = now_s
            self._sizes = self._memory(), None if self._gpu_memory is None else self._gpu_memory()
        used_s, self._reported_s = cpu_s - self._reported_s, cpu_s
        return ProcessUsage(max(used_s, 0.0), *self._sizes)


def gpu_memory_reader(devices: list[str]) -> Callable[[], int] | None:
    """Return what reads the memory on GPUs; None if no model runs on one in torch."""
    if not any(device.startswith("cuda") for device in devices) or "torch" not in sys.modules:
        return None
    from forebay.models.backends.torch.device import reserved_bytes

    return reserved_bytes


def _resident_memory() -> Callable[[], int | None]:
    meter = ProcessMeter()

    def read() -> int | None:
        usage = meter.usage()
        return None if usage is None else usage.rss_bytes

    return read
