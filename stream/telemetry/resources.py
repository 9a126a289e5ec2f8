"""What the process takes of its machine, and how busy its GPUs are."""

from __future__ import annotations

import logging
import os
from types import ModuleType
from typing import Any

import psutil

from forebay.stream.telemetry import catalogue as c
from forebay.stream.telemetry.book import Book

log = logging.getLogger(__name__)


class ProcessMeter:
    """This process's processor time and memory."""

    def __init__(self, book: Book) -> None:
        self._book = book
        self._process = psutil.Process()
        book.set(c.PROCESS_START, self._process.create_time())

    def sample(self) -> None:
        with self._process.oneshot():
            times, memory = self._process.cpu_times(), self._process.memory_info()
        self._book.reached(c.PROCESS_CPU, times.user + times.system)
        self._book.set(c.PROCESS_MEMORY, memory.rss)


class GpuMeter:
    """The GPUs that this process may use, by their numbers in the driver. Without driver or `nvidia-ml-py` it does nothing."""

    def __init__(self, book: Book, *, visible: str | None) -> None:
        """visible: what CUDA_VISIBLE_DEVICES says, numbers or UUIDs; None where it is not set."""
        self._book = book
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
            self._book.set(c.GPU_MEMORY, memory.used, (number,))
            self._book.set(c.GPU_MEMORY_LIMIT, memory.total, (number,))
            self._book.set(c.GPU_UTILIZATION, busy / 100, (number,))


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
