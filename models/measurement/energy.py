"""Measure the energy that a computation takes: RAPL counters where they are readable, else an estimate from CPU time.

RAPL counts whole processor packages, so that everything else that runs meanwhile counts too. The files are described in the
Linux kernel's documentation of the power capping framework.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final, Literal, Protocol

EnergySource = Literal["rapl", "estimate"]

POWERCAP: Final = Path("/sys/class/powercap")
WATTS_PER_CORE: Final = 10.0
"""What the estimate assumes that a busy core takes. It is a guess about server processors, not a measurement."""

_MICROJOULES: Final = 1e6


class EnergyMeter(Protocol):
    """Adds up energy. The difference of two readings is what was used between them."""

    @property
    def source(self) -> EnergySource: ...

    @property
    def description(self) -> str:
        """How the energy is found, for people."""
        ...

    def joules(self) -> float:
        """Return the energy since the meter was made, in joules."""
        ...


class RaplMeter:
    """The counters of all processor packages. Must be read at least once in each period in which a counter wraps around."""

    source: Final = "rapl"

    def __init__(self, domains: list[Path]) -> None:
        """Take the first reading. Raises OSError or ValueError if a counter cannot be read."""
        self._files = [domain / "energy_uj" for domain in domains]
        self._ranges = [_number(domain / "max_energy_range_uj") for domain in domains]
        self._last = [_number(file) for file in self._files]
        self._total = 0

    @property
    def description(self) -> str:
        """How the energy is found, for people."""
        return f"RAPL, {len(self._files)} processor package{'s' if len(self._files) > 1 else ''}, all processes"

    def joules(self) -> float:
        """Return the energy since the meter was made. Raises OSError if a counter cannot be read any more."""
        found = [_number(file) for file in self._files]
        for now, before, largest in zip(found, self._last, self._ranges, strict=True):
            self._total += now - before if now >= before else now - before + largest
        self._last = found
        return self._total / _MICROJOULES


class EstimateMeter:
    """An estimate: the CPU time of this process, at a fixed power for each busy core."""

    source: Final = "estimate"

    def __init__(self, cpu_s: Callable[[], float], watts_per_core: float = WATTS_PER_CORE) -> None:
        self._cpu_s = cpu_s
        self._watts = watts_per_core
        self._first_s = cpu_s()

    @property
    def description(self) -> str:
        """How the energy is found, for people."""
        return f"an estimate: CPU time at {self._watts:g} W a core, because RAPL is not readable here"

    def joules(self) -> float:
        """Return the estimated energy since the meter was made."""
        return (self._cpu_s() - self._first_s) * self._watts


def find_energy_meter(
    cpu_s: Callable[[], float], *, powercap: Path = POWERCAP, watts_per_core: float = WATTS_PER_CORE
) -> EnergyMeter:
    """Return a meter of RAPL counters if they can be read here, else an estimate.

    cpu_s: returns the CPU time of this process in seconds, as `time.process_time` does.
    """
    domains = rapl_packages(powercap)
    if domains:
        try:
            return RaplMeter(domains)
        except (OSError, ValueError):  # since 2020 only root may read the counters
            pass
    return EstimateMeter(cpu_s, watts_per_core)


def rapl_packages(powercap: Path = POWERCAP) -> list[Path]:
    """Return the folders of the processor packages. Their parts, such as the cores, are counted in them."""
    try:
        folders = sorted(path for path in powercap.iterdir() if path.name.startswith("intel-rapl:"))
    except OSError:
        return []
    return [folder for folder in folders if folder.name.count(":") == 1 and _name(folder).startswith("package")]


def _name(folder: Path) -> str:
    try:
        return (folder / "name").read_text().strip()
    except OSError:
        return ""


def _number(file: Path) -> int:
    return int(file.read_text())
