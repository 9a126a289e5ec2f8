"""What the simulated cluster does where exactly once depends on it, as Kafka 4.1 does with transactions version 1."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from forebay.stream.core.records import Committed, TopicPartition
from tests.simulation.cluster import OUT_OF_ORDER_SEQUENCE, SimulatedCluster
from tests.simulation.faults import Kind
from tests.simulation.group import (
    ILLEGAL_GENERATION,
    REBALANCE_IN_PROGRESS,
    UNKNOWN_MEMBER_ID,
    UNSTABLE_OFFSET_COMMIT,
)
from tests.simulation.transactions import (
    CONCURRENT_TRANSACTIONS,
    INVALID_PRODUCER_EPOCH,
    INVALID_TXN_STATE,
)
from tests.simulation.world import World

INPUT, OUTPUT = TopicPartition("in", 0), TopicPartition("outcome-deltas", 0)
DELTA = b'{"outcome":"predicted","count":0}'


class Scene:
    """A cluster with one transactional id."""

    def __init__(self) -> None:
        self.world = World(1)
        self.cluster = SimulatedCluster(self.world, {"in": 1, "outcome-deltas": 1}, ("in",))
        self.transactions, self.group = self.cluster.transactions, self.cluster.group
        _, producer_id, epoch = self.transactions.init_producer("t", 10.0)
        self.producer = (producer_id, epoch)

    def begin(self) -> None:
        assert self.transactions.add("t", self.producer, [OUTPUT], group=False) == 0
        assert self.transactions.add("t", self.producer, (), group=True) == 0

    def send(self, sequence: int, producer: tuple[int, int] | None = None) -> int:
        return self.cluster.produce(producer or self.producer, OUTPUT, sequence, [(0, None, DELTA, ())])

    def end(self, *, commit: bool) -> int:
        return self.transactions.end("t", self.producer, commit=commit)

    def visible(self) -> int:
        return len(self.cluster.logs[OUTPUT].committed())

    def join(self, member_id: str = "") -> list[Any]:
        """Join the group, and return the list to which the answer will be appended."""
        answers: list[Any] = []
        request = SimpleNamespace(
            group_protocols=[("roundrobin", b"")], member_id=member_id, session_timeout=6000, rebalance_timeout=8000
        )
        self.cluster.handlers[Kind.JOIN](request, answers.append)
        return answers

    def commit_offset(self, offset: int, member_id: str, generation: int) -> int:
        return self.group.commit_in_transaction(
            {INPUT: Committed(offset, "")}, self.producer[0], member_id=member_id, generation=generation
        )

    def fetch(self, *, require_stable: bool) -> Any:
        return self.group.fetch([INPUT], require_stable=require_stable)[INPUT]


def test_records_are_visible_after_the_marker_of_a_commit() -> None:
    scene = Scene()
    scene.begin()
    assert scene.send(0) == 0
    assert scene.end(commit=True) == 0
    assert scene.visible() == 0, "the end is decided, but the marker is not written"
    assert scene.transactions.add("t", scene.producer, [OUTPUT], group=False) == CONCURRENT_TRANSACTIONS
    scene.world.run(0.1)
    assert scene.visible() == 1
    assert scene.end(commit=True) == 0, "a repetition"
    assert scene.end(commit=False) == INVALID_TXN_STATE


def test_a_new_producer_aborts_and_fences_the_last() -> None:
    scene = Scene()
    scene.begin()
    assert scene.send(0) == 0
    assert scene.transactions.init_producer("t", 10.0)[0] == CONCURRENT_TRANSACTIONS
    scene.world.run(0.1)
    code, producer_id, epoch = scene.transactions.init_producer("t", 10.0)
    assert code == 0 and producer_id == scene.producer[0] and epoch > scene.producer[1]
    assert scene.send(1) == INVALID_PRODUCER_EPOCH and scene.end(commit=True) == INVALID_PRODUCER_EPOCH
    assert scene.visible() == 0


def test_a_transaction_that_is_open_for_too_long_is_aborted_and_its_producer_fenced() -> None:
    scene = Scene()
    scene.begin()
    assert scene.send(0) == 0
    scene.world.run(12.0)
    assert scene.end(commit=True) == INVALID_PRODUCER_EPOCH and scene.visible() == 0


def test_batches_are_accepted_once_in_order_and_in_a_transaction_only() -> None:
    scene = Scene()
    assert scene.send(0) == INVALID_TXN_STATE
    scene.begin()
    assert scene.send(1) == OUT_OF_ORDER_SEQUENCE
    assert scene.send(0) == scene.send(0) == 0
    assert len(scene.cluster.logs[OUTPUT].records) == 1


def test_readers_wait_behind_an_open_transaction_and_skip_aborted_records() -> None:
    scene = Scene()
    log = scene.cluster.logs[INPUT]
    log.append(0, None, b"open", writer="w")
    log.append(0, None, b"plain")
    assert log.fetch(0, 10).records == [] and log.stable_end == 0
    log.end_transaction("w", commit=False)
    fetched = log.fetch(0, 10)
    assert [record.value for record in fetched.records] == [b"plain"]
    assert fetched.next_offset == log.end == 3, "the marker has an offset"


def test_offsets_of_an_open_transaction_are_pending() -> None:
    scene = Scene()
    scene.begin()
    assert scene.commit_offset(5, "", -1) == 0, "without member and generation nothing is checked"
    assert scene.fetch(require_stable=True) == UNSTABLE_OFFSET_COMMIT
    assert scene.fetch(require_stable=False) is None
    scene.end(commit=True)
    assert scene.fetch(require_stable=True) == UNSTABLE_OFFSET_COMMIT, "until the marker is written"
    scene.world.run(0.1)
    assert scene.fetch(require_stable=True) == Committed(5, "")


def test_offsets_are_checked_against_the_generation() -> None:
    scene = Scene()
    (first,) = scene.join()
    assert scene.commit_offset(1, first.member_id, first.generation_id) == 0
    second = scene.join()
    assert not second, "the group waits for the first member"
    assert scene.group.heartbeat(first.member_id, first.generation_id) == REBALANCE_IN_PROGRESS
    assert scene.commit_offset(1, first.member_id, first.generation_id) == 0, "the generation is still the current one"
    scene.world.run(9.0)
    assert second[0].generation_id == first.generation_id + 1
    assert scene.commit_offset(1, first.member_id, first.generation_id) == UNKNOWN_MEMBER_ID
    assert scene.commit_offset(1, second[0].member_id, first.generation_id) == ILLEGAL_GENERATION


def test_a_silent_member_is_removed_after_its_session() -> None:
    scene = Scene()
    (member,) = scene.join()
    scene.world.run(5.0)
    assert scene.group.heartbeat(member.member_id, member.generation_id) == 0
    scene.world.run(5.5)
    assert scene.group.heartbeat(member.member_id, member.generation_id) == 0
    scene.world.run(7.0)
    assert scene.group.heartbeat(member.member_id, member.generation_id) == UNKNOWN_MEMBER_ID
