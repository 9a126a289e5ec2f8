"""Gauges of the process's CPU and memory, of its GPUs, and of the release."""

from __future__ import annotations

import importlib.metadata
import logging
import os
import platform
from types import ModuleType
from typing import Any

from forebay.stream.telemetry import catalogue as c
from forebay.stream.telemetry.metric_store import MetricStore
from forebay.stream.telemetry.process_usage import ProcessMeter

log = logging.getLogger("forebay.telemetry")


def record_build(store: MetricStore) -> None:
    """Record the release of Forebay and the version of Python."""
    store.set(c.BUILD_INFO, 1, (importlib.metadata.version("forebay"), platform.python_version()))


class ProcessGauges:
    """Gauges of the CPU time and memory of this process."""

    def __init__(self, store: MetricStore) -> None:
        self._store = store
        self._meter = ProcessMeter()
        store.set(c.PROCESS_START, self._meter.started_at_s)

    def sample(self) -> None:
        usage = self._meter.usage()
        if usage is not None:
            self._store.set_total(c.PROCESS_CPU, usage.cpu_s)
            self._store.set(c.PROCESS_MEMORY, usage.rss_bytes)


class GpuMeter:
    """Gauges of the GPUs that this process may use, by index. Does nothing without a driver or `nvidia-ml-py`."""

    def __init__(self, store: MetricStore, *, visible: str | None) -> None:
        """visible: value of CUDA_VISIBLE_DEVICES, indexes or UUIDs; None if it is not set."""
        self._store = store
        self._nvml = _load()
        self._gpus: dict[str, Any] = {} if self._nvml is None else _choose(self._nvml, visible)

    def sample(self) -> None:
        nvml = self._nvml
        if nvml is None:
            return
        for index, handle in self._gpus.items():
            try:
                memory = nvml.nvmlDeviceGetMemoryInfo(handle)
                busy = nvml.nvmlDeviceGetUtilizationRates(handle).gpu
            except nvml.NVMLError as error:
                log.debug("GPU %s: %s", index, error)
                continue
            self._store.set(c.GPU_MEMORY, memory.used, (index,))
            self._store.set(c.GPU_MEMORY_LIMIT, memory.total, (index,))
            self._store.set(c.GPU_UTILIZATION, busy / 100, (index,))


def _load() -> ModuleType | None:
    try:
        import pynvml
    except ImportError:
        return None
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return None
    return pynvml  # type: ignore[no-any-return]


def _choose(nvml: Any, visible: str | None) -> dict[str, Any]:
    wanted = None if visible is None else {part.strip() for part in visible.split(",")}
    chosen = {}
    for index in range(nvml.nvmlDeviceGetCount()):
        handle = nvml.nvmlDeviceGetHandleByIndex(index)
        if wanted is None or str(index) in wanted or nvml.nvmlDeviceGetUUID(handle) in wanted:
            chosen[str(index)] = handle
    return chosen


def visible_gpus() -> str | None:
    """Return the value of CUDA_VISIBLE_DEVICES; None if it is not set."""
    return os.environ.get("CUDA_VISIBLE_DEVICES")
