"""What a shadow does with sampled events: predict, compare and encode. Runs on the shadow's thread.

Shapes: B sampled events of a job, O outputs of a version.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from forebay.models.artefacts.signature import Signature
from forebay.models.backends.protocol import Model
from forebay.stream.core.clock import Clock
from forebay.stream.core.outputs import Outgoing, OutputTopic
from forebay.stream.core.records import FloatMatrix, RowFailure, TopicPartition
from forebay.stream.core.redaction import Redactor
from forebay.stream.core.rows import position_of, row_of
from forebay.stream.decode import Decoder
from forebay.stream.inference.bisect import infer
from forebay.stream.inference.decision import DecisionLayer
from forebay.stream.rollouts.comparison import PairedComparison, Side
from forebay.stream.rollouts.shadow_prediction import PairSource, SideFormat, encode_pairs, json_numbers
from forebay.stream.shadows.job import DropReason, ShadowJob, ShadowOutcome

_Value = TypeVar("_Value", bound=np.generic)

Keys = Sequence[bytes | None]
IdentifierProtection = Callable[[Sequence[str], Keys], tuple[Sequence[str], Keys]]
"""Returns ids and keys of events without personal data (see `worker.private_identifiers`)."""

RECORD_OVERHEAD_BYTES: Final = 120
"""Upper bound of what a record takes in its batch in addition to key and value."""


class _Call(NamedTuple):
    """A model call. cpu_s: CPU time of the thread; 0 if another device computes."""

    duration_s: float
    cpu_s: float
    num_rows: int


class _Predicted(NamedTuple):
    """What one version predicted for the events of a job. failures: the kind of each event's failure, None if it has none."""

    side: Side
    confidences: Sequence[str]
    failures: Sequence[str | None]


class ShadowWork:
    """Runs the jobs of one shadow.

    decoder: a decoder for the shadow's version, for jobs whose columns are not the shadow's.
    topic: where the pairs are sent.
    primaries: the signatures of the versions that served, by version; it may grow.
    decision: what would become of the shadow's scores if it served; None to use them as they are.
    protection: of ids and keys; None to send them as they are.
    """

    def __init__(
        self,
        model: Model,
        *,
        decoder: Decoder,
        primaries: dict[int, Signature],
        topic: OutputTopic,
        clock: Clock,
        deadline_s: float,
        cpu_time: Callable[[], float] = time.thread_time,
        decision: DecisionLayer | None = None,
        protection: IdentifierProtection | None = None,
    ) -> None:
        self._decision = decision
        self._protection = protection
        self._model = model
        self._decoder = decoder
        self._primaries = primaries
        self._topic = topic
        self._clock = clock
        self._deadline_s = deadline_s
        self._cpu_time = cpu_time
        self._is_on_cpu = str(getattr(model, "device", "cpu")).startswith("cpu")
        self._format = _side_format(model.version, model.signature)
        self._formats: dict[int, SideFormat] = {}

    def warm_up(self, batch_sizes: Sequence[int]) -> None:
        """Warm up the model. Raises the error of the model."""
        self._model.warm_up(batch_sizes)

    def run(self, job: ShadowJob) -> ShadowOutcome:
        """Predict the events of a job and compare. Raises nothing that a model or an event can cause."""
        started_s = self._clock.monotonic_s()
        if started_s - job.offered_s > self._deadline_s:
            return ShadowOutcome(job, 0.0, dropped=DropReason.DEADLINE)
        primary, (shadow, fault) = _primary(job, is_on_cpu=self._is_on_cpu), self._predict(job)
        comparison = PairedComparison()
        comparison.add(primary.side, shadow.side)
        outgoing, num_bytes = self._encode(job, primary, shadow)
        busy_s = self._clock.monotonic_s() - started_s
        return ShadowOutcome(job, busy_s, comparison=comparison, outgoing=outgoing, num_bytes=num_bytes, fault=fault)

    def _predict(self, job: ShadowJob) -> tuple[_Predicted, str | None]:
        """Return the shadow's predictions; and the first failure if it failed on all events."""
        num_events = job.num_events
        x_BF, rows, rejected = self._rows(job)
        started_s, cpu_started_s = self._clock.monotonic_s(), self._cpu_time()
        inference = infer(self._model, x_BF)
        if self._decision is not None:
            inference = self._decision.apply(inference, lambda: x_BF)
        call_s = self._clock.monotonic_s() - started_s
        cpu_s = self._cpu_time() - cpu_started_s if self._is_on_cpu else 0.0
        failed = rejected | {rows[row]: failure for row, failure in inference.failures.items()}
        values_BO, classes_B = inference.values_BO, inference.classes_B
        confidences_B = inference.confidences_B
        if rejected:
            values_BO = np.zeros((num_events, values_BO.shape[1]), dtype=np.float32)
            values_BO[rows] = inference.values_BO
            classes_B, confidences_B = _spread(classes_B, rows, num_events), _spread(confidences_B, rows, num_events)
        call = _Call(call_s, cpu_s, max(1, len(rows)))
        predicted = _predicted(values_BO, classes_B, confidences_B, failed, call=call)
        if len(failed) < num_events:
            return predicted, None
        first = failed[min(failed)]
        return predicted, f"{first.kind.value}: {Redactor().message(first.message)}"

    def _rows(self, job: ShadowJob) -> tuple[FloatMatrix, Sequence[int], dict[int, RowFailure]]:
        """Return the rows for the shadow, the index of each among the job's events, and the events that it rejects."""
        if job.has_same_columns:
            pieces = [part.chunk.x_BF[part.rows.start : part.rows.stop] for part in job.parts]
            return (pieces[0] if len(pieces) == 1 else np.concatenate(pieces)), range(job.num_events), {}
        matrices: list[FloatMatrix] = []
        rows: list[int] = []
        rejected: dict[int, RowFailure] = {}
        first = 0
        for part in job.parts:
            records = part.chunk.records[part.rows.start : part.rows.stop]
            index_of = {position_of(record): first + index for index, record in enumerate(records)}
            for chunk in self._decoder.decode({part.chunk.partition: records}, part.chunk.epoch):
                matrices.append(chunk.x_BF)
                rows += [index_of[position_of(record)] for record in chunk.records]
                rejected |= {
                    index_of[position_of(one.record)]: RowFailure(one.kind, one.message) for one in chunk.rejections
                }
            first += len(records)
        return np.concatenate(matrices), rows, rejected

    def _encode(
        self, job: ShadowJob, primary: _Predicted, shadow: _Predicted
    ) -> tuple[dict[TopicPartition, Outgoing], int]:
        primaries = self._primary_format(job.result.model.version).write(*primary)
        shadows = self._format.write(*shadow)
        outgoing: dict[TopicPartition, Outgoing] = {}
        first = num_bytes = 0
        for part in job.parts:
            chunk, rows = part.chunk, slice(part.rows.start, part.rows.stop)
            events = slice(first, first + len(part.rows))
            first = events.stop
            records = chunk.records[rows]
            ids: Sequence[str] = chunk.ids[rows]
            keys: Keys = [
                record.key if record.key is not None else chunk.keys.get(row)
                for row, record in zip(part.rows, records, strict=True)
            ]
            if self._protection is not None:
                ids, keys = self._protection(ids, keys)
            source = PairSource(
                chunk.partition,
                ids=ids,
                offsets=[record.offset for record in records],
                timestamps=chunk.timestamps[rows],
                rows=list(map(row_of, records)),
            )
            values = encode_pairs(
                self._model.name, job.revision, source, primary=primaries[events], shadow=shadows[events]
            )
            place = TopicPartition(self._topic.name, chunk.partition.partition % self._topic.num_partitions)
            part_out = outgoing.setdefault(place, Outgoing())
            for key, record, value in zip(keys, records, values, strict=True):
                size = RECORD_OVERHEAD_BYTES + len(value) + len(key or b"")
                if size > self._topic.max_bytes:
                    continue
                num_bytes += size
                part_out.append(key, value, [], offset=record.offset)
        return outgoing, num_bytes

    def _primary_format(self, version: int) -> SideFormat:
        if version not in self._formats:
            self._formats[version] = _side_format(version, self._primaries[version])
        return self._formats[version]


def _primary(job: ShadowJob, *, is_on_cpu: bool) -> _Predicted:
    """Return the primary's predictions of the job's events."""
    result = job.result
    call = _Call(result.model_s, result.cpu_s if is_on_cpu else 0.0, result.batch.num_rows)
    if job.num_events == result.batch.num_rows:
        return _predicted(
            result.values_BO,
            result.classes_B,
            result.confidences_B,
            result.failures,
            call=call,
        )
    rows = np.concatenate([np.arange(p.first_row + p.rows.start, p.first_row + p.rows.stop) for p in job.parts])
    failures = (
        {index: result.failures[row] for index, row in enumerate(rows.tolist()) if row in result.failures}
        if result.failures
        else {}
    )
    return _predicted(
        result.values_BO[rows],
        None if result.classes_B is None else result.classes_B[rows],
        None if result.confidences_B is None else result.confidences_B[rows],
        failures,
        call=call,
    )


def _predicted(
    values_BO: FloatMatrix,
    classes_B: npt.NDArray[np.int64] | None,
    confidences_B: npt.NDArray[np.float32] | None,
    failures: dict[int, RowFailure],
    *,
    call: _Call,
) -> _Predicted:
    failed_B = np.zeros(len(values_BO), dtype=np.bool_)
    failed_B[list(failures)] = True
    kinds: list[str | None] = [None] * len(values_BO)
    for row, failure in failures.items():
        kinds[row] = failure.kind.value
    confidences = [""] * len(values_BO) if confidences_B is None else json_numbers(confidences_B)
    side = Side(values_BO, classes_B, failed_B, call_s=call.duration_s, num_rows=call.num_rows, cpu_s=call.cpu_s)
    return _Predicted(side, confidences, kinds)


def _spread(values: npt.NDArray[_Value] | None, rows: Sequence[int], count: int) -> npt.NDArray[_Value] | None:
    """Return the values at their rows among `count` rows."""
    if values is None:
        return None
    spread = np.zeros(count, dtype=values.dtype)
    spread[rows] = values
    return spread


def _side_format(version: int, signature: Signature) -> SideFormat:
    return SideFormat(version=version, labels=signature.labels, num_classes=signature.num_classes)
