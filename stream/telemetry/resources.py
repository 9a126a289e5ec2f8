"""Gauges of what the process takes of its machine, and how busy its GPUs are; and of the release that runs."""

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
    """This process's processor time and memory."""

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
    """The GPUs that this process may use, by their numbers in the driver. Without driver or `nvidia-ml-py` it does nothing."""

    def __init__(self, store: MetricStore, *, visible: str | None) -> None:
        """visible: what CUDA_VISIBLE_DEVICES says, numbers or UUIDs; None where it is not set."""
        self._store = store
        self._nvml = _load()
        self._gpus: dict[str, Any] = {} if self._nvml is None else _choose(self._nvml, visible)

    def sample(self) -> None:
        nvml = self._nvml
        if nvml is None:
            return
        for number, handle in self._gpus.items():
            try:
                memory = nvml.nvmlDeviceGetMemoryInfo(handle)
                busy = nvml.nvmlDeviceGetUtilizationRates(handle).gpu
            except nvml.NVMLError as error:
                log.debug("GPU %s: %s", number, error)
                continue
            self._store.set(c.GPU_MEMORY, memory.used, (number,))
            self._store.set(c.GPU_MEMORY_LIMIT, memory.total, (number,))
            self._store.set(c.GPU_UTILIZATION, busy / 100, (number,))


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
    for number in range(nvml.nvmlDeviceGetCount()):
        handle = nvml.nvmlDeviceGetHandleByIndex(number)
        if wanted is None or str(number) in wanted or nvml.nvmlDeviceGetUUID(handle) in wanted:
            chosen[str(number)] = handle
    return chosen


def visible_gpus() -> str | None:
    """What the environment says of them."""
    return os.environ.get("CUDA_VISIBLE_DEVICES")
