"""Calls of a model that overlap on its device: the next micro-batch begins before the oldest one is finished.

The rows of a micro-batch go from its parts straight into the memory that the device reads. A micro-batch that cannot take this
path runs as on the CPU when its turn comes, with a new call: one with rows whose deadline has passed or that the preparation
rejects, one that is too large, and one on which the model or the device raises. So the rules for bad rows are the same.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence

from forebay.models.backends.protocol import Model, PipelinedModel, Ticket
from forebay.schemas.errors import DeviceLostError
from forebay.stream.core.clock import Clock
from forebay.stream.core.device_call import DeviceCall
from forebay.stream.core.records import BatchResult, MicroBatch
from forebay.stream.inference.batch_runner import BatchRunner, Call
from forebay.stream.inference.bisect import expired_rows, inference_of
from forebay.stream.inference.decision import DecisionLayer
from forebay.stream.inference.executor import Deferred
from forebay.stream.inference.model_calls import ModelCalls, SerialCalls


def model_calls(
    model: Model,
    *,
    clock: Clock,
    cpu_time: Callable[[], float] = time.thread_time,
    decision: DecisionLayer | None = None,
) -> ModelCalls:
    """Return what runs the micro-batches of a model. Parameters: as for `BatchRunner`."""
    runner = BatchRunner(model, clock, cpu_time=cpu_time, decision=decision)
    return PipelinedCalls(model, runner, clock) if isinstance(model, PipelinedModel) else SerialCalls(runner, clock)


class PipelinedCalls:
    """Begins micro-batches while the device runs others. Implements `ModelCalls`.

    runner: runs the micro-batches that cannot overlap.
    """

    def __init__(self, model: PipelinedModel, runner: BatchRunner, clock: Clock) -> None:
        self.depth = model.depth
        self._model = model
        self._runner = runner
        self._clock = clock
        self._begun: deque[tuple[Call, Ticket | None]] = deque()

    def warm_up(self, batch_sizes: Sequence[int]) -> None:
        """Warm up the model. Raises the error of the model."""
        self._runner.warm_up(batch_sizes)

    def begin(self, batch: MicroBatch) -> None:
        """Begin a micro-batch on the device, if it can overlap. Raises DeviceLostError."""
        call = Call(batch, self._clock.monotonic_s(), self._clock.wall_ms())
        cpu_started_s = self._runner.cpu_time()
        ticket = self._ticket(call)
        call.prepare_s = self._runner.model.take_prepare_s()
        call.cpu_s = self._runner.cpu_time() - cpu_started_s
        self._begun.append((call, ticket))

    def _ticket(self, call: Call) -> Ticket | None:
        """Return the ticket of a call that has begun on the device; None if it must run in another way."""
        batch = call.batch
        if not 0 < batch.num_rows <= self._model.max_rows or expired_rows(batch, call.wall_ms):
            return None
        try:
            if self._model.prepares_rows:
                return self._model.begin([self._runner.model.prepare(batch.features())])
            return self._model.begin(batch.row_parts())
        except DeviceLostError:
            raise
        except Exception:  # the other way finds out which rows cause it
            return None

    def finish(self) -> BatchResult | Deferred:
        """Return the result of the oldest micro-batch. Raises DeviceLostError."""
        call, ticket = self._begun.popleft()
        if ticket is None:
            return self._runner.run_call(call)
        cpu_started_s, waits_from_s = self._runner.cpu_time(), self._clock.monotonic_s()
        try:
            scores = self._model.finish(ticket)
        except DeviceLostError:
            raise
        except Exception:
            return self._runner.run_call(call)
        wait_s = self._clock.monotonic_s() - waits_from_s
        return self._runner.result(
            call,
            inference_of(scores),
            cpu_started_s=cpu_started_s,
            device_call=DeviceCall(ticket.num_rows, ticket.bucket, ticket.is_graph, wait_s),
        )
