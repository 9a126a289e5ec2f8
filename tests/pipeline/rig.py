"""The pipeline with a scripted source and a scripted producer, for tests."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager

import numpy as np

from forebay.models.backends.protocol import Scores
from forebay.schemas.errors import BrokerError
from forebay.stream.core.backoff import Backoff
from forebay.stream.core.circuit_breaker import CircuitBreaker
from forebay.stream.core.errors import CommitRefused
from forebay.stream.core.outputs import Outgoing
from forebay.stream.core.records import Epoch, FloatMatrix, Record, TopicPartition
from forebay.stream.decode import DecodedModel, Decoder
from forebay.stream.decode.duplicates import DuplicateFilter
from forebay.stream.eventtime.lane_windows import LaneWindows
from forebay.stream.inference.device_thread import DeviceThread
from forebay.stream.kafka.producer.producer import explain_refusal
from forebay.stream.output.emitter import EmissionBuilder
from forebay.stream.pipeline.committer import AtLeastOnce, Committer
from forebay.stream.pipeline.dead_letter_limit import DeadLetterLimit, DeadLetterLimits
from forebay.stream.pipeline.in_flight import Bounds, InFlight
from forebay.stream.pipeline.lane import CallLimits, Lane
from forebay.stream.pipeline.micro_batcher import MicroBatcher
from forebay.stream.pipeline.observer import NullObserver
from forebay.stream.pipeline.pipeline import Pipeline
from forebay.stream.pipeline.rollouts import Rollouts
from forebay.stream.pipeline.schema_admission import SchemaAdmission
from forebay.stream.pipeline.stages import Breakers, Stages
from tests.core.build import MODEL, P0, P1, FakeRecord, ManualClock, event, signature
from tests.eventually import eventually
from tests.output.test_emitter import emitter


class ModelOnLeash:
    """A model that echoes its input. `forward` waits while `gate` is not set, and raises for every input while `broken`."""

    name = "m"
    version = 3

    def __init__(self) -> None:
        self.signature = signature(3)
        self.gate = threading.Event()
        self.gate.set()
        self.broken = False

    def warm_up(self, batch_sizes: Sequence[int]) -> None:
        if self.broken:
            raise RuntimeError("the device is gone")

    def prepare(self, x_BF: FloatMatrix) -> FloatMatrix:
        return x_BF

    def forward(self, x_BG: FloatMatrix) -> Scores:
        assert self.gate.wait(10)
        if self.broken:
            raise RuntimeError("the device is gone")
        values_BO = np.stack([x_BG[:, 0], -x_BG[:, 0]], axis=1)
        return Scores(values_BO, np.zeros(len(x_BG), np.int64), np.ones(len(x_BG), np.float32))


class ScriptedSource:
    """A log in memory with committed offsets. `rewind` returns to them in a new epoch, like the real source."""

    def __init__(self, log: Mapping[TopicPartition, Sequence[Record]]) -> None:
        self.log = log
        self.committed = dict.fromkeys(log, 0)
        self.next_offsets = dict.fromkeys(log, 0)
        self.current: Epoch | None = Epoch(1, "member", None, 1)
        self.paused = False
        self.pauses = 0
        self.rewinds = 0
        self.rejoins = 0
        self.idle_commits: list[dict[TopicPartition, int]] = []
        self.idle_metadata: list[dict[TopicPartition, str]] = []
        self.polled = 0
        self.held: set[TopicPartition] = set()

    def hold(self, partition: TopicPartition, offset: int) -> None:
        assert self.current is not None and self.committed[partition] <= offset < self.next_offsets[partition]
        self.held.add(partition)
        self.next_offsets[partition] = offset

    def release(self, partition: TopicPartition) -> None:
        self.held.discard(partition)

    @property
    def epoch(self) -> Epoch | None:
        return self.current

    async def poll(
        self, *, timeout_s: float, max_records: int, topics: frozenset[str] | None = None
    ) -> Mapping[TopicPartition, Sequence[Record]]:
        await asyncio.sleep(0)
        self.polled += 1
        records_by_partition: dict[TopicPartition, Sequence[Record]] = {}
        if self.current is None or self.paused:
            return records_by_partition
        for place, records in self.log.items():
            if place in self.held or place not in self.next_offsets:
                continue
            part = records[self.next_offsets[place] : self.next_offsets[place] + max_records]
            self.next_offsets[place] += len(part)
            max_records -= len(part)
            if part:
                records_by_partition[place] = part
        return records_by_partition

    def pause(self) -> None:
        self.pauses += not self.paused
        self.paused = True

    def resume(self) -> None:
        self.paused = False

    async def rewind(self) -> None:
        self.rewinds += 1
        self.held.clear()
        self.next_offsets = dict(self.committed)
        self.current = Epoch(1, "member", None, self.rewinds + 1)

    async def detach(self) -> None:
        self.current = None

    async def rejoin(self) -> None:
        self.rejoins += 1
        await self.rewind()

    def positions(self) -> Mapping[TopicPartition, int] | None:
        return None if self.current is None else self.next_offsets

    def is_at_end(self, partition: TopicPartition) -> bool:
        return self.current is not None and self.next_offsets[partition] == len(self.log[partition])

    async def commit_idle(
        self, positions: Mapping[TopicPartition, int], metadata: Mapping[TopicPartition, str]
    ) -> None:
        assert self.current is not None and positions.keys() == metadata.keys()
        for partition, position in positions.items():
            assert position == self.next_offsets[partition] == self.committed[partition], (
                "all that was read is committed"
            )
        self.idle_commits.append(dict(positions))
        self.idle_metadata.append(dict(metadata))

    async def commit(
        self, positions: Mapping[TopicPartition, int], metadata: Mapping[TopicPartition, str], epoch: Epoch
    ) -> None:
        if epoch != self.current:
            raise CommitRefused("the epoch of the records has ended")
        for place, offset in positions.items():
            assert offset > self.committed[place], "committed offsets never fall"
            self.committed[place] = offset


class ScriptedProducer:
    """Stores the records sent. `fail` may raise before they are stored."""

    def __init__(self) -> None:
        self.sent: list[tuple[TopicPartition, bytes | None]] = []
        self.fail: Callable[[], None] = lambda: None
        self.hold = asyncio.Event()
        self.hold.set()
        self.restarts = 0

    async def missing_topics(self, partitions: object) -> set[str]:
        return set()

    async def send(self, outgoing: Mapping[TopicPartition, Outgoing], *, timestamp_ms: int) -> None:
        await self.hold.wait()
        self.fail()
        for place, records in outgoing.items():
            self.sent.extend((place, value) for value in records.values)

    async def restart(self) -> None:
        self.restarts += 1

    def explain(self, error: BaseException) -> BrokerError | None:
        return explain_refusal(error)

    def predictions(self) -> int:
        return sum(place.topic == "predictions" for place, _ in self.sent)


class Rig:
    def __init__(
        self,
        counts: Sequence[int],
        *,
        max_events: int = 64,
        max_poll: int = 7,
        max_batch_size: int = 5,
        call_timeout_s: float = 60,
        hang_timeout_s: float = 60,
        revoke_timeout_s: float = 60,
    ) -> None:
        self.clock = ManualClock()
        self.log = {
            place: [FakeRecord(i, event(f"{place.partition}-{i}", [i, 2, 3])) for i in range(count)]
            for place, count in zip((P0, P1), counts, strict=True)
        }
        self.source = ScriptedSource(self.log)
        self.producer = ScriptedProducer()
        self.model = ModelOnLeash()
        self.breaker_changes: list[tuple[str, str]] = []
        self.model_breaker = self.breaker("model")
        self.call_limits = CallLimits(call_timeout_s, hang_timeout_s)
        self.pipeline = Pipeline(
            InFlight(Bounds(max_events, 10**6, 100)),
            Breakers(self.breaker("cluster"), {MODEL: self.model_breaker}),
            NullObserver(),
            revoke_timeout_s=revoke_timeout_s,
            max_poll_records=max_poll,
            clock=self.clock,
        )
        self.max_batch_size = max_batch_size
        self.windows: LaneWindows | None = None
        self.duplicates: DuplicateFilter | None = None
        self.schemas: SchemaAdmission | None = None
        self.deaths: list[BaseException] = []
        self.device: DeviceThread | None = None

    def breaker(self, name: str) -> CircuitBreaker:
        return CircuitBreaker(
            failure_threshold=3,
            reset_timeout_s=30,
            on_change=lambda state, _reason: self.breaker_changes.append((name, state.value)),
        )

    def emission_builder(self) -> EmissionBuilder:
        return emitter()

    def decoder(self) -> Decoder:
        return Decoder([DecodedModel(MODEL, self.model.signature)], max_event_bytes=1000)

    def rollouts(self) -> Rollouts | None:
        return None

    @asynccontextmanager
    async def running(self) -> AsyncIterator[asyncio.Task[None]]:
        device = self.device = DeviceThread(
            self.model,
            clock=self.clock,
            loop=asyncio.get_running_loop(),
            breaker=self.model_breaker,
            backoff=Backoff(jitter=lambda: 0.0),
            on_fatal=self.deaths.append,
        )
        await device.start([1])
        guard = DeadLetterLimit(DeadLetterLimits(1.0, 100, None))
        committer = Committer(
            self.emission_builder(),
            self.producer,
            transaction=AtLeastOnce(self.source),
            dead_letter_limit=guard,
            observer=NullObserver(),
            clock=self.clock,
            timeout_ms=60_000,
        )
        self.pipeline.connect(
            Stages(
                source=self.source,
                decoder=self.decoder(),
                lanes=[
                    Lane(
                        MODEL,
                        executor=device,
                        batcher=MicroBatcher(
                            max_batch_size=self.max_batch_size, max_batch_bytes=10**6, max_queue_delay_ms=5
                        ),
                        breaker=self.model_breaker,
                        call_limits=self.call_limits,
                    )
                ],
                topics=frozenset(partition.topic for partition in self.log),
                committer=committer,
                producer=self.producer,  # type: ignore[arg-type]
                windows=self.windows,
                duplicates=self.duplicates,
                rollouts=self.rollouts(),
                schemas=self.schemas,
            )
        )
        committing = asyncio.create_task(self.pipeline.commit_forever())
        self.polling = polling = asyncio.create_task(self.pipeline.run())
        feeding = asyncio.create_task(self.pipeline.feed_lanes())
        try:
            yield committing
        finally:
            self.pipeline.stop()
            self.model.gate.set()
            committing.cancel()
            feeding.cancel()
            await asyncio.gather(polling, feeding, committing, return_exceptions=True)
            device.stop()

    async def until(self, condition: Callable[[], bool], *, step_s: float = 0.01) -> None:
        """Advance the clock until `condition` is true.

        The clock stands while the device has a call that will return: the thread takes real time, on a busy machine a lot.

        step_s: the step of the clock. Use a small one if something must happen before the clock reaches a certain time.
        """

        def stepped() -> bool:
            if done := condition():
                return done
            if not self.is_calling():
                self.clock.advance(step_s)
            return False

        await eventually(stepped, "a state of the pipeline", every_s=0, context=self.state)

    def is_calling(self) -> bool:
        """Return whether the device has micro-batches, and the model's gate is open."""
        device = self.device
        return device is not None and device._outstanding > 0 and self.model.gate.is_set() and not self.deaths

    def state(self) -> dict[str, object]:
        """Return the state to show when a wait fails."""
        return {
            "clock_s": self.clock.now_s,
            "in_flight": self.pipeline.num_in_flight,
            "committed": self.source.committed,
            "polled": self.source.polled,
            "paused": self.source.paused,
            "breaker changes": self.breaker_changes,
            "deaths": self.deaths,
        }

    def all_committed(self) -> bool:
        ends = {place: len(records) for place, records in self.log.items()}
        return self.source.committed == ends and self.pipeline.num_in_flight == 0
