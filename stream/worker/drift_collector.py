"""Counts a sample of the rows and scores of the stream for the topic `drift`. Nothing here waits, or affects an outcome.

All calls are on the event loop's thread. Most micro-batches cost a few microseconds; those that are counted, about a
millisecond at most.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol

import numpy as np

from forebay.models.artefacts.reference_statistics import ReferenceStatistics
from forebay.models.artefacts.signature import Signature
from forebay.stream.core.clock import Clock
from forebay.stream.core.model_ref import ModelRef
from forebay.stream.core.outputs import Outgoing, OutputTopic
from forebay.stream.core.records import BatchResult, TopicPartition
from forebay.stream.drift.bins import model_bins
from forebay.stream.drift.counts import DriftKey
from forebay.stream.drift.row_counter import RowCounter
from forebay.stream.drift.sampling import RowSampler
from forebay.stream.drift.wire import encode_drift
from forebay.stream.pipeline.observer import NullObserver

log = logging.getLogger("forebay.drift")

CHECK_S: Final = 1.0
"""How often it is checked whether the window is over."""
RECORD_OVERHEAD_BYTES: Final = 120


class ServedVersion(NamedTuple):
    """What is known of a version in memory. reference: None if its manifest has no statistics of the training."""

    signature: Signature
    reference: ReferenceStatistics | None
    is_windowed: bool


class RecordSink(Protocol):
    """Sends records at best effort (see `kafka.producer.best_effort_sink`)."""

    def offer(
        self,
        outgoing: Mapping[TopicPartition, Outgoing],
        *,
        num_bytes: int,
        num_events: int,
        on_lost: Callable[[int], None],
    ) -> None:
        """Take the records, or report them as lost, now or later. Never waits."""


@dataclass(frozen=True, slots=True)
class CollectorSettings:
    """What and where to count.

    ignored: names of features that are not counted.
    worker: the worker's instance id.
    """

    topic: OutputTopic
    window_ms: int
    max_rows_per_s: int
    ignored: Collection[str]
    worker: str


@dataclass(slots=True)
class _Version:
    counter: RowCounter
    sampler: RowSampler
    width: int


class DriftCollector:
    """Counts the rows of all versions of a worker in the current window, and writes a record for each at its end.

    version_of: returns what is known of a version in memory; None if it is not there.
    random: returns numbers from 0 to below 1.
    """

    def __init__(
        self,
        settings: CollectorSettings,
        *,
        version_of: Callable[[ModelRef], ServedVersion | None],
        sink: RecordSink,
        clock: Clock,
        random: Callable[[], float],
    ) -> None:
        self._settings = settings
        self._version_of = version_of
        self._sink = sink
        self._clock = clock
        self._random = random
        self._versions: dict[ModelRef, _Version | None] = {}
        self._described: set[ModelRef] = set()
        self._num_records = 0
        self._window_start = self._window_of(clock.wall_ms())

    def on_result(self, result: BatchResult) -> None:
        """Count some of the rows of a micro-batch that was predicted."""
        num_rows = len(result.values_BO)
        if not num_rows:
            return
        version = self._versions.get(result.model) or self._begin(result.model)
        if version is None:
            return
        rows = version.sampler.choose(num_rows, self._clock.monotonic_s())
        if rows is None:
            version.counter.see(num_rows)
            return
        self._write_if_over()
        # It may have been forgotten just now, if it had no rows in the window that ended.
        self._versions[result.model] = version
        version.counter.see(num_rows)
        x_BF = result.batch.features()
        if x_BF.shape != (num_rows, version.width):
            return
        version.counter.add_rows(x_BF[rows])
        values_BO, classes_B = result.values_BO[rows], result.classes_B
        if classes_B is not None:
            classes_B = classes_B[rows]
        if result.failures:
            failed_B = np.zeros(num_rows, np.bool_)
            failed_B[list(result.failures)] = True
            predicted_B = ~failed_B[rows]
            values_BO = values_BO[predicted_B]
            classes_B = None if classes_B is None else classes_B[predicted_B]
        version.counter.add_scores(values_BO, classes_B)

    def _begin(self, ref: ModelRef) -> _Version | None:
        """Prepare to count a version. None if its rows are not counted, which the log says once."""
        if ref in self._versions:
            return None
        found = self._version_of(ref)
        if found is None:
            return None
        version = self._versions[ref] = self._version(ref, found)
        self._described.add(ref)
        counted = [version for version in self._versions.values() if version is not None]
        for other in counted:
            other.sampler.set_limit(self._settings.max_rows_per_s / len(counted))
        return version

    def _version(self, ref: ModelRef, found: ServedVersion) -> _Version | None:
        if found.is_windowed:
            self._say(ref, "the rows of %s are not counted for drift: it takes windows over event time")
            return None
        bins = model_bins(found.signature, found.reference, ignored=self._settings.ignored)
        if found.reference is None:
            self._say(
                ref,
                "the manifest of %s has no reference statistics: of its drift, only "
                + ("scores and classes are counted, and compared with earlier windows" if bins.columns else "nothing")
                + "; versions registered with reference_statistics, such as those of `forebay train`, are compared with "
                "their training",
            )
        if not bins.columns:
            return None
        sampler = RowSampler(
            self._settings.max_rows_per_s,
            num_columns=len(bins.columns),
            random=self._random,
            now_s=self._clock.monotonic_s(),
        )
        return _Version(RowCounter(bins), sampler, found.signature.num_features)

    def _say(self, ref: ModelRef, message: str) -> None:
        if ref not in self._described:
            log.warning(message, ref)

    def _window_of(self, wall_ms: int) -> int:
        return wall_ms - wall_ms % self._settings.window_ms

    def _write_if_over(self) -> None:
        window_start = self._window_of(self._clock.wall_ms())
        if window_start != self._window_start:  # earlier if the clock was set back
            self.write()
            self._window_start = window_start

    def write(self) -> None:
        """Write the counts of the current window, and forget versions without rows."""
        window_end = self._window_start + self._settings.window_ms
        for ref, version in list(self._versions.items()):
            if version is None:
                continue
            counts = version.counter.take(DriftKey(ref.name, ref.version, self._window_start, window_end))
            if not counts.seen:
                del self._versions[ref]
                continue
            self._num_records += 1
            key, value = encode_drift(counts, worker=self._settings.worker, number=self._num_records)
            self._send(ref, key, value)

    def _send(self, ref: ModelRef, key: bytes, value: bytes) -> None:
        topic = self._settings.topic
        size = RECORD_OVERHEAD_BYTES + len(key) + len(value)
        if size > topic.max_bytes:
            log.warning(
                "the counts of %s take %d bytes; %s takes %d: they are lost", ref, size, topic.name, topic.max_bytes
            )
            return
        outgoing = Outgoing()
        outgoing.append(key, value, [], offset=0)
        self._sink.offer({TopicPartition(topic.name, 0): outgoing}, num_bytes=size, num_events=1, on_lost=_log_lost)

    async def run(self) -> None:
        """Write the counts of windows that end while there is no traffic, until cancelled."""
        while True:
            await asyncio.sleep(CHECK_S)
            try:
                self._write_if_over()
            except Exception:
                log.exception("counts of drift are no longer written in time; outcomes are not affected")
                return


def _log_lost(num_records: int) -> None:
    log.warning("%d records of drift are lost: the windows of this worker have fewer rows", num_records)


class DriftObserver(NullObserver):
    """Gives the results of the stream to the collector, and keeps its errors away from the stream."""

    def __init__(self) -> None:
        self._collector: DriftCollector | None = None

    def connect(self, collector: DriftCollector) -> None:
        """Set the collector. It is built after the observers."""
        self._collector = collector

    def on_result(self, result: BatchResult) -> None:
        if self._collector is None:
            return
        try:
            self._collector.on_result(result)
        except Exception:
            log.exception("drift is no longer counted: counting failed; outcomes are not affected")
            self._collector = None
