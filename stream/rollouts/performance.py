"""The performance of one model version: calls, time, cost and memory, as sums that can be merged over workers and commits.

Workers add it to their outcome deltas; the judge merges it over all workers.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, Self

import numpy as np
import numpy.typing as npt

BUCKETS_PER_OCTAVE: Final = 8
"""Neighbouring bounds differ by the factor 2 ** (1/8), so that a quantile is at most 9 % too large."""
FIRST_BOUND_S: Final = 1e-6
MAX_BUCKET: Final = 30 * BUCKETS_PER_OCTAVE
"""The last bucket ends at 1,074 s and takes everything above as well."""

_CENTRE: Final[float] = 2.0 ** (-0.5 / BUCKETS_PER_OCTAVE)
"""From the upper bound of a bucket to its middle."""


def bucket_bound_s(bucket: int) -> float:
    """Return the upper bound of a bucket, inclusive, in seconds."""
    return float(FIRST_BOUND_S * 2.0 ** (bucket / BUCKETS_PER_OCTAVE))


@dataclass(slots=True)
class LatencyHistogram:
    """Numbers of rows by duration, in geometric buckets. counts: by bucket, without empty ones."""

    counts: dict[int, int] = field(default_factory=dict)

    @classmethod
    def of(cls, seconds: npt.NDArray[np.float64], rows: npt.NDArray[np.int64]) -> Self:
        """Return the histogram of durations, float64 [n]. rows: numbers of rows that took as long, int64 [n]."""
        ratios = np.maximum(seconds, FIRST_BOUND_S) / FIRST_BOUND_S
        buckets = np.ceil(np.log2(ratios) * BUCKETS_PER_OCTAVE - 1e-9).astype(np.int64)
        counts = np.bincount(np.clip(buckets, 0, MAX_BUCKET), weights=rows)
        return cls({bucket: int(counts[bucket]) for bucket in np.flatnonzero(counts).tolist()})

    @property
    def total(self) -> int:
        """Number of rows."""
        return sum(self.counts.values())

    def add(self, other: LatencyHistogram) -> None:
        """Add the rows of another histogram."""
        for bucket, count in other.counts.items():
            self.counts[bucket] = self.counts.get(bucket, 0) + count

    def quantile(self, share: float) -> float | None:
        """Return a duration in seconds that at least `share` of the rows do not exceed; None without rows."""
        return self.at_rank(math.ceil(share * self.total))

    def at_rank(self, rank: int) -> float | None:
        """Return the upper bound in seconds of the row with this rank, from 1 for the fastest; None without rows.

        Ranks outside of the histogram are those of its fastest and slowest row.
        """
        passed, bound_s = 0, None
        for bucket in sorted(self.counts):
            passed, bound_s = passed + self.counts[bucket], bucket_bound_s(bucket)
            if passed >= rank:
                return bound_s
        return bound_s

    def mean(self) -> float | None:
        """Return the mean duration in seconds, at most 5 % off; None without rows."""
        total = self.total
        if not total:
            return None
        bounds_s = sum(bucket_bound_s(bucket) * count for bucket, count in self.counts.items())
        return bounds_s * _CENTRE / total

    def to_json(self) -> dict[str, int]:
        """Return the counts by bucket number."""
        return {str(bucket): count for bucket, count in sorted(self.counts.items())}

    @classmethod
    def from_json(cls, document: object) -> Self:
        """Parse what `to_json` returned. Raises ValueError."""
        if not isinstance(document, Mapping):
            raise ValueError("a histogram is an object of counts by bucket number")
        counts: dict[int, int] = {}
        for name, count in document.items():
            bucket = int(name)
            if not 0 <= bucket <= MAX_BUCKET or type(count) is not int or count < 1:
                raise ValueError(f"bucket {name}: {count!r}")
            counts[bucket] = count
        return cls(counts)


@dataclass(slots=True)
class ProcessUsage:
    """The resources of a whole worker process.

    cpu_s: CPU seconds of all threads since the last report.
    memory_bytes: resident memory, the largest one reported; None if unknown.
    gpu_memory_bytes: memory that the process holds on its GPUs, the largest one reported; None without a GPU.
    """

    cpu_s: float = 0.0
    memory_bytes: int | None = None
    gpu_memory_bytes: int | None = None

    def add(self, other: ProcessUsage) -> None:
        """Add a later report of the same process."""
        self.cpu_s += other.cpu_s
        self.memory_bytes = _largest(self.memory_bytes, other.memory_bytes)
        self.gpu_memory_bytes = _largest(self.gpu_memory_bytes, other.gpu_memory_bytes)

    def to_json(self) -> dict[str, object]:
        """Return the field `process` of a performance. Unknown values are left out."""
        document: dict[str, object] = {"cpu_s": round(self.cpu_s, 6)}
        if self.memory_bytes is not None:
            document["memory_bytes"] = self.memory_bytes
        if self.gpu_memory_bytes is not None:
            document["gpu_memory_bytes"] = self.gpu_memory_bytes
        return document

    @classmethod
    def from_json(cls, document: object) -> Self:
        """Parse what `to_json` returned. Raises ValueError; ignores unknown fields."""
        if not isinstance(document, Mapping):
            raise ValueError("the usage of a process is an object")
        sizes = [document.get(name) for name in ("memory_bytes", "gpu_memory_bytes")]
        return cls(_seconds(document.get("cpu_s")), *(None if size is None else _count(size) for size in sizes))


@dataclass(slots=True)
class Performance:
    """The performance of one version in some calls of its model.

    rows: rows that went through the model, whether they failed or not.
    calls: micro-batches with rows.
    not_finite: rows with an output that is NaN or infinite.
    cpu_s: CPU seconds of the thread that runs the model, in calls.
    gpu_s: seconds in which a call occupied the GPU; None without a GPU.
    memory_bytes: memory of the version in one worker, the largest one reported; None if unknown.
    queue_delay_s: how long a micro-batch may wait for more rows, the largest one reported.
    latency: from the arrival of a micro-batch's first row to its result, by row.
    model_time: the duration of the model's call, by row.
    process: of the worker process, in at most one performance of a commit. Not meant to be added over workers.
    """

    rows: int = 0
    calls: int = 0
    not_finite: int = 0
    cpu_s: float = 0.0
    gpu_s: float | None = None
    memory_bytes: int | None = None
    queue_delay_s: float = 0.0
    latency: LatencyHistogram = field(default_factory=LatencyHistogram)
    model_time: LatencyHistogram = field(default_factory=LatencyHistogram)
    process: ProcessUsage | None = None

    def add(self, other: Performance) -> None:
        """Add the calls of another performance of the same version."""
        self.rows += other.rows
        self.calls += other.calls
        self.not_finite += other.not_finite
        self.cpu_s += other.cpu_s
        if other.gpu_s is not None:
            self.gpu_s = (self.gpu_s or 0.0) + other.gpu_s
        self.memory_bytes = _largest(self.memory_bytes, other.memory_bytes)
        self.queue_delay_s = max(self.queue_delay_s, other.queue_delay_s)
        self.latency.add(other.latency)
        self.model_time.add(other.model_time)

    @classmethod
    def sum(cls, parts: Iterable[Performance]) -> Self:
        """Return the sum of performances of the same version."""
        total = cls()
        for part in parts:
            total.add(part)
        return total

    def to_json(self) -> dict[str, object]:
        """Return the field `performance` of an outcome delta. Unknown values are left out."""
        document: dict[str, object] = {
            "rows": self.rows,
            "calls": self.calls,
            "not_finite": self.not_finite,
            "cpu_s": round(self.cpu_s, 9),
            "queue_delay_s": self.queue_delay_s,
            "latency": self.latency.to_json(),
            "model_time": self.model_time.to_json(),
        }
        if self.gpu_s is not None:
            document["gpu_s"] = round(self.gpu_s, 9)
        if self.memory_bytes is not None:
            document["memory_bytes"] = self.memory_bytes
        if self.process is not None:
            document["process"] = self.process.to_json()
        return document

    @classmethod
    def from_json(cls, document: object) -> Self:
        """Parse what `to_json` returned. Raises ValueError; ignores unknown fields."""
        if not isinstance(document, Mapping):
            raise ValueError("a performance is an object")
        gpu_s, memory_bytes, process = (document.get(name) for name in ("gpu_s", "memory_bytes", "process"))
        return cls(
            rows=_count(document.get("rows")),
            calls=_count(document.get("calls")),
            not_finite=_count(document.get("not_finite")),
            cpu_s=_seconds(document.get("cpu_s")),
            gpu_s=None if gpu_s is None else _seconds(gpu_s),
            memory_bytes=None if memory_bytes is None else _count(memory_bytes),
            queue_delay_s=_seconds(document.get("queue_delay_s")),
            latency=LatencyHistogram.from_json(document.get("latency")),
            model_time=LatencyHistogram.from_json(document.get("model_time")),
            process=None if process is None else ProcessUsage.from_json(process),
        )


def _largest(first: int | None, second: int | None) -> int | None:
    return second if first is None else first if second is None else max(first, second)


def _count(value: object) -> int:
    if type(value) is not int or value < 0:
        raise ValueError(f"not a count: {value!r}")
    return value


def _seconds(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        raise ValueError(f"not a duration in seconds: {value!r}")
    return float(value)
