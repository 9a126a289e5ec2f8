"""How much more memory this process can take: of the machine, or of its container if that has a limit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from forebay.stream.telemetry.process_usage import free_memory_bytes

_CGROUPS = Path("/sys/fs/cgroup")
_OWN_CGROUPS = Path("/proc/self/cgroup")


class _Files(NamedTuple):
    """The names of a control group's files: its limit, its usage, and the pages of files that it can drop."""

    limit: str
    usage: str
    droppable: str


_VERSION_1 = _Files("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
_VERSION_2 = _Files("memory.max", "memory.current", "inactive_file")


def available_bytes(
    *,
    cgroups: Path = _CGROUPS,
    own_cgroups: Path = _OWN_CGROUPS,
    free_bytes: Callable[[], int] = free_memory_bytes,
) -> int:
    """Return the smallest of the machine's free memory and what the limits of this process's control groups leave.

    cgroups: where the control groups are mounted; they exist on Linux only.
    own_cgroups: the file that lists those of this process.
    free_bytes: returns the machine's free memory.
    """
    return min([free_bytes(), *_left_by_limits(cgroups, own_cgroups)])


def _left_by_limits(cgroups: Path, own_cgroups: Path) -> Iterator[int]:
    for folder, files in _folders(cgroups, own_cgroups):
        with suppress(OSError, ValueError):  # no such file, or no limit
            limit = int((folder / files.limit).read_text())
            usage = int((folder / files.usage).read_text())
            yield limit - usage + _droppable(folder, files)


def _folders(cgroups: Path, own_cgroups: Path) -> Iterator[tuple[Path, _Files]]:
    """Yield the folders of the control groups of this process, and those around them, whose limits apply too."""
    try:
        lines = own_cgroups.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers not in ("", "memory"):
            continue
        root, files = (cgroups, _VERSION_2) if not controllers else (cgroups / "memory", _VERSION_1)
        own = root / path.lstrip("/")
        for folder in (own, *own.parents):
            yield folder, files
            if folder == root:
                break


def _droppable(folder: Path, files: _Files) -> int:
    with suppress(OSError, ValueError):
        for line in (folder / "memory.stat").read_text().splitlines():
            name, _, value = line.partition(" ")
            if name == files.droppable:
                return int(value)
    return 0
