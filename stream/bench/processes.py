"""What a process costs: the only module here that asks psutil."""

from __future__ import annotations

from dataclasses import dataclass

import psutil


@dataclass(frozen=True, slots=True)
class Usage:
    """CPU seconds (user and system, all threads) since the process began, and its resident memory.

    own_bytes: of that what is its own: all but the pages of files, such as libraries, which the system lends and takes
    back as it likes. All of it where the system does not tell.
    """

    cpu_s: float
    rss_bytes: int
    own_bytes: int


class ProcessMeter:
    """Looks at one process."""

    def __init__(self, pid: int) -> None:
        self._process = psutil.Process(pid)

    def usage(self) -> Usage | None:
        """None where the process is gone."""
        try:
            times, memory = self._process.cpu_times(), self._process.memory_info()
        except psutil.Error:
            return None
        return Usage(times.user + times.system, memory.rss, memory.rss - getattr(memory, "shared", 0))
