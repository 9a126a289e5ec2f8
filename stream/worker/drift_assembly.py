"""The assembly of what counts the rows of a worker for drift."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from forebay.models.artefacts.reference_statistics import ReferenceStatistics
from forebay.stream.core.model_ref import ModelRef
from forebay.stream.kafka.client import client_options
from forebay.stream.kafka.producer.best_effort_sink import BestEffortSink
from forebay.stream.kafka.producer.producer import OutputProducer
from forebay.stream.pipeline.observer import Observer
from forebay.stream.worker.commit_assembly import retry_backoff
from forebay.stream.worker.drift_collector import CollectorSettings, DriftCollector, DriftObserver, ServedVersion
from forebay.stream.worker.lane_assembly import ServedLane
from forebay.stream.worker.lane_factory import LaneFactory

log = logging.getLogger("forebay.drift")

FLUSH_S: Final = 2.0
"""How long a worker that stops waits until the counts are sent."""


@dataclass(frozen=True, slots=True)
class DriftParts:
    """What a worker has if drift is enabled."""

    collector: DriftCollector
    sink: BestEffortSink

    async def run(self) -> None:
        """Write and send counts, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self.sink.run(), name="drift-sink")
            group.create_task(self.collector.run(), name="drift-windows")

    async def stop(self) -> None:
        """Write and send the counts of the current window. `run` must still run."""
        try:
            self.collector.write()
        except Exception:
            log.exception("the counts of drift cannot be written; outcomes are not affected")
        await self.sink.stop(timeout_s=FLUSH_S)


def build_drift(
    lanes: Iterable[ServedLane], factory: LaneFactory, observe: Callable[[Observer], None]
) -> DriftParts | None:
    """Build the parts, without starting them; None if drift is not enabled.

    lanes: of the versions in memory. Read again for each new version.
    observe: adds an observer of the stream.
    """
    settings, layout, clock = factory.settings, factory.layout, factory.clock
    topic = layout.outputs.drift
    if topic is None:
        return None
    compression = settings.output.compression_type
    producer = OutputProducer(
        client_options(settings.kafka),
        compression_type=None if compression == "none" else compression,
        max_batch_bytes=min(layout.max_batch_bytes, topic.max_bytes),
        backoff=retry_backoff(settings),
        timestamp_bounds=layout.timestamp_bounds,
    )
    sink = BestEffortSink(producer, what="records of drift", logger=log, clock=clock)

    def version_of(ref: ModelRef) -> ServedVersion | None:
        return next((_served_version(lane) for lane in lanes if lane.ref == ref), None)

    collector = DriftCollector(
        CollectorSettings(
            topic=topic,
            window_ms=settings.drift.window_s * 1000,
            max_rows_per_s=settings.drift.max_rows_per_s,
            ignored=settings.drift.ignored_columns,
            worker=factory.worker,
        ),
        version_of=version_of,
        sink=sink,
        clock=clock,
        random=random.random,
    )
    observer = DriftObserver()
    observer.connect(collector)
    observe(observer)
    return DriftParts(collector, sink)


def _served_version(lane: ServedLane) -> ServedVersion:
    # Models of a user's own code need not have the attribute.
    reference = getattr(lane.model, "reference", None)
    return ServedVersion(
        lane.model.signature,
        reference if isinstance(reference, ReferenceStatistics) else None,
        is_windowed=lane.windows is not None,
    )
