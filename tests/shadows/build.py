"""Shadows for tests: a model, an executor without a thread, and a sink that records."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from forebay.models.artefacts.signature import Signature
from forebay.models.backends.protocol import Scores
from forebay.stream.core.model_ref import ModelRef
from forebay.stream.core.outputs import Outgoing, OutputTopic
from forebay.stream.core.records import BatchResult, Chunk, FloatMatrix, MicroBatch, TopicPartition
from forebay.stream.shadows.job import OnOutcome, ShadowJob
from forebay.stream.shadows.work import ShadowWork
from tests.core.build import ManualClock, chunk, finish

SHADOW = ModelRef("m", 2)
TOPIC = OutputTopic("shadow-predictions", 2, 100_000)
ONE_FEATURE = Signature((), (1,), "multiclass", 2)


class ShadowModel:
    """A model that predicts what `finish` does, plus `shift`. `on_call` may raise, hang, or advance a clock."""

    name = "m"
    version = 2

    def __init__(
        self, *, shift: float = 0.0, on_call: Callable[[FloatMatrix], None] = lambda x_BF: None, width: int = 1
    ) -> None:
        self.signature = Signature((), (width,), "multiclass", 2)
        self.shift = shift
        self.on_call = on_call
        self.calls: list[FloatMatrix] = []

    def warm_up(self, batch_sizes: Sequence[int]) -> None:
        pass

    def prepare(self, x_BF: FloatMatrix) -> FloatMatrix:
        return x_BF

    def forward(self, x_BG: FloatMatrix) -> Scores:
        self.calls.append(x_BG)
        self.on_call(x_BG)
        x_B = x_BG[:, 0] % 2 / 4 + 0.5 + np.float32(self.shift)
        values_BO = np.stack([1 - x_B, x_B], axis=1).astype(np.float32)
        return Scores(values_BO, values_BO.argmax(axis=1), values_BO.max(axis=1))


class HeldExecutor:
    """A `ShadowExecutor` that runs a job when a test says so."""

    def __init__(self, work: ShadowWork, on_outcome: OnOutcome, *, clock: ManualClock) -> None:
        self.work = work
        self.jobs: list[ShadowJob] = []
        self.warm_up_sizes: Sequence[int] = ()
        self.running_since_s: float | None = None
        self.stopped = False
        self._on_outcome = on_outcome
        self._clock = clock

    async def start(self, warm_up_sizes: Sequence[int]) -> None:
        self.warm_up_sizes = warm_up_sizes
        self.work.warm_up(warm_up_sizes)

    def submit(self, job: ShadowJob) -> None:
        self.jobs.append(job)

    def running_for_s(self) -> float:
        return 0.0 if self.running_since_s is None else self._clock.monotonic_s() - self.running_since_s

    def stop(self) -> None:
        self.stopped = True

    def run(self) -> None:
        """Run all jobs that wait."""
        while self.jobs:
            self._on_outcome(self.work.run(self.jobs.pop(0)))


class RecordingSink:
    """Records what it is offered, or loses everything."""

    def __init__(self) -> None:
        self.loses = False
        self.records: list[tuple[TopicPartition, bytes | None, bytes | None]] = []

    def offer(
        self,
        outgoing: Mapping[TopicPartition, Outgoing],
        *,
        num_bytes: int,
        num_events: int,
        on_lost: Callable[[int], None],
    ) -> None:
        if self.loses:
            on_lost(num_events)
            return
        for partition, records in outgoing.items():
            self.records += [(partition, key, value) for key, value in zip(records.keys, records.values, strict=True)]


def result(*chunks: Chunk, model: ModelRef | None = None) -> BatchResult:
    """Return the result of a micro-batch; by default one with the offsets 0 to 9."""
    parts = chunks or (chunk(range(10), model=model or ModelRef("m", 1)),)
    return finish(MicroBatch(0, parts, "size", 0.0))
