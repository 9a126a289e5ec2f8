"""The shadows of a worker: started and stopped as revisions of rollouts say."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from forebay.models.artefacts.signature import Signature
from forebay.models.backends.protocol import Model
from forebay.schemas.errors import ForebayError
from forebay.schemas.rollouts import Action
from forebay.stream.config.models_section import ServedModelSettings
from forebay.stream.core.clock import Clock
from forebay.stream.core.model_ref import ModelRef
from forebay.stream.core.outputs import OutputTopic
from forebay.stream.core.records import BatchResult
from forebay.stream.decode import DecodedModel, Decoder
from forebay.stream.decode.event_formats import EventFormats
from forebay.stream.inference.decision import decision_layer
from forebay.stream.pipeline.observer import NullObserver
from forebay.stream.rollouts.revision import Revision
from forebay.stream.rollouts.sampling import OffsetSample
from forebay.stream.shadows.job import OnOutcome, ShadowExecutor
from forebay.stream.shadows.lane import PairSink, ShadowLane, ShadowLimits, ShadowState
from forebay.stream.shadows.share_budget import ShareBudget
from forebay.stream.shadows.thread import ShadowThread
from forebay.stream.shadows.work import IdentifierProtection, ShadowWork

log = logging.getLogger("forebay.shadows")

CHECK_S: Final = 1.0


class ShadowLoader(Protocol):
    """Loads versions beside the stream (see `worker.resident_versions`)."""

    async def load(self, ref: ModelRef, digest: str | None) -> Model:
        """Return the version, loaded, checked and warmed up. Raises ModelError."""


@dataclass(frozen=True, slots=True)
class ShadowSettings:
    """What all shadows of a worker share.

    topic: where pairs are sent.
    models: the settings of the served models, by name.
    windowed: names of the models that take windows over event time. They have no shadows.
    queue_batches: the number of micro-batches that may wait for one shadow, or run.
    deadline_s: a micro-batch that waited longer is dropped.
    max_share: the share of one core's time that all shadows together may take.
    formats: the formats and mappings of the input topics.
    make_protection: returns what protects ids and keys, for the thread of one shadow; None if nothing does.
    """

    topic: OutputTopic
    models: Mapping[str, ServedModelSettings]
    windowed: frozenset[str]
    queue_batches: int
    deadline_s: float
    max_share: float
    max_event_bytes: int
    max_key_bytes: int
    formats: EventFormats | None = None
    make_protection: Callable[[], IdentifierProtection] | None = None


class ShadowLanes:
    """Starts and stops shadows, and gives them results.

    signature_of: returns the signature of a version that predicts events; None if the worker does not have it.
    make_executor: for tests.
    """

    def __init__(
        self,
        settings: ShadowSettings,
        *,
        loader: ShadowLoader,
        signature_of: Callable[[ModelRef], Signature | None],
        is_load_high: Callable[[], bool],
        sink: PairSink,
        clock: Clock,
        make_executor: Callable[[ShadowWork, OnOutcome], ShadowExecutor] | None = None,
    ) -> None:
        self._settings = settings
        self._loader = loader
        self._signature_of = signature_of
        self._is_load_high = is_load_high
        self._sink = sink
        self._clock = clock
        self._make_executor = make_executor or self._thread
        self._budget = ShareBudget(settings.max_share, now_s=clock.monotonic_s())
        self._lanes: dict[str, dict[int, ShadowLane]] = {}
        self._loads: dict[ModelRef, asyncio.Task[None]] = {}

    def apply(self, revision: Revision) -> None:
        """Start the shadows of a revision and stop those of the model that are not in it. Does not wait for loads."""
        wanted = {shadow.version: shadow for shadow in revision.shadows}
        lanes = self._lanes.setdefault(revision.model, {})
        for version in [version for version in lanes if version not in wanted]:
            self._stop(lanes.pop(version))
        for version, shadow in wanted.items():
            sample = OffsetSample(shadow.sample, revision.seed)
            lane = lanes.get(version)
            if lane is not None and not _starts_again(lane.state, revision.action):
                lane.sample, lane.revision = sample, revision.number
                continue
            lanes[version] = self._start(ModelRef(revision.model, version), sample, revision)

    def on_result(self, result: BatchResult) -> None:
        """Offer a result to the shadows of its model. Never waits."""
        for lane in self._lanes.get(result.model.name, {}).values():
            lane.offer(result)

    def disable_all(self, reason: str) -> None:
        """Disable all shadows after an error in this package, which must not reach the stream."""
        for lane in self._all():
            lane.disable(reason)

    def comparisons(self, model: str) -> Mapping[int, Mapping[str, Any]]:
        """Return the status of the shadows of a model by version, as JSON values."""
        return {version: lane.status() for version, lane in self._lanes.get(model, {}).items()}

    def all_lanes(self) -> Sequence[ShadowLane]:
        """Return all shadows, for metrics."""
        return list(self._all())

    @property
    def used_share(self) -> float:
        """The share of one core's time that all shadows have taken."""
        return self._budget.used_share(self._clock.monotonic_s())

    async def run(self) -> None:
        """Watch for calls that hang, until cancelled."""
        while True:
            await asyncio.sleep(CHECK_S)
            for lane in self._all():
                lane.check_call()

    async def stop(self) -> None:
        """Stop all shadows without waiting for their threads."""
        for lane in self._all():
            lane.stop()
        loads = list(self._loads.values())
        for load in loads:
            load.cancel()
        await asyncio.gather(*loads, return_exceptions=True)

    def _all(self) -> list[ShadowLane]:
        return [lane for lanes in self._lanes.values() for lane in lanes.values()]

    def _start(self, ref: ModelRef, sample: OffsetSample, revision: Revision) -> ShadowLane:
        primaries: dict[int, Signature] = {}
        own_columns: dict[int, bool] = {}
        shadow_signature: list[Signature] = []

        def has_same_columns(primary: ModelRef) -> bool | None:
            if primary.version not in own_columns:
                signature = self._signature_of(primary)
                if signature is None or not shadow_signature:
                    return None
                primaries[primary.version] = signature
                own_columns[primary.version] = same_columns(signature, shadow_signature[0])
            return own_columns[primary.version]

        lane = ShadowLane(
            ref,
            sample=sample,
            revision=revision.number,
            limits=ShadowLimits(
                self._settings.queue_batches, self._settings.models[ref.name].model.call_timeout_ms / 1000
            ),
            budget=self._budget,
            has_same_columns=has_same_columns,
            is_load_high=self._is_load_high,
            sink=self._sink,
            clock=self._clock,
        )
        if ref.name in self._settings.windowed:
            lane.fail("the model takes windows over event time, which shadows do not support yet")
            return lane
        load = self._load(lane, revision.digests.get(ref.version), primaries, shadow_signature)
        self._loads[ref] = asyncio.create_task(load, name=f"load-shadow-{ref.name}-{ref.version}")
        return lane

    def _stop(self, lane: ShadowLane) -> None:
        load = self._loads.pop(lane.ref, None)
        if load is not None:
            load.cancel()
        lane.stop()
        log.info("the shadow %s has ended", lane.ref)

    async def _load(
        self, lane: ShadowLane, digest: str | None, primaries: dict[int, Signature], own: list[Signature]
    ) -> None:
        """Load and warm up a shadow. An error is only shown: it changes nothing of the rollout."""
        settings = self._settings.models[lane.ref.name]
        try:
            model = await self._loader.load(lane.ref, digest)
            executor = self._make_executor(self._work(lane.ref, model, primaries), lane.on_outcome)
            try:
                await executor.start([settings.batch.max_batch_size])
            except BaseException:
                executor.stop()
                raise
        except ForebayError as error:
            lane.fail(error.message)
        except Exception as error:  # of the model's own code
            lane.fail(f"{type(error).__name__}: {error}")
        else:
            own.append(model.signature)
            lane.run_on(executor)
            log.info("the shadow %s predicts %g %% of the events", lane.ref, 100 * lane.sample.share)

    def _work(self, ref: ModelRef, model: Model, primaries: dict[int, Signature]) -> ShadowWork:
        settings = self._settings
        served = settings.models[ref.name]
        own_threshold = getattr(model, "threshold", None)
        decoder = Decoder(
            [DecodedModel(ref, model.signature)],
            max_event_bytes=settings.max_event_bytes,
            max_key_bytes=settings.max_key_bytes,
            formats=settings.formats,
        )
        return ShadowWork(
            model,
            decoder=decoder,
            primaries=primaries,
            topic=settings.topic,
            clock=self._clock,
            deadline_s=settings.deadline_s,
            protection=None if settings.make_protection is None else settings.make_protection(),
            decision=decision_layer(
                served.decision, model.signature, ref, served.decision_section, own_threshold=own_threshold
            ),
        )

    def _thread(self, work: ShadowWork, on_outcome: OnOutcome) -> ShadowExecutor:
        return ShadowThread(work, on_outcome=on_outcome, clock=self._clock, loop=asyncio.get_running_loop())


class ShadowObserver(NullObserver):
    """Gives the results of the stream to the shadows, and keeps their errors away from it."""

    def __init__(self) -> None:
        self._lanes: ShadowLanes | None = None

    def connect(self, lanes: ShadowLanes) -> None:
        """Set the lanes. They are built after the observers."""
        self._lanes = lanes

    def on_result(self, result: BatchResult) -> None:
        if self._lanes is None:
            return
        try:
            self._lanes.on_result(result)
        except Exception as error:
            log.exception("shadows failed")
            with contextlib.suppress(Exception):
                self._lanes.disable_all(f"{type(error).__name__}: {error}")


def _starts_again(state: ShadowState, action: Action) -> bool:
    """Return whether a shadow is started again by a revision that still has it. A disabled one only if that is its purpose."""
    return state is ShadowState.FAILED or (state is ShadowState.DISABLED and action is Action.SHADOW)


def same_columns(first: Signature, second: Signature) -> bool:
    """Return whether rows that were decoded for one version can be given to the other."""
    return first.features == second.features and first.shape == second.shape
