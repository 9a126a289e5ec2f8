"""What a bug report needs to know about the machine and the installation."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path
from typing import Final

from forebay.stream import native
from forebay.stream.bench.host_info import describe_host, installed_version

CGROUP: Final = Path("/sys/fs/cgroup")
_REQUIREMENT: Final = re.compile(r"^([A-Za-z0-9._-]+)[^;]*(?:;.*extra\s*==\s*['\"]([^'\"]+)['\"])?")
_OWN_EXTRAS: Final = ("bench", "dev", "dist", "docs", "test")
"""Extras for work on Forebay itself, and for its benchmarks."""


def describe_environment(cgroup: Path = CGROUP) -> dict[str, object]:
    """Return the machine, its limits for this process, and the versions of what is installed, by extra."""
    host = describe_host()
    return {
        "forebay": installed_version("forebay"),
        "python": host["python"],
        "system": host["system"],
        "processor": host["processor"],
        "cores": host["cores"],
        "memory_mib": _memory_mib(),
        "limits": _limits(cgroup),
        "compiled": native.description(),
        "packages": installed_packages(),
    }


def installed_packages() -> dict[str, dict[str, str | None]]:
    """Return the version of each required package by extra, "" for those that are always needed; None if it is missing."""
    found: dict[str, dict[str, str | None]] = {"": {}}
    for line in _requirements():
        match = _REQUIREMENT.match(line)
        if match is None or match[1] == "forebay" or match[2] in _OWN_EXTRAS:
            continue
        found.setdefault(match[2] or "", {})[match[1]] = installed_version(match[1])
    return found


def _requirements() -> list[str]:
    try:
        return requires("forebay") or []
    except PackageNotFoundError:
        return []


def _memory_mib() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20
    except (OSError, ValueError):
        return None


def _limits(cgroup: Path) -> Mapping[str, str]:
    """Return the limits of the container, as the system states them."""
    found = {}
    for name in ("memory.max", "cpu.max"):
        try:
            text = (cgroup / name).read_text().strip()
        except OSError:
            continue
        if not text.startswith("max"):
            found[name] = text
    return found
