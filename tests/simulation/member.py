"""A member of the simulated group: the parts of a worker, assembled as `worker.assembly` does, in a simulated process."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, Final

from forebay.schemas.errors import BrokerError, ForebayError, ModelError
from forebay.stream.core.backoff import Backoff
from forebay.stream.core.cancellation import cancel_until_done
from forebay.stream.core.records import Epoch
from forebay.stream.eventtime.lane_windows import LaneWindows
from forebay.stream.eventtime.restore import WithoutWindows
from forebay.stream.kafka.consumer.source import Source
from forebay.stream.kafka.consumer.start_offsets import StartPolicy
from forebay.stream.kafka.producer.producer import OutputProducer, TransactionSettings
from forebay.stream.kafka.producer.transaction import Transaction
from forebay.stream.output.lanes_emitter import LanesEmitter
from forebay.stream.pipeline.committer import Committer
from forebay.stream.pipeline.dead_letter_limit import DeadLetterLimit, DeadLetterLimits
from forebay.stream.pipeline.in_flight import Bounds, InFlight
from forebay.stream.pipeline.observer import NullObserver
from forebay.stream.pipeline.pipeline import Pipeline
from forebay.stream.pipeline.priorities import Priorities
from forebay.stream.pipeline.schema_admission import SchemaAdmission
from forebay.stream.pipeline.stages import Breakers, Stages
from forebay.stream.pipeline.switch_recorder import RevisionRestorer
from tests.simulation.cluster import SimulatedCluster
from tests.simulation.consumer import ForgetfulCoordinator, SimulatedConsumer
from tests.simulation.lanes import (
    INPUTS,
    MIXED,
    OWN,
    LaneOptions,
    SimulatedLane,
    build_lane,
    circuit_breaker,
    decoder,
    emission_builder,
    window_stages,
)
from tests.simulation.network import Connection
from tests.simulation.rollouts import RolloutParts, SimulatedFollower, SimulatedRevisions
from tests.simulation.world import SimulationError, World

GROUP: Final = "group"
TRANSACTION_TIMEOUT_S: Final = 10.0
COMMIT_TIMEOUT_S: Final = 9.0
REVOKE_TIMEOUT_S: Final = 3.0
STOP_TIMEOUT_S: Final = 5.0
EXPECTED_ENDS: Final = {"transactional_id_in_use", "call_timeout"}
"""The kinds of errors with which a worker may end in the simulation: it does so to be safe, and is started again."""


class Member:
    """A worker. Call `start` once.

    name: of the instance; the transactional id contains it, so that a restarted member ends what it left open.
    lineup: the lanes.
    revisions: None without rollouts.
    """

    def __init__(
        self,
        world: World,
        cluster: SimulatedCluster,
        name: str,
        *,
        incarnation: int,
        lineup: Sequence[LaneOptions],
        revisions: SimulatedRevisions | None = None,
    ) -> None:
        self._world = world
        self.cluster = cluster
        self.name = name
        self.process = world.process(f"{name}.{incarnation}")
        self.connection = Connection(self.process, cluster)
        self.failure: BaseException | None = None
        self._failed: asyncio.Event
        self._stopping: asyncio.Event
        self._tasks: list[asyncio.Task[Any]] = []
        self.lineup = lineup
        self._revisions = revisions
        self._rollouts: RolloutParts | None = None
        self._follower: SimulatedFollower | None = None
        self.served: list[SimulatedLane] = []
        self.windows: LaneWindows | None = None

    def start(self) -> None:
        """Start the process."""
        self._main = self.process.spawn(self._run(), "main")

    @property
    def has_ended(self) -> bool:
        """Whether the process has ended, by itself or because it was killed."""
        return self.process.killed or self._main.done()

    @property
    def coordinator(self) -> ForgetfulCoordinator | None:
        """The client's group coordinator; None before the member has started it."""
        consumer = getattr(self, "consumer", None)
        return getattr(consumer, "_coordinator", None)

    def drain(self) -> None:
        """Ask the worker to commit what it has and to leave, as SIGTERM does."""
        if not self.has_ended:
            self.process.loop.call_soon(lambda: self._stopping.set())

    def check(self) -> None:
        """Raise SimulationError if the worker has ended with an error that the simulation does not account for."""
        error = self.failure
        if error is None and not self.process.killed and self._main.done():
            error = self._main.exception()
        if error is not None and not (isinstance(error, ForebayError) and error.kind in EXPECTED_ENDS):
            raise SimulationError(f"{self.process.name} ended: {type(error).__name__}: {error}") from error

    # ---- in the process

    async def _run(self) -> None:
        self._failed, self._stopping = asyncio.Event(), asyncio.Event()
        self._build()
        try:
            await self.producer.restart()
            if self._follower is not None:
                self._follower.prepare()
            await self.source.start()
            await self._work()
        except (BrokerError, ModelError) as error:
            self._report(error)
        finally:
            await cancel_until_done(*self._tasks)
            await self.source.stop(timeout_s=STOP_TIMEOUT_S)
            await self.producer.stop(timeout_s=STOP_TIMEOUT_S)

    async def _work(self) -> None:
        pipeline = self.pipeline
        self._run_task(pipeline.commit_forever(), "commit")
        self._run_task(pipeline.feed_lanes(), "device")
        self._run_task(pipeline.watch(), "watch")
        if self._follower is not None:
            self._run_task(self._follower.run(), "follower")
        polling = self._run_task(pipeline.run(), "poll")
        failed = asyncio.create_task(self._failed.wait(), name="failed")
        stopping = asyncio.create_task(self._stopping.wait(), name="stopping")
        self._tasks += [failed, stopping]
        await asyncio.wait([failed, stopping], return_when=asyncio.FIRST_COMPLETED)
        if failed.done():
            return
        pipeline.stop()
        draining = self._run_task(self._drain(polling), "drain")
        await asyncio.wait([failed, draining], timeout=20.0, return_when=asyncio.FIRST_COMPLETED)

    async def _drain(self, polling: asyncio.Task[Any]) -> None:
        await asyncio.wait([polling])
        await self.pipeline.drain()

    def _run_task(self, coroutine: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        task = asyncio.create_task(coroutine, name=name)
        task.add_done_callback(self._on_done)
        self._tasks.append(task)
        return task

    def _on_done(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self._report(error)

    def _report(self, error: BaseException) -> None:
        if self.failure is None:
            self.failure = error
            self._failed.set()

    # ---- the parts

    def _build(self) -> None:
        world = self._world
        backoff = Backoff(0.1, 1.0, world.rng.random)
        self.served = [build_lane(lane, world, backoff) for lane in self.lineup]
        self.windows = window_stages(self.served, world)
        merges = len(self.served) > 1 or self._revisions is not None
        priorities = self._priorities()
        in_flight = InFlight(Bounds(60, 10**6, 8), limit_batches=not merges and priorities is None)
        breakers = Breakers(circuit_breaker(), {lane.model.ref: lane.lane.breaker for lane in self.served})
        self.pipeline = Pipeline(
            in_flight,
            breakers,
            NullObserver(),
            revoke_timeout_s=REVOKE_TIMEOUT_S,
            max_poll_records=10,
            clock=world,
        )
        if self._revisions is not None:
            self._rollouts = RolloutParts(self.served, worker=self.name)
            self._follower = SimulatedFollower(
                self._revisions, self.pipeline, world, worker=self.name, served=self.served
            )
        self._build_edge(self.pipeline.on_revoked, backoff)
        self._emitters = self._emission_builder()
        self.pipeline.connect(
            Stages(
                source=self.source,
                decoder=decoder(self.served) if self._rollouts is None else self._rollouts.decoder,
                lanes=[lane.lane for lane in self.served],
                topics=frozenset(INPUTS),
                committer=self._committer(self.source.is_current),
                producer=self.producer,
                windows=self.windows,
                rollouts=None if self._rollouts is None else self._rollouts.rollouts(self._emitters),
                schemas=self._admission(),
                priorities=priorities,
            )
        )

    def _priorities(self) -> Priorities | None:
        """Return different priorities for the two topics, for a model with several instances."""
        return Priorities(frozenset({OWN}), frozenset({MIXED})) if self.lineup[0].num_instances > 1 else None

    def _admission(self) -> SchemaAdmission | None:
        return None

    def _build_edge(self, on_revoked: Callable[[], Awaitable[None]], backoff: Backoff) -> None:
        """Build the parts that talk to Kafka."""
        self.producer = OutputProducer(
            {"simulated": self.connection},
            compression_type=None,
            max_batch_bytes=1 << 20,
            transactional=TransactionSettings(self.name, int(TRANSACTION_TIMEOUT_S * 1000)),
            backoff=backoff,
        )
        self.consumer = SimulatedConsumer(self.connection, group_id=GROUP)
        consumer: Any = self.consumer
        self.source = Source(
            consumer,
            topics=INPUTS,
            group_id=GROUP,
            policy=StartPolicy("earliest"),
            restorer=RevisionRestorer(
                self.windows or WithoutWindows(), None if self._rollouts is None else self._rollouts.ledger
            ),
            on_revoked=on_revoked,
            on_fatal=self._report,
            backoff=backoff,
            clock=self._world,
            revision_gate=self._follower,
        )

    def _emission_builder(self) -> LanesEmitter:
        record = None if self._rollouts is None else self._rollouts.recorder.record
        return emission_builder(self.served, self.windows, worker=self.name, clock=self._world, record_switches=record)

    def _committer(self, is_current: Callable[[Epoch], bool]) -> Committer:
        return Committer(
            self._emitters,
            self.producer,
            transaction=Transaction(self.producer, group_id=GROUP, is_current=is_current),
            dead_letter_limit=DeadLetterLimit(DeadLetterLimits(1.0, 100, None)),
            observer=NullObserver(),
            clock=self._world,
            timeout_ms=int(COMMIT_TIMEOUT_S * 1000),
        )
