"""Runs micro-batches on one model and returns results with their durations. For use by one thread."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from forebay.models.backends.protocol import Model
from forebay.stream.core.clock import Clock
from forebay.stream.core.device_call import DeviceCall
from forebay.stream.core.records import BatchResult, MicroBatch
from forebay.stream.inference.bisect import Inference, ModelFault, infer_batch
from forebay.stream.inference.decision import DecisionLayer
from forebay.stream.inference.executor import Deferred
from forebay.stream.inference.timed_model import TimedModel


@dataclass(slots=True)
class Call:
    """A micro-batch that has begun.

    started_s, wall_ms: monotonic and wall-clock time of the beginning; deadlines before `wall_ms` have passed.
    prepare_s, cpu_s: preprocessing and CPU time of the thread so far.
    """

    batch: MicroBatch
    started_s: float
    wall_ms: int
    prepare_s: float = 0.0
    cpu_s: float = 0.0


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
        self.model = TimedModel(model, clock)
        self.cpu_time = cpu_time
        self._clock = clock
        self._decision = decision

    def warm_up(self, sizes: Sequence[int]) -> None:
        """Warm up the model. Raises its error."""
        self.model.warm_up(sizes)

    def run(self, batch: MicroBatch, started_s: float) -> BatchResult | Deferred:
        """Return the result of a micro-batch; deferred if the model cannot run.

        started_s: the monotonic time at which the call began.
        """
        return self.run_call(Call(batch, started_s, self._clock.wall_ms()))

    def run_call(self, call: Call) -> BatchResult | Deferred:
        """Run the micro-batch of a call; deferred if the model cannot run."""
        cpu_started_s = self.cpu_time()
        try:
            inference = infer_batch(self.model, call.batch, wall_ms=call.wall_ms)
        except ModelFault as fault:
            return Deferred(call.batch, str(fault))
        return self.result(call, inference, cpu_started_s=cpu_started_s)

    def result(
        self, call: Call, inference: Inference, *, cpu_started_s: float, device_call: DeviceCall | None = None
    ) -> BatchResult:
        """Return the result of a call after the decisions.

        cpu_started_s: the CPU time of the thread when it resumed the call.
        """
        if self._decision is not None:
            inference = self._decision.apply(inference, call.batch.features)
        return BatchResult(
            call.batch,
            values_BO=inference.values_BO,
            classes_B=inference.classes_B,
            confidences_B=inference.confidences_B,
            failures=inference.failures,
            model_s=self._clock.monotonic_s() - call.started_s,
            started_s=call.started_s,
            prepare_s=call.prepare_s + self.model.take_prepare_s(),
            cpu_s=call.cpu_s + self.cpu_time() - cpu_started_s,
            decisions_B=inference.decisions_B,
            device_call=device_call,
        )
