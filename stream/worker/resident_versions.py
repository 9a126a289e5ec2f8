"""The versions in a worker's memory: each has a lane, which is built and removed while the worker runs."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final, Protocol

from forebay.models.artefacts.signature import Signature
from forebay.models.backends.protocol import Model
from forebay.stream.admin.served_model import ServedModels
from forebay.stream.admin.status_observer import StatusObserver
from forebay.stream.config.models_section import ServedModelSettings
from forebay.stream.core.circuit_breaker import BreakerState
from forebay.stream.core.model_ref import ModelRef
from forebay.stream.decode import DecodedModel
from forebay.stream.output.emitter import ModelEmitter
from forebay.stream.pipeline.lane import Lane
from forebay.stream.pipeline.objective_control import ObjectiveControl
from forebay.stream.pipeline.stages import Breakers
from forebay.stream.telemetry.telemetry import ModelOnDevice, Telemetry
from forebay.stream.telemetry.timestamp_warning import TimestampWarning
from forebay.stream.worker.lane_assembly import ServedLane
from forebay.stream.worker.version_loader import LoadedVersion, require_digest

WARM_UP_S: Final = 300.0
"""How long the last warm-up may take, on the thread of the version."""


class LanePipeline(Protocol):
    """The part of the pipeline that adds and removes lanes."""

    def add_lane(self, lane: Lane, emitter: ModelEmitter, decoded: DecodedModel) -> None: ...
    def remove_lane(self, ref: ModelRef) -> bool: ...


class Loader(Protocol):
    """Loads versions (see `worker.version_loader`)."""

    async def load(self, settings: ServedModelSettings, version: int, *, digest: str | None) -> LoadedVersion: ...
    async def digest(self, settings: ServedModelSettings, version: int) -> str: ...
    def is_waiting(self, ref: ModelRef) -> bool: ...


class LaneFactory(Protocol):
    """Builds the parts of a version (see `worker.lane_factory`)."""

    def lane(self, model: Model, settings: ServedModelSettings, topics: frozenset[str]) -> ServedLane: ...
    def emitter(self, lane: ServedLane) -> ModelEmitter: ...


@dataclass(frozen=True, slots=True)
class VersionReports:
    """What reports the versions of a worker, and is built from the first ones.

    objective: sets the limits of their micro-batches; None if there is no objective.
    """

    models: ServedModels
    breakers: Breakers
    telemetry: Telemetry
    status_observer: StatusObserver
    timestamp_warning: TimestampWarning
    objective: ObjectiveControl | None = None

    def add(self, lane: ServedLane) -> None:
        """Report a version from now on."""
        ref, served = lane.ref, lane.served_model(None)
        self.models.add(served)
        self.breakers.models[ref] = lane.lane.breaker
        self.telemetry.add_model(ModelOnDevice(ref, served.device))
        self.status_observer.add_model(ref)
        self.timestamp_warning.add_model(ref)
        if self.objective is not None:
            self.objective.add_lane(lane.lane)

    def remove(self, ref: ModelRef) -> None:
        """Report a version no longer."""
        self.models.remove(ref)
        del self.breakers.models[ref]
        self.telemetry.remove_model(ref)
        self.status_observer.remove_model(ref)
        if self.objective is not None:
            self.objective.remove_lane(ref)


class ResidentVersions:
    """The lanes of a worker.

    lanes: of the versions with which it starts; their executors are started by the worker.
    """

    def __init__(
        self,
        lanes: Sequence[ServedLane],
        *,
        pipeline: LanePipeline,
        loader: Loader,
        factory: LaneFactory,
        reports: VersionReports,
    ) -> None:
        self._lanes = {lane.ref: lane for lane in lanes}
        self._digests: dict[ModelRef, str] = {}
        self._settings = {lane.ref.name: (lane.settings, lane.topics) for lane in lanes}
        self._pipeline = pipeline
        self._loader = loader
        self._factory = factory
        self._reports = reports

    def __iter__(self) -> Iterator[ServedLane]:
        return iter(tuple(self._lanes.values()))

    def resident(self, model: str) -> tuple[int, ...]:
        """Return the versions of a model that are in memory, in ascending order."""
        return tuple(sorted(ref.version for ref in self._lanes if ref.name == model))

    def cannot_run(self, ref: ModelRef) -> bool:
        """Return whether a version fails on any input, or does not answer: its circuit breaker is open."""
        lane = self._lanes.get(ref)
        return lane is not None and lane.lane.breaker.state is BreakerState.OPEN

    def is_waiting(self, ref: ModelRef) -> bool:
        """Return whether a load waits for a repository, or for a version to appear in it."""
        return self._loader.is_waiting(ref)

    async def load(self, ref: ModelRef, digest: str | None) -> Model:
        """Load one instance of a version for other purposes than to predict events of the stream, such as a shadow."""
        settings = self._settings[ref.name][0]
        one = replace(settings, model=settings.model.model_copy(update={"instances": 1}))
        return (await self._loader.load(one, ref.version, digest=digest)).model

    def signature(self, ref: ModelRef) -> Signature | None:
        """Return the signature of a version in memory; None if it is not there."""
        lane = self._lanes.get(ref)
        return None if lane is None else lane.model.signature

    async def add(self, ref: ModelRef, *, digest: str | None) -> None:
        """Load a version and give it a lane, warm on its own thread. It gets no events yet.

        Raises ForebayError, or what the model raises while it is warmed up.
        """
        settings, topics = self._settings[ref.name]
        loaded = await self._loader.load(settings, ref.version, digest=digest)
        lane = self._factory.lane(loaded.model, settings, topics)
        try:
            # It has run batches of all sizes when it was loaded.
            async with asyncio.timeout(WARM_UP_S):
                await lane.lane.executor.start([lane.max_batch_size])
            self._pipeline.add_lane(lane.lane, self._factory.emitter(lane), lane.decoded_model())
        except BaseException:
            lane.lane.executor.stop()
            raise
        self._lanes[ref], self._digests[ref] = lane, loaded.digest
        self._reports.add(lane)

    async def require(self, ref: ModelRef, *, digest: str | None) -> None:
        """Raise ModelError if a version in memory has another manifest than a revision names."""
        if digest is None:
            return
        if ref not in self._digests:  # the worker started with it
            self._digests[ref] = await self._loader.digest(self._settings[ref.name][0], ref.version)
        require_digest(str(ref), self._digests[ref], digest)

    def set_stable(self, ref: ModelRef) -> None:
        """Report a version as the stable one of its model."""
        self._reports.models.set_stable(ref)

    def remove(self, ref: ModelRef) -> bool:
        """Remove the lane of a version, which frees its memory; return False if something of it is in flight."""
        if not self._pipeline.remove_lane(ref):
            return False
        self._reports.remove(ref)
        self._digests.pop(ref, None)
        self._lanes.pop(ref).lane.executor.stop()
        return True
