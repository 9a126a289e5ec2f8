"""The order of the numbered steps of a commit, and what happens if one of them fails."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence

import pytest
from aiokafka.errors import KafkaConnectionError

from forebay.schemas.errors import DataError
from forebay.stream.core.errors import CommitRefused, CommitTimeout, OutputMissing
from forebay.stream.core.outputs import Outgoing
from forebay.stream.core.records import BatchResult, Epoch, MicroBatch, TopicPartition
from forebay.stream.output.emitter import MAX_SLICE_BYTES
from forebay.stream.output.encoder import NUMBER_BYTES
from forebay.stream.output.ledger import Ledger
from forebay.stream.pipeline.committer import Committer
from forebay.stream.pipeline.dead_letter_limit import DeadLetterLimit, DeadLetterLimits
from forebay.stream.pipeline.observer import CommitTimes, NullObserver
from tests.core.build import P0, ManualClock, chunk, finish
from tests.output.test_emitter import emitter, wide


class Script:
    """A producer and transaction in one: records each step, raises in the step `fails`, and never returns from `hangs`."""

    def __init__(self) -> None:
        self.steps: list[str] = []
        self.fails: dict[str, Exception] = {}
        self.hangs = ""
        self.missing: set[str] = set()

    async def _step(self, name: str) -> None:
        self.steps.append(name)
        if name == self.hangs:
            await asyncio.Event().wait()
        if name in self.fails:
            raise self.fails[name]

    async def begin(self, partitions: Collection[TopicPartition]) -> None:
        await self._step("begin")

    async def add_group(self) -> None:
        await self._step("group")

    async def send(self, outgoing: Mapping[TopicPartition, Outgoing], *, timestamp_ms: int) -> None:
        await self._step("send")

    async def commit_positions(
        self, positions: Mapping[TopicPartition, int], metadata: Mapping[TopicPartition, str], epoch: Epoch
    ) -> None:
        await self._step(f"positions {dict(positions)} of generation {epoch.generation}")

    async def commit(self) -> None:
        await self._step("commit")

    async def abort(self) -> None:
        await self._step("abort")

    async def missing_topics(self, partitions: Collection[TopicPartition]) -> set[str]:
        return self.missing & {partition.topic for partition in partitions}


BATCH = finish(MicroBatch(0, (chunk(range(40, 43)),), "size", 0.0))
POSITIONS = f"positions {{{P0}: 43}} of generation 1"


def guard(*, max_in_a_row: int | None = None) -> DeadLetterLimit:
    return DeadLetterLimit(DeadLetterLimits(1.0, 100, max_in_a_row))


def committer(script: Script) -> Committer:
    return Committer(
        emitter(),
        script,
        transaction=script,
        dead_letter_limit=guard(),
        observer=NullObserver(),
        clock=ManualClock(),
        timeout_ms=20,
    )


async def test_a_commit_runs_its_steps_in_order() -> None:
    script = Script()
    ledger = await committer(script).commit([BATCH])
    assert script.steps == ["begin", "group", "send", POSITIONS, "commit"]
    assert sum(ledger.outcomes.values()) == 3


async def test_deliveries_are_reported_before_the_positions_are_added() -> None:
    script = Script()
    commits = Committer(
        emitter(),
        script,
        transaction=script,
        dead_letter_limit=guard(),
        observer=NullObserver(),
        clock=ManualClock(),
        timeout_ms=20,
        on_delivered=lambda: script.steps.append("delivered"),
    )
    await commits.commit([BATCH])
    assert script.steps == ["begin", "group", "send", "delivered", POSITIONS, "commit"]


async def test_each_commit_is_logged_at_debug_level(caplog: pytest.LogCaptureFixture) -> None:
    script = Script()
    commits = Committer(
        emitter(),
        script,
        transaction=script,
        dead_letter_limit=guard(),
        observer=NullObserver(),
        clock=ManualClock(),
        timeout_ms=10_000,
    )
    with caplog.at_level("INFO", "forebay.commit"):
        await commits.commit([BATCH])
    assert not caplog.messages
    with caplog.at_level("DEBUG", "forebay.commit"):
        await commits.commit([BATCH])
    (line,) = caplog.messages
    assert line.startswith("committed 1 micro-batch up to features-") and line.endswith(" in 0.0 ms")


async def test_refused_positions_abort_and_nothing_is_committed() -> None:
    script = Script()
    script.fails[POSITIONS] = CommitRefused("evicted")
    with pytest.raises(CommitRefused):
        await committer(script).commit([BATCH])
    assert script.steps == ["begin", "group", "send", POSITIONS, "abort"]


async def test_a_failed_delivery_commits_nothing() -> None:
    script = Script()
    script.fails["send"] = KafkaConnectionError("gone")
    with pytest.raises(KafkaConnectionError):
        await committer(script).commit([BATCH])
    assert POSITIONS not in script.steps and "commit" not in script.steps, (
        "the producer is abandoned: its successor aborts the transaction at its start"
    )


@pytest.mark.parametrize("step", ["begin", "send", "group", POSITIONS, "commit"])
async def test_one_deadline_limits_all_steps(step: str) -> None:
    script = Script()
    script.hangs = step
    with pytest.raises(CommitTimeout, match=r"did not finish within 0\.02 s"):
        await committer(script).commit([BATCH])
    assert step in script.steps and ("commit" not in script.steps or step == "commit")


async def test_a_timeout_because_of_a_missing_topic_names_the_topic() -> None:
    script = Script()
    script.hangs = "send"
    script.missing = {"predictions", "somebody-elses"}
    with pytest.raises(OutputMissing, match="no topic predictions any more"):
        await committer(script).commit([BATCH])


class TimesReceived(NullObserver):
    def __init__(self) -> None:
        self.times: list[CommitTimes] = []

    def on_committed(self, batches: Sequence[BatchResult], ledger: Ledger, times: CommitTimes) -> None:
        self.times.append(times)


async def test_the_observer_receives_the_times_of_the_steps() -> None:
    script, clock, observer = Script(), ManualClock(), TimesReceived()
    seconds = {"begin": 0.25, "send": 1.0, "group": 0.0, POSITIONS: 0.5, "commit": 2.0}
    step = script._step

    async def slow(name: str) -> None:
        await step(name)
        clock.advance(seconds[name])

    script._step = slow  # type: ignore[method-assign]
    commits = Committer(
        emitter(),
        script,
        transaction=script,
        dead_letter_limit=guard(),
        observer=observer,
        clock=clock,
        timeout_ms=1000,
    )
    await commits.commit([BATCH])
    (times,) = observer.times
    assert times.durations_s() == {"emit": 0.0, "begin": 0.25, "deliveries": 1.0, "positions": 0.5, "end": 2.0}
    script.fails["send"] = KafkaConnectionError("gone")
    with pytest.raises(KafkaConnectionError):
        await commits.commit([BATCH])
    assert len(observer.times) == 1, "only of those that succeeded"


async def test_a_commit_beyond_a_dead_letter_limit_is_not_sent() -> None:
    script = Script()
    bad = finish(MicroBatch(0, (chunk(range(40, 43), rejected=[40, 41, 42]),), "size", 0.0))
    commits = Committer(
        emitter(),
        script,
        transaction=script,
        dead_letter_limit=guard(max_in_a_row=5),
        observer=NullObserver(),
        clock=ManualClock(),
        timeout_ms=1000,
    )
    await commits.commit([bad])
    done = list(script.steps)
    with pytest.raises(DataError, match="6 dead letters in a row"):
        await commits.commit([bad])
    assert script.steps == done


async def test_a_long_encoding_yields_to_the_event_loop() -> None:
    """Heartbeats share the event loop: a model with 20,000 classes once blocked it until the group evicted the worker."""
    script = Script()
    guard = DeadLetterLimit(DeadLetterLimits(1.0, 100, None))
    committer = Committer(
        emitter(max_bytes=10**6),
        script,
        transaction=script,
        dead_letter_limit=guard,
        observer=NullObserver(),
        clock=ManualClock(),
        timeout_ms=60_000,
    )
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += not script.steps
            await asyncio.sleep(0)

    turning = asyncio.create_task(others())
    await committer.commit([wide(300, 2000), wide(300, 2000)])
    turning.cancel()
    assert turns > 2 * 300 * 2000 * NUMBER_BYTES // MAX_SLICE_BYTES
