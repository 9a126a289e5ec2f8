"""What the pairs on `shadow-predictions` say about shadows: a comparison for each two versions, and where they differ most."""

from __future__ import annotations

import heapq
import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any, NamedTuple

import msgspec
import numpy as np

from forebay.stream.core.records import TopicPartition
from forebay.stream.rollouts.comparison import PairedComparison, Side, row_differences
from forebay.stream.rollouts.shadow_prediction import PredictedSide, ShadowPair


class Versions(NamedTuple):
    """The versions of a pair."""

    primary: int
    shadow: int


class Difference(NamedTuple):
    """A pair with the largest difference of its outputs; infinity if they cannot be compared and the classes differ."""

    size: float
    pair: ShadowPair

    def to_dict(self) -> dict[str, Any]:
        """Return the pair as JSON values."""
        pair: dict[str, Any] = msgspec.to_builtins(self.pair)
        source = pair["source"]
        return {
            "id": pair["id"],
            **source,
            "difference": self.size if math.isfinite(self.size) else None,
            "primary": pair["primary"],
            "shadow": pair["shadow"],
        }


@dataclass(slots=True)
class VersionReport:
    """The comparison of a shadow with one version that served.

    repeated: pairs of events that were read before. They are not counted again.
    """

    comparison: PairedComparison = field(default_factory=PairedComparison)
    repeated: int = 0
    first_ms: int | None = None
    last_ms: int | None = None
    _largest: list[tuple[float, int, ShadowPair]] = field(default_factory=list)
    _read_to: dict[TopicPartition, tuple[int, int]] = field(default_factory=dict)

    def is_new(self, pair: ShadowPair) -> bool:
        """Return whether the event of a pair is a new one, and count it as repeated if it is not."""
        source = pair.source
        place = TopicPartition(source.topic, source.partition)
        position = (source.offset, source.row or 0)
        if position <= self._read_to.get(place, (-1, 0)):
            self.repeated += 1
            return False
        self._read_to[place] = position
        self.first_ms = source.timestamp if self.first_ms is None else min(self.first_ms, source.timestamp)
        self.last_ms = source.timestamp if self.last_ms is None else max(self.last_ms, source.timestamp)
        return True

    def keep(self, size: float, pair: ShadowPair, *, number: int, limit: int) -> None:
        """Keep a pair if it is among the `limit` that differ most. number: of two equal sizes, the larger number is kept."""
        if len(self._largest) < limit:
            heapq.heappush(self._largest, (size, number, pair))
        elif self._largest and (size, number) > self._largest[0][:2]:
            heapq.heapreplace(self._largest, (size, number, pair))

    def largest(self) -> list[Difference]:
        """Return the pairs that differ most, the largest difference first."""
        return [
            Difference(size, pair) for size, _, pair in sorted(self._largest, key=lambda entry: (-entry[0], -entry[1]))
        ]


class ShadowReport:
    """Collects the pairs of one model. Add those of each partition of the topic in order.

    A worker that reads events again writes their pairs again. Pairs of a partition arrive in offset order otherwise, so a pair
    at or below an offset that was read before is a repetition.

    num_largest: the number of events that differ most to keep, for each two versions.
    """

    def __init__(self, *, num_largest: int) -> None:
        self._num_largest = num_largest
        self._numbers = count(0, -1)  # of two equal differences, the earlier one is kept
        self.versions: dict[Versions, VersionReport] = defaultdict(VersionReport)

    def add(self, pairs: Iterable[ShadowPair]) -> None:
        """Add pairs of one partition of the topic."""
        grouped: dict[tuple[Versions, int, int], list[ShadowPair]] = defaultdict(list)
        for pair in pairs:
            versions = Versions(pair.primary.version, pair.shadow.version)
            report = self.versions[versions]
            if report.is_new(pair):
                grouped[versions, _outputs(pair.primary), _outputs(pair.shadow)].append(pair)
        for (versions, primary_outputs, shadow_outputs), group in grouped.items():
            # A failed event has no outputs: as many as the other side's are filled in.
            primary = _side([pair.primary for pair in group], primary_outputs or shadow_outputs or 1)
            shadow = _side([pair.shadow for pair in group], shadow_outputs or primary_outputs or 1)
            self._add(self.versions[versions], group, primary, shadow)

    def _add(self, report: VersionReport, pairs: Sequence[ShadowPair], primary: Side, shadow: Side) -> None:
        comparison = report.comparison
        comparison.add_outputs(primary, shadow)
        for latency, sides in (
            (comparison.primary_latency, [pair.primary for pair in pairs]),
            (comparison.shadow_latency, [pair.shadow for pair in pairs]),
        ):
            latency.add_events(
                np.array([side.latency_ms / 1000 for side in sides]),
                np.array([side.rows for side in sides], np.int64),
                cpu_s_B=np.array([side.cpu_ms / 1000 for side in sides]),
            )
        both_B = ~(primary.failed_B | shadow.failed_B)
        sizes_B = row_differences(primary, shadow)
        if sizes_B is None:
            if primary.classes_B is None or shadow.classes_B is None:
                return
            sizes_B = np.where(primary.classes_B == shadow.classes_B, 0.0, math.inf)
        for row in np.flatnonzero(both_B & (sizes_B > 0)).tolist():
            report.keep(float(sizes_B[row]), pairs[row], number=next(self._numbers), limit=self._num_largest)

    def to_list(self) -> list[dict[str, Any]]:
        """Return the report as JSON values, by version."""
        return [
            {
                "primary": versions.primary,
                "shadow": versions.shadow,
                "first": report.first_ms,
                "last": report.last_ms,
                "repeated": report.repeated,
                **report.comparison.to_dict(),
                "largest_differences": [difference.to_dict() for difference in report.largest()],
            }
            for versions, report in sorted(self.versions.items())
        ]


def _outputs(side: PredictedSide) -> int:
    return 0 if side.prediction is None else len(side.prediction)


def _side(sides: Sequence[PredictedSide], num_outputs: int) -> Side:
    nothing = [0.0] * num_outputs
    values_BO = np.array([nothing if side.prediction is None else side.prediction for side in sides], dtype=np.float32)
    failed_B = np.array([side.prediction is None for side in sides], dtype=np.bool_)
    has_classes = all(side.class_index is not None for side in sides if side.prediction is not None)
    classes_B = np.array([side.class_index or 0 for side in sides], dtype=np.int64) if has_classes else None
    return Side(values_BO, classes_B, failed_B, call_s=0.0, num_rows=1)
