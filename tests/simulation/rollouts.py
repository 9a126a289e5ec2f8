"""Rollouts in the simulation: the revisions that all members read, and the follower of one member."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final

import numpy as np

from forebay.models.artefacts.signature import Feature, Signature
from forebay.stream.core.backoff import Backoff
from forebay.stream.core.model_ref import ModelRef
from forebay.stream.core.outputs import OutputTopic
from forebay.stream.decode import DecodedModel
from forebay.stream.decode.versioned_decoder import VersionedDecoder
from forebay.stream.output.lanes_emitter import LanesEmitter
from forebay.stream.pipeline.pipeline import Pipeline
from forebay.stream.pipeline.rollouts import Rollouts
from forebay.stream.pipeline.served_revision import ServedRevision
from forebay.stream.pipeline.switch_ledger import SwitchLedger
from forebay.stream.pipeline.switch_recorder import SwitchRecorder
from forebay.stream.rollouts.allocation import SLOTS, Allocation
from tests.core.build import signature
from tests.simulation.audit import SWITCHES
from tests.simulation.lanes import NUM_FEATURES, LaneOptions, SimulatedLane, build_lane, emitter_of
from tests.simulation.world import World

MODEL: Final = "m"
VERSIONS: Final = (1, 2, 3)
_FOLLOW_S: Final = (0.05, 0.3, 1.0, 2.0, 20.0)
_OTHER_COLUMNS: Final = Signature(
    tuple(Feature(f"f{index}", nullable=True) for index in range(NUM_FEATURES)), (NUM_FEATURES,), "binary", 1
)


def signature_of(version: int) -> Signature:
    """Return the signature of a version of the model: the last one has other columns."""
    return _OTHER_COLUMNS if version == VERSIONS[-1] else signature(NUM_FEATURES)


class SimulatedRevisions:
    """The topic of revisions, as all members read it sooner or later."""

    def __init__(self) -> None:
        self._revisions = [self._build(0, 1, {}, seed=0, route_by=None)]

    @property
    def newest(self) -> int:
        """The number of the last revision."""
        return len(self._revisions) - 1

    def __getitem__(self, number: int) -> ServedRevision:
        return self._revisions[number]

    def propose(self, stable: int, weights: Mapping[int, int], *, seed: int, route_by: str | None) -> None:
        """Append a revision. weights: of the canaries, in percent."""
        self._revisions.append(self._build(self.newest + 1, stable, weights, seed=seed, route_by=route_by))

    @staticmethod
    def _build(
        number: int, stable: int, weights: Mapping[int, int], *, seed: int, route_by: str | None
    ) -> ServedRevision:
        versions, start = np.full(SLOTS, stable, np.int64), 0
        for version, weight in weights.items():
            end = start + weight * SLOTS // 100
            versions[start:end] = version
            start = end
        return ServedRevision(
            model=MODEL, number=number, stable=stable, allocation=Allocation(seed, versions), route_by=route_by
        )


class RolloutParts:
    """The parts of a member in which revisions take effect. lanes: of the configured versions."""

    def __init__(self, lanes: list[SimulatedLane], *, worker: str) -> None:
        self.ledger = SwitchLedger([MODEL])
        self.recorder = SwitchRecorder(self.ledger, OutputTopic(SWITCHES, 1, 10_000), worker=worker)
        models = [DecodedModel(lane.model.ref, lane.model.signature, lane.lane.topics) for lane in lanes]
        self.decoder = VersionedDecoder(models, max_event_bytes=1000)

    def rollouts(self, emitters: LanesEmitter) -> Rollouts:
        """Return what the pipeline uses."""
        return Rollouts(self.decoder, emitters, self.ledger, self.recorder)


class SimulatedFollower:
    """Applies revisions in a member, some time after they were proposed: the newest, or one that it reads first."""

    def __init__(
        self,
        revisions: SimulatedRevisions,
        pipeline: Pipeline,
        world: World,
        *,
        worker: str,
        served: list[SimulatedLane],
    ) -> None:
        self._revisions = revisions
        self._pipeline = pipeline
        self._world = world
        self._worker = worker
        self._served = served
        self._backoff = Backoff(0.1, 1.0, world.rng.random)
        self._applied = asyncio.Event()

    def prepare(self) -> None:
        """Apply the newest revision, before the group is joined."""
        self._apply(self._revisions.newest)

    async def run(self) -> None:
        """Follow the revisions for ever."""
        while True:
            await asyncio.sleep(self._world.rng.choice(_FOLLOW_S))
            newest, applied = self._revisions.newest, self._pipeline.revisions()[MODEL]
            if newest > applied:
                self._apply(self._world.rng.randint(applied + 1, newest))
            self._remove_unused()

    async def wait_for(self, required: Mapping[str, int]) -> None:
        """Return once a revision is applied."""
        while self._pipeline.revisions()[MODEL] < required.get(MODEL, 0):
            self._applied.clear()
            await self._applied.wait()

    def _apply(self, number: int) -> None:
        revision = self._revisions[number]
        for ref in sorted(revision.refs):
            if all(lane.model.ref != ref for lane in self._served):
                self._load(ref)
        self._pipeline.switch(revision)
        self._applied.set()

    def _load(self, ref: ModelRef) -> None:
        options = LaneOptions(ref.name, version=ref.version)
        lane = build_lane(options, self._world, self._backoff, takes=signature_of(ref.version))
        self._served.append(lane)
        decoded = DecodedModel(ref, lane.model.signature)
        self._pipeline.add_lane(lane.lane, emitter_of(lane, worker=self._worker, clock=self._world), decoded)

    def _remove_unused(self) -> None:
        for lane in list(self._served):
            if (
                lane.model.name == MODEL
                and self._world.rng.random() < 0.3
                and self._pipeline.remove_lane(lane.model.ref)
            ):
                lane.device.stop()
                self._served.remove(lane)
