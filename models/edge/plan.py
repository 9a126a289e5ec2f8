"""Which versions fit the limits of a device, by what they are expected to need there. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from forebay.models.edge.device_profile import DeviceProfile
from forebay.models.edge.limits import Limits
from forebay.models.edge.unit_costs import OperationCounts, Prediction, UnitCosts, predict

ESTIMATED_WATTS: Final = 5.0
"""Power of a busy core where the profile does not state it: an estimate, in the middle of what small processors take."""

_VECTOR_LANES: Final = (("AVX512F", 16), ("AVX2", 8), ("AVX", 8))
_LEAST_LANES: Final = 4
"""Numbers of float32 in one instruction; NEON and SSE have 4."""
_RATES: Final = ("accuracy", "roc_auc", "r2", "f1")
_ERRORS: Final = ("loss", "rmse", "mae")


@dataclass(frozen=True, slots=True)
class Excess:
    """A limit that a version does not keep. what: size, memory, p99 or power."""

    what: str
    value: float
    limit: float

    @property
    def factor(self) -> float:
        """By what factor the value is above the limit."""
        return self.value / self.limit


@dataclass(frozen=True, slots=True)
class PlannedVersion:
    """A version on the device.

    parent: the version that it was made from; None if there is none.
    prediction, model_bytes, power_watts: what it is expected to need; None if it cannot be exported, for the reason `refused`.
    """

    name: str
    version: int
    parent: int | None
    metrics: Mapping[str, float]
    model_bytes: int | None = None
    prediction: Prediction | None = None
    power_watts: float | None = None
    excesses: tuple[Excess, ...] = ()
    refused: str = ""

    @property
    def fits(self) -> bool:
        """Whether it can be exported and keeps all limits."""
        return self.prediction is not None and not self.excesses

    @property
    def reference(self) -> str:
        return f"{self.name}@{self.version}"

    def to_dict(self) -> dict[str, object]:
        """Return the plan of this version as JSON values."""
        expected = self.prediction
        return {
            "name": self.name,
            "version": self.version,
            "parent": self.parent,
            "fits": self.fits,
            "model_bytes": self.model_bytes,
            "memory_bytes": None if expected is None else round(expected.memory_bytes),
            "p50_ms": None if expected is None else expected.p50_ms,
            "p99_ms": None if expected is None else expected.p99_ms,
            "power_watts": self.power_watts,
            "exceeds": [{"what": item.what, "value": item.value, "limit": item.limit} for item in self.excesses],
            "refused": self.refused,
            "metrics": dict(self.metrics),
        }


@dataclass(frozen=True, slots=True)
class Load:
    """How a device is used. rate: predictions per second. active_watts: power of a busy core."""

    rate: float = 1.0
    active_watts: float = ESTIMATED_WATTS


def power_of(profile: DeviceProfile) -> tuple[float, bool]:
    """Return the power of a busy core, and whether it is an estimate."""
    stated = profile.power.active_watts
    return (stated, False) if stated > 0 else (ESTIMATED_WATTS, True)


def costs_of(profile: DeviceProfile, here: DeviceProfile) -> UnitCosts:
    """Return the unit costs of a device: those measured there, or else those of this machine, scaled.

    here: this machine, with its measured costs. What is computed scales with frequency and width of vectors, what is fixed
    with frequency alone; what is not known of the device counts as here.
    """
    if profile.unit_costs is not None:
        return profile.unit_costs
    assert here.unit_costs is not None, "this machine has been measured"
    clock = profile.processor.mhz / here.processor.mhz if profile.processor.mhz and here.processor.mhz else 1.0
    lanes = _lanes(profile) / _lanes(here) if profile.processor.instruction_sets else 1.0
    return here.unit_costs.scaled(clock, vector=clock * lanes)


def check_limits(model_bytes: int, expected: Prediction, power_watts: float, limits: Limits) -> tuple[Excess, ...]:
    """Return the limits that are not kept."""
    pairs = (
        ("size", float(model_bytes), limits.model_bytes),
        ("memory", expected.memory_bytes, limits.memory_bytes),
        ("p99", expected.p99_ms, limits.p99_ms),
        ("power", power_watts, limits.power_watts),
    )
    return tuple(Excess(what, value, limit) for what, value, limit in pairs if limit is not None and value > limit)


def plan_version(
    version: PlannedVersion, counts: OperationCounts, costs: UnitCosts, *, limits: Limits, load: Load
) -> PlannedVersion:
    """Return a version with what it is expected to need. version: with its `model_bytes`."""
    assert version.model_bytes is not None, "the graph has been built"
    expected = predict(counts, costs)
    busy = min(1.0, load.rate * expected.p50_ms / 1e3)
    power_watts = busy * load.active_watts
    return PlannedVersion(
        version.name,
        version.version,
        version.parent,
        version.metrics,
        model_bytes=version.model_bytes,
        prediction=expected,
        power_watts=power_watts,
        excesses=check_limits(version.model_bytes, expected, power_watts, limits),
    )


def shared_metric(versions: Sequence[PlannedVersion]) -> str | None:
    """Return the metric by which the versions are compared: the first known one that all of them have."""
    return next(
        (name for name in (*_RATES, *_ERRORS) if versions and all(name in version.metrics for version in versions)),
        None,
    )


def best_version(versions: Sequence[PlannedVersion]) -> PlannedVersion | None:
    """Return the version to export: of those that fit, the best by their shared metric, then the fastest."""
    fitting = [version for version in versions if version.fits]
    metric = shared_metric(fitting)
    sign = 1.0 if metric in _ERRORS else -1.0

    def rank(version: PlannedVersion) -> tuple[float, float]:
        assert version.prediction is not None, "it fits"
        return (0.0 if metric is None else sign * version.metrics[metric], version.prediction.p50_ms)

    return min(fitting, key=rank, default=None)


def _lanes(profile: DeviceProfile) -> int:
    sets = profile.processor.instruction_sets
    return next((lanes for name, lanes in _VECTOR_LANES if name in sets), _LEAST_LANES)
