"""The assembly of a worker's shadows."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from forebay.stream.decode.event_formats import EventFormats
from forebay.stream.kafka.client import client_options
from forebay.stream.kafka.producer.best_effort_sink import MAX_BATCH_BYTES, BestEffortSink
from forebay.stream.kafka.producer.producer import OutputProducer
from forebay.stream.pipeline.in_flight import InFlight
from forebay.stream.shadows.lanes import ShadowLanes, ShadowObserver, ShadowSettings
from forebay.stream.shadows.load import KnownLags, WorkerLoad
from forebay.stream.worker.commit_assembly import retry_backoff
from forebay.stream.worker.lane_assembly import ServedLane
from forebay.stream.worker.lane_factory import LaneFactory
from forebay.stream.worker.private_identifiers import identifier_protection
from forebay.stream.worker.resident_versions import ResidentVersions

FLUSH_S: Final = 2.0
"""How long a worker that stops waits until the predictions of shadows are sent."""


@dataclass(frozen=True, slots=True)
class Shadows:
    """The shadows of a worker.

    observer: gives them the results of the stream.
    load: what they look at before they take time from the stream.
    """

    lanes: ShadowLanes
    sink: BestEffortSink
    observer: ShadowObserver
    load: WorkerLoad

    async def run(self, lags: KnownLags) -> None:
        """Send predictions and watch for calls that hang, until cancelled. lags: the consumer lag of the worker."""
        self.load.connect(lags)
        async with asyncio.TaskGroup() as group:
            group.create_task(self.sink.run(), name="shadow-sink")
            group.create_task(self.lanes.run(), name="shadow-watch")

    async def stop(self) -> None:
        """Stop the shadows, and send what they have predicted. `run` must still run."""
        await self.lanes.stop()
        await self.sink.stop(timeout_s=FLUSH_S)


def build_shadows(
    lanes: Sequence[ServedLane],
    factory: LaneFactory,
    *,
    versions: ResidentVersions,
    in_flight: InFlight,
    formats: EventFormats,
) -> Shadows:
    """Build the shadows of a worker with rollouts, without starting any.

    lanes: of the versions with which the worker starts.
    versions: in memory. It loads shadows, too.
    formats: of the decoder.
    """
    settings, layout, clock = factory.settings, factory.layout, factory.clock
    topic, rollouts = layout.outputs.shadow_predictions, settings.rollouts
    assert topic is not None
    compression = settings.output.compression_type
    producer = OutputProducer(
        client_options(settings.kafka),
        compression_type=None if compression == "none" else compression,
        max_batch_bytes=min(layout.max_batch_bytes, MAX_BATCH_BYTES),
        backoff=retry_backoff(settings),
        timestamp_bounds=layout.timestamp_bounds,
    )
    sink = BestEffortSink(
        producer, what="predictions of shadows", logger=logging.getLogger("forebay.shadows"), clock=clock
    )
    load, observer = WorkerLoad(in_flight), ShadowObserver()
    shadow_lanes = ShadowLanes(
        ShadowSettings(
            topic=topic,
            models={lane.ref.name: lane.settings for lane in lanes},
            windowed=frozenset(lane.ref.name for lane in lanes if lane.windows is not None),
            queue_batches=rollouts.shadow_queue_batches,
            deadline_s=rollouts.shadow_deadline_ms / 1000,
            max_share=rollouts.shadow_max_share,
            max_event_bytes=settings.input.max_event_bytes,
            max_key_bytes=settings.input.max_key_bytes,
            formats=formats,
            make_protection=identifier_protection(settings.privacy, clock=clock),
        ),
        loader=versions,
        signature_of=versions.signature,
        is_load_high=load.is_high,
        sink=sink,
        clock=clock,
    )
    observer.connect(shadow_lanes)
    return Shadows(shadow_lanes, sink, observer, load)
