"""The budget of a model: how much memory it may take and how long it may work on a full micro-batch."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from forebay.models.backends.protocol import Model
from forebay.models.serving.warm_up import instances_of, warm_up_sizes
from forebay.schemas.errors import ModelError

NUM_TIMED_RUNS: Final = 5
_MIB: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Meter:
    """What a budget is measured with.

    monotonic_s: returns the time of a clock that only advances, in seconds.
    resident_bytes: returns the resident memory of this process.
    """

    monotonic_s: Callable[[], float]
    resident_bytes: Callable[[], int]


@dataclass(frozen=True, slots=True)
class LoadBudget:
    """The limits of a model, and what is needed to measure it.

    max_batch_size: the number of rows of a full micro-batch.
    max_memory_mb: MiB by which the process may grow while the model is built and warmed up; None for no limit. Memory of a
        GPU does not count.
    max_batch_latency_ms: how long preprocessing and model may take for a full micro-batch, as the median of a few runs
        after the warm-up; None for no limit.
    """

    max_batch_size: int
    meter: Meter
    max_memory_mb: int | None = None
    max_batch_latency_ms: float | None = None

    @property
    def has_limits(self) -> bool:
        """Whether there is anything to measure."""
        return self.max_memory_mb is not None or self.max_batch_latency_ms is not None

    def check(self, model: Model, *, resident_bytes_before: int) -> None:
        """Warm the model up with batches of all magnitudes; raise ModelError(kind="budget") if a limit is exceeded.

        resident_bytes_before: the memory of the process before the model was built. Raises like `Model.forward` too.
        """
        for instance in instances_of(model):
            instance.warm_up(warm_up_sizes(self.max_batch_size))
        grown_mb = (self.meter.resident_bytes() - resident_bytes_before) / _MIB
        if self.max_memory_mb is not None and grown_mb > self.max_memory_mb:
            raise ModelError(
                f"model {model.name} version {model.version}: the process has grown by {grown_mb:.0f} MiB while the model "
                f"was built and warmed up with up to {self.max_batch_size} rows; model.max_load_memory_mb allows "
                f"{self.max_memory_mb}",
                kind="budget",
                remedy="lower batch.max_batch_size, publish a smaller model, or raise model.max_load_memory_mb",
            )
        if self.max_batch_latency_ms is None:
            return
        took_ms = statistics.median(self._timed_run_ms(model) for _ in range(NUM_TIMED_RUNS))
        if took_ms > self.max_batch_latency_ms:
            raise ModelError(
                f"model {model.name} version {model.version}: {self.max_batch_size} rows take {took_ms:.3g} ms, the median "
                f"of {NUM_TIMED_RUNS} runs; model.max_batch_latency_ms allows {self.max_batch_latency_ms:g}",
                kind="budget",
                remedy="lower batch.max_batch_size, publish a faster model, use a faster device, or raise "
                "model.max_batch_latency_ms",
            )

    def _timed_run_ms(self, model: Model) -> float:
        started_s = self.meter.monotonic_s()
        model.warm_up([self.max_batch_size])
        return (self.meter.monotonic_s() - started_s) * 1000
