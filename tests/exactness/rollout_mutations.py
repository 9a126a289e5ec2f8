"""The protections of rollouts that `make test-mutations` disables, and the tests that must detect it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from forebay.stream.control.rollout_store import RolloutStore
from forebay.stream.output.emitter import Emission
from forebay.stream.pipeline.switch_ledger import SwitchLedger
from forebay.stream.pipeline.switch_recorder import SwitchRecorder
from forebay.stream.rollouts.revision_log import RevisionLog
from forebay.stream.worker import resident_versions, version_loader
from forebay.stream.worker.rollout_follower import RolloutFollower


class RolloutMutation(NamedTuple):
    """A disabled protection, and the test that must detect it: its file and name."""

    apply: Callable[[], None]
    file: str
    test: str


def without_digest() -> None:
    """Serve a version whatever its manifest is."""
    version_loader.require_digest = resident_versions.require_digest = lambda *_: None


def without_revision_gate() -> None:
    """Open a partition before the revision in its metadata is applied."""

    async def wait_for(self: RolloutFollower, required: Mapping[str, int]) -> None:
        return

    RolloutFollower.wait_for = wait_for  # type: ignore[method-assign]


def without_record_of_the_switch() -> None:
    """Leave the records of switches to another producer, outside the transaction."""
    record = SwitchRecorder.record

    def outside(self: SwitchRecorder, emission: Emission) -> None:
        record(self, Emission({}, emission.positions, emission.ledger, metadata=emission.metadata))

    SwitchRecorder.record = outside  # type: ignore[method-assign]


def without_revision_in_metadata() -> None:
    """Commit offsets that do not say by which revision the events before were routed."""
    SwitchLedger.recorded = lambda self, partition: {}  # type: ignore[method-assign]


def without_refusal_of_older_revisions() -> None:
    """Route on after an assignment whose offsets name a later revision."""
    SwitchLedger._require_applied = lambda self, partition, revisions: None  # type: ignore[method-assign]


def without_order_of_the_log() -> None:
    """Let the last of two successors win."""
    add, number = RevisionLog.add, RevisionLog.number

    def last_wins(self: RevisionLog, key: Any, value: Any, *, offset: int, timestamp_ms: int) -> Any:
        RevisionLog.number = lambda log, model: max(0, number(log, model) - 1)  # type: ignore[method-assign]
        try:
            return add(self, key, value, offset=offset, timestamp_ms=timestamp_ms)
        finally:
            RevisionLog.number = number  # type: ignore[method-assign]

    RevisionLog.add = last_wins  # type: ignore[method-assign]


def without_topic_id() -> None:
    """Follow whatever topic has the name."""

    async def same(self: RolloutStore) -> None:
        return

    RolloutStore._require_same_topic = same  # type: ignore[method-assign]


ROLLOUT_MUTATIONS = {
    "rollout-digest": RolloutMutation(
        without_digest,
        "tests/worker/test_version_loader.py",
        "test_another_manifest_than_the_proposed_one_is_refused",
    ),
    "rollout-gate": RolloutMutation(
        without_revision_gate, "tests/worker/test_rollout_follower.py", "test_a_partition_waits_for_its_revision"
    ),
    "rollout-switch-in-transaction": RolloutMutation(
        without_record_of_the_switch,
        "tests/pipeline/test_rollouts.py",
        "test_a_switch_is_committed_with_the_first_event_of_its_revision",
    ),
    "rollout-metadata": RolloutMutation(
        without_revision_in_metadata,
        "tests/pipeline/test_rollouts.py",
        "test_a_switch_is_committed_with_the_first_event_of_its_revision",
    ),
    "rollout-no-way-back": RolloutMutation(
        without_refusal_of_older_revisions,
        "tests/pipeline/test_switch_ledger.py",
        "test_committed_revisions_must_be_applied",
    ),
    "rollout-first-wins": RolloutMutation(
        without_order_of_the_log, "tests/rollouts/test_revision_log.py", "test_the_first_of_two_successors_is_valid"
    ),
    "rollout-topic-id": RolloutMutation(
        without_topic_id,
        "tests/contract/test_rollouts.py",
        "test_a_topic_that_was_created_again_is_noticed_however_long_it_is",
    ),
}
