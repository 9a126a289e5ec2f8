"""The paired comparison of a shadow with the version that served: both predicted the same events.

Shapes: B pairs, O outputs of a version. Comparisons of the same two versions can be added up: those of several workers, or of
several hours.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from forebay.stream.core.records import FloatMatrix
from forebay.stream.rollouts.value_histogram import ValueHistogram

Z_95: Final = 1.959964
"""The 97.5th percentile of the normal distribution: both tails together leave 5 %."""
QUANTILES: Final = {"p50": 0.5, "p90": 0.9, "p99": 0.99}


class Side(NamedTuple):
    """What one version predicted for B events, in one call or several.

    values_BO, classes_B: as in `BatchResult`. Entries of failed events are undefined.
    failed_B: which events failed.
    call_s: the duration of the model call.
    num_rows: number of events in that call.
    cpu_s: the CPU time of the thread in that call; 0 if unknown, or if another device computes.
    """

    values_BO: FloatMatrix
    classes_B: npt.NDArray[np.int64] | None
    failed_B: npt.NDArray[np.bool_]
    call_s: float
    num_rows: int
    cpu_s: float = 0.0


@dataclass(slots=True)
class Latency:
    """Durations of model calls; each event counts the call that it was in.

    row_s: sum of the calls' seconds by row: of CPU time where it is known, else of their durations.
    """

    calls: ValueHistogram = field(default_factory=ValueHistogram)
    row_s: float = 0.0

    def add(self, call_s: float, num_rows: int, *, events: int, cpu_s: float) -> None:
        """Add events of one call."""
        self.calls.add_repeated(call_s, events)
        self.row_s += events * (cpu_s or call_s) / max(1, num_rows)

    def add_events(
        self,
        call_s_B: npt.NDArray[np.float64],
        num_rows_B: npt.NDArray[np.int64],
        *,
        cpu_s_B: npt.NDArray[np.float64],
    ) -> None:
        """Add events with the call of each."""
        self.calls.add(call_s_B)
        self.row_s += float((np.where(cpu_s_B > 0, cpu_s_B, call_s_B) / np.maximum(num_rows_B, 1)).sum())

    def merge(self, other: Latency) -> None:
        self.calls.merge(other.calls)
        self.row_s += other.row_s

    def to_dict(self) -> dict[str, float | None]:
        """Return the median and the 99th percentile in milliseconds."""
        return {f"{name}_ms": _milliseconds(self.calls.quantile(QUANTILES[name])) for name in ("p50", "p99")}


@dataclass(slots=True)
class PairedComparison:
    """Counts and distributions over pairs of predictions.

    agreed, disagreed: pairs of classes that are equal or not; both zero for regression.
    primary_failures, shadow_failures: events that failed on this side only.
    both_failed: events that failed on both.
    incomparable: pairs of predictions with different numbers of outputs.
    differences: of a pair, the largest absolute difference of an output.
    signed_total: sum of the differences shadow - primary, of versions with one output.
    """

    events: int = 0
    agreed: int = 0
    disagreed: int = 0
    primary_failures: int = 0
    shadow_failures: int = 0
    both_failed: int = 0
    incomparable: int = 0
    differences: ValueHistogram = field(default_factory=ValueHistogram)
    signed_total: float = 0.0
    has_one_output: bool = True
    primary_latency: Latency = field(default_factory=Latency)
    shadow_latency: Latency = field(default_factory=Latency)

    def add(self, primary: Side, shadow: Side) -> None:
        """Add B pairs, each side with its call."""
        self.add_outputs(primary, shadow)
        events = len(primary.failed_B)
        self.primary_latency.add(primary.call_s, primary.num_rows, events=events, cpu_s=primary.cpu_s)
        self.shadow_latency.add(shadow.call_s, shadow.num_rows, events=events, cpu_s=shadow.cpu_s)

    def add_outputs(self, primary: Side, shadow: Side) -> None:
        """Add B pairs without their latencies."""
        events = len(primary.failed_B)
        self.events += events
        self.primary_failures += int((primary.failed_B & ~shadow.failed_B).sum())
        self.shadow_failures += int((shadow.failed_B & ~primary.failed_B).sum())
        self.both_failed += int((shadow.failed_B & primary.failed_B).sum())
        both_B = ~(primary.failed_B | shadow.failed_B)
        if primary.classes_B is not None and shadow.classes_B is not None:
            agreed = int((primary.classes_B[both_B] == shadow.classes_B[both_B]).sum())
            self.agreed += agreed
            self.disagreed += int(both_B.sum()) - agreed
        differences_B = row_differences(primary, shadow)
        if differences_B is None:
            self.incomparable += int(both_B.sum())
        else:
            self.differences.add(differences_B[both_B])
            if primary.values_BO.shape[1] == 1:
                signed_B = shadow.values_BO[both_B, 0].astype(np.float64) - primary.values_BO[both_B, 0]
                self.signed_total += float(signed_B.sum())
            else:
                self.has_one_output = False

    def merge(self, other: PairedComparison) -> None:
        """Add the pairs of another comparison of the same versions."""
        self.events += other.events
        self.agreed += other.agreed
        self.disagreed += other.disagreed
        self.primary_failures += other.primary_failures
        self.shadow_failures += other.shadow_failures
        self.both_failed += other.both_failed
        self.incomparable += other.incomparable
        self.differences.merge(other.differences)
        self.signed_total += other.signed_total
        self.has_one_output &= other.has_one_output
        self.primary_latency.merge(other.primary_latency)
        self.shadow_latency.merge(other.shadow_latency)

    @property
    def mean_difference(self) -> float | None:
        """The mean of shadow - primary, for versions with one output; None for others and without pairs."""
        return self.signed_total / self.differences.count if self.differences.count and self.has_one_output else None

    @property
    def time_ratio(self) -> float | None:
        """How many times as long as the primary the shadow takes for an event; None if there is nothing to compare."""
        return self.shadow_latency.row_s / self.primary_latency.row_s if self.primary_latency.row_s else None

    def to_dict(self) -> dict[str, Any]:
        """Return the comparison as JSON values."""
        classified = self.agreed + self.disagreed
        low, high = agreement_interval(self.agreed, classified) if classified else (None, None)
        return {
            "events": self.events,
            "agreement": {
                "agreed": self.agreed,
                "disagreed": self.disagreed,
                "share": self.agreed / classified if classified else None,
                "low": low,
                "high": high,
            },
            "failures": {
                "primary_only": self.primary_failures,
                "shadow_only": self.shadow_failures,
                "both": self.both_failed,
            },
            "differences": {
                "compared": self.differences.count,
                "incomparable": self.incomparable,
                "mean": self.mean_difference,
                **{name: self.differences.quantile(share) for name, share in QUANTILES.items()},
                "max": self.differences.largest if self.differences.count else None,
            },
            "latency": {
                "primary": self.primary_latency.to_dict(),
                "shadow": self.shadow_latency.to_dict(),
                "time_ratio": self.time_ratio,
            },
        }


def row_differences(primary: Side, shadow: Side) -> npt.NDArray[np.float64] | None:
    """Return the largest absolute difference of an output for each pair; None if the numbers of outputs differ.

    Entries of failed events are undefined.
    """
    if primary.values_BO.shape[1] != shadow.values_BO.shape[1]:
        return None
    with np.errstate(invalid="ignore", over="ignore"):
        differences_BO = np.abs(shadow.values_BO.astype(np.float64) - primary.values_BO)
    largest_B: npt.NDArray[np.float64] = differences_BO.max(axis=1, initial=0.0)
    return largest_B


def agreement_interval(agreed: int, count: int) -> tuple[float, float]:
    """Return the 95 % confidence interval of a share, Wilson's, which holds for shares near 0 and 1 too. count > 0."""
    share, z2 = agreed / count, Z_95**2
    centre = (share + z2 / (2 * count)) / (1 + z2 / count)
    half = Z_95 / (1 + z2 / count) * math.sqrt(share * (1 - share) / count + z2 / (4 * count**2))
    return max(0.0, centre - half), min(1.0, centre + half)


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 3)
