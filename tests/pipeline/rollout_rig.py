"""The rig of the pipeline with rollouts."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import orjson

from forebay.models.artefacts.signature import Signature
from forebay.stream.core.backoff import Backoff
from forebay.stream.core.model_ref import ModelRef
from forebay.stream.core.outputs import OutputTopic, OutputTopics
from forebay.stream.core.records import Committed, Epoch, TopicPartition
from forebay.stream.decode import DecodedModel, Decoder
from forebay.stream.decode.versioned_decoder import VersionedDecoder
from forebay.stream.eventtime.restore import WithoutWindows
from forebay.stream.inference.device_thread import DeviceThread
from forebay.stream.output.emitter import EmissionBuilder, Emitter, Placer
from forebay.stream.output.encoder import PredictionEncoder
from forebay.stream.output.lanes_emitter import LanesEmitter
from forebay.stream.pipeline.in_flight import Bounds, InFlight
from forebay.stream.pipeline.lane import Lane
from forebay.stream.pipeline.micro_batcher import MicroBatcher
from forebay.stream.pipeline.observer import NullObserver
from forebay.stream.pipeline.pipeline import Pipeline
from forebay.stream.pipeline.rollouts import Rollouts
from forebay.stream.pipeline.stages import Breakers
from forebay.stream.pipeline.switch_ledger import SwitchLedger
from forebay.stream.pipeline.switch_recorder import RevisionRestorer, SwitchRecorder
from forebay.stream.rollouts.switch_log import Switch, decode_switch
from tests.core.build import MODEL
from tests.pipeline.rig import ModelOnLeash, Rig, ScriptedSource

TOPICS = OutputTopics(
    OutputTopic("predictions", 2, 10_000),
    OutputTopic("dead-letters", 2, 10_000),
    OutputTopic("outcome-deltas", 1, 10_000),
)


def emitter(ref: ModelRef) -> Emitter:
    return Emitter(
        PredictionEncoder(model=ref.name, version=ref.version, labels=("no", "yes"), num_classes=2),
        model=ref.name,
        version=ref.version,
        topics=TOPICS,
        placer=Placer({"features": 2}, len),
        worker="w",
    )


class RestoringSource(ScriptedSource):
    """A scripted source that keeps metadata and restores the ledger from it, as the real source does."""

    def __init__(self, rig: RolloutRig) -> None:
        super().__init__(rig.log)
        self._restorer = RevisionRestorer(WithoutWindows(), rig.ledger)
        self.metadata = dict.fromkeys(rig.log, "")
        self.restore()

    def restore(self) -> None:
        self._restorer.restore(
            {place: Committed(offset, self.metadata[place]) for place, offset in self.committed.items()}
        )

    async def rewind(self) -> None:
        await super().rewind()
        self.restore()

    async def commit(
        self, positions: Mapping[TopicPartition, int], metadata: Mapping[TopicPartition, str], epoch: Epoch
    ) -> None:
        await super().commit(positions, metadata, epoch)
        self.metadata |= {place: metadata.get(place, "") for place in positions}


class RolloutRig(Rig):
    """A pipeline that begins with version 1 of a model. Use `add` for other versions."""

    def __init__(self, counts: Sequence[int], **options: Any) -> None:
        super().__init__(counts, **options)
        self.pipeline = Pipeline(
            InFlight(Bounds(options.get("max_events", 64), 10**6, 100), limit_batches=False),
            Breakers(self.breaker("cluster"), {MODEL: self.model_breaker}),
            NullObserver(),
            revoke_timeout_s=60,
            max_poll_records=options.get("max_poll", 7),
            clock=self.clock,
        )
        self.versioned = VersionedDecoder([DecodedModel(MODEL, self.model.signature)], max_event_bytes=1000)
        self.ledger = SwitchLedger(["m"])
        self.recorder = SwitchRecorder(self.ledger, OutputTopic("rollout-switches", 1, 10_000), worker="w")
        self.emitters = LanesEmitter({MODEL: emitter(MODEL)}, record_switches=self.recorder.record)
        self.source: RestoringSource = RestoringSource(self)
        self.models = {MODEL.version: self.model}
        self.devices: list[DeviceThread] = []

    def emission_builder(self) -> EmissionBuilder:
        return self.emitters

    def decoder(self) -> Decoder:
        return self.versioned

    def rollouts(self) -> Rollouts | None:
        return Rollouts(self.versioned, self.emitters, self.ledger, self.recorder)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[asyncio.Task[None]]:
        async with super().running() as committing:
            yield committing
        for device in self.devices:
            device.stop()

    async def add(self, version: int, takes: Signature | None = None) -> ModelOnLeash:
        """Load a version and add its lane."""
        model = self.models[version] = ModelOnLeash()
        model.version = version
        if takes is not None:
            model.signature = takes
        ref, breaker = ModelRef("m", version), self.breaker(f"model {version}")
        device = DeviceThread(
            model,
            clock=self.clock,
            loop=asyncio.get_running_loop(),
            breaker=breaker,
            backoff=Backoff(jitter=lambda: 0.0),
            on_fatal=self.deaths.append,
        )
        self.devices.append(device)
        await device.start([1])
        lane = Lane(
            ref,
            executor=device,
            batcher=MicroBatcher(max_batch_size=self.max_batch_size, max_batch_bytes=10**6, max_queue_delay_ms=5),
            breaker=breaker,
            call_limits=self.call_limits,
        )
        self.pipeline.add_lane(lane, emitter(ref), DecodedModel(ref, model.signature))
        return model

    def switches(self) -> list[Switch]:
        """Return the switches that were sent."""
        return [decode_switch(b"m", value) for place, value in self.producer.sent if place.topic == "rollout-switches"]

    def versions_of_outcomes(self) -> dict[TopicPartition, dict[int, list[int]]]:
        """Return the versions that predicted each offset, by partition of the input."""
        versions: dict[TopicPartition, dict[int, list[int]]] = defaultdict(lambda: defaultdict(list))
        for place, value in self.producer.sent:
            if place.topic == "predictions":
                prediction = orjson.loads(value or b"")
                source = prediction["source"]
                versions[TopicPartition(source["topic"], source["partition"])][source["offset"]].append(
                    prediction["version"]
                )
        return versions
