"""Runs micro-batches on one model and returns results with their durations. For use by one thread."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from forebay.models.backends.protocol import Model
from forebay.stream.core.clock import Clock
from forebay.stream.core.records import BatchResult, MicroBatch
from forebay.stream.inference.bisect import ModelFault, infer_batch
from forebay.stream.inference.decision import DecisionLayer
from forebay.stream.inference.executor import Deferred
from forebay.stream.inference.timed_model import TimedModel


class BatchRunner:
    """Runs one model.

    cpu_time: returns the CPU seconds of the calling thread.
    decision: what becomes of the scores; None to use them as they are.
    """

    def __init__(
        self,
        model: Model,
        clock: Clock,
        *,
        cpu_time: Callable[[], float] = time.thread_time,
        decision: DecisionLayer | None = None,
    ) -> None:
        self._model = TimedModel(model, clock)
        self._clock = clock
        self._cpu_time = cpu_time
        self._decision = decision

    def warm_up(self, sizes: Sequence[int]) -> None:
        """Warm up the model. Raises its error."""
        self._model.warm_up(sizes)

    def run(self, batch: MicroBatch, started_s: float) -> BatchResult | Deferred:
        """Return the result of a micro-batch; deferred if the model cannot run.

        started_s: the monotonic time at which the call began.
        """
        cpu_started_s = self._cpu_time()
        try:
            inference = infer_batch(self._model, batch, wall_ms=self._clock.wall_ms())
        except ModelFault as fault:
            return Deferred(batch, str(fault))
        if self._decision is not None:
            inference = self._decision.apply(inference, batch.features)
        return BatchResult(
            batch,
            values_BO=inference.values_BO,
            classes_B=inference.classes_B,
            confidences_B=inference.confidences_B,
            failures=inference.failures,
            model_s=self._clock.monotonic_s() - started_s,
            started_s=started_s,
            prepare_s=self._model.take_prepare_s(),
            cpu_s=self._cpu_time() - cpu_started_s,
            decisions_B=inference.decisions_B,
        )
