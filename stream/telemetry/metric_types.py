"""The types of metrics, and the bounds of their histograms. The metrics are in `catalogue`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final

_UNIT_SUFFIXES: Final = {"s": "seconds", "By": "bytes", "1": "ratio"}

FAST_S: Final = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Bounds for durations well below a second."""
LATENCY_S: Final = (
    *(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0),
    *(60.0, 300.0, 1800.0, 3600.0),
)
"""Bounds for the latency of events: a backlog may be an hour old."""
LOADS_S: Final = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
"""Bounds for loading a model."""
SIZES: Final = tuple(float(1 << power) for power in range(0, 17))


@dataclass(frozen=True, slots=True, eq=False)
class _Metric:
    """One metric. unit: in OpenTelemetry's form (UCUM; `{event}` names what is counted)."""

    name: str
    unit: str
    description: str
    labels: tuple[str, ...] = ()
    type: ClassVar[str] = ""

    @property
    def prometheus_unit(self) -> str:
        """Return the unit as Prometheus names it; empty for counts."""
        return _UNIT_SUFFIXES.get(self.unit, "")

    @property
    def family(self) -> str:
        """Return the name in Prometheus without the `_total` of counters."""
        name = self.name.replace(".", "_")
        unit = self.prometheus_unit
        return name if not unit or name.endswith(f"_{unit}") else f"{name}_{unit}"

    @property
    def prometheus_name(self) -> str:
        return self.family


@dataclass(frozen=True, slots=True, eq=False)
class Counter(_Metric):
    """A value that only increases."""

    type: ClassVar[str] = "counter"

    @property
    def prometheus_name(self) -> str:
        return f"{self.family}_total"


@dataclass(frozen=True, slots=True, eq=False)
class Gauge(_Metric):
    """A value that goes up and down."""

    type: ClassVar[str] = "gauge"


@dataclass(frozen=True, slots=True, eq=False)
class Histogram(_Metric):
    """A distribution of values. bounds: ascending upper bounds of the buckets; one more bucket holds larger values."""

    bounds: tuple[float, ...] = FAST_S
    type: ClassVar[str] = "histogram"


Metric = Counter | Gauge | Histogram
