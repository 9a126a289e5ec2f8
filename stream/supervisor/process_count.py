"""How many processes `--processes auto` starts: the cores that this process may use, and partitions to read."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

_CGROUPS: Final = Path("/sys/fs/cgroup")
_OWN_CGROUPS: Final = Path("/proc/self/cgroup")
_VERSION_1_MOUNTS: Final = ("cpu", "cpu,cpuacct")


def automatic_count(*, cores: int, partitions: int) -> int:
    """Return the number of processes: one for each usable core, but not more than there are partitions; at least 1."""
    return max(1, min(cores, partitions))


def usable_cores(
    *,
    cgroups: Path = _CGROUPS,
    own_cgroups: Path = _OWN_CGROUPS,
    affinity: Callable[[], int] | None = None,
) -> int:
    """Return how many cores this process may use: by its affinity and by the quotas of its control groups, rounded down.

    cgroups: where the control groups are mounted; they exist on Linux only.
    own_cgroups: the file that lists those of this process.
    affinity: returns the number of cores on which it may run.
    """
    limits = [float((affinity or _affinity)()), *_quotas(cgroups, own_cgroups)]
    return max(1, int(min(limits)))


def _affinity() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _quotas(cgroups: Path, own_cgroups: Path) -> Iterator[float]:
    """Yield the quota in cores of each control group of this process, and of those around it, whose quotas apply too."""
    try:
        lines = own_cgroups.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if not controllers:
            for folder in _with_parents(cgroups, path):
                yield from _version_2(folder)
        elif "cpu" in controllers.split(","):
            for mount in _VERSION_1_MOUNTS:
                for folder in _with_parents(cgroups / mount, path):
                    yield from _version_1(folder)


def _with_parents(root: Path, path: str) -> Iterator[Path]:
    own = root / path.lstrip("/")
    for folder in (own, *own.parents):
        yield folder
        if folder == root:
            return


def _version_2(folder: Path) -> Iterator[float]:
    with suppress(OSError, ValueError, ZeroDivisionError):  # no such file, or `max`: no limit
        quota, _, period = (folder / "cpu.max").read_text().partition(" ")
        yield int(quota) / int(period or 100_000)


def _version_1(folder: Path) -> Iterator[float]:
    with suppress(OSError, ValueError, ZeroDivisionError):
        quota = int((folder / "cpu.cfs_quota_us").read_text())
        period = int((folder / "cpu.cfs_period_us").read_text())
        if quota > 0:
            yield quota / period
