"""What is recorded says by which revision every committed record was routed, whatever is read again."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from forebay.schemas.errors import ForebayError
from forebay.stream.core.outputs import OutputTopic
from forebay.stream.core.records import Committed, TopicPartition
from forebay.stream.output.emitter import Emission
from forebay.stream.output.ledger import Ledger
from forebay.stream.pipeline.switch_ledger import PendingSwitch, SwitchLedger
from forebay.stream.pipeline.switch_recorder import SwitchRecorder
from forebay.stream.rollouts.offset_metadata import required_revisions
from forebay.stream.rollouts.rollout_observer import NullRolloutObserver
from forebay.stream.rollouts.switch_log import SwitchLog, decode_switch
from tests.core.build import P0, P1

MODELS = ("a", "b")
PLACES = (P0, P1)


@dataclass
class Partition:
    """A partition with what is committed, and what the current worker has read.

    routed: the revisions by which each record was routed when it was last read.
    kept: the same, of the committed records.
    """

    committed: Committed | None = None
    position: int = 0
    routed: dict[int, dict[str, int]] = field(default_factory=dict)
    kept: dict[int, dict[str, int]] = field(default_factory=dict)


class LedgerMachine(RuleBasedStateMachine):
    """One group of two partitions, whose worker polls, commits, rewinds and is replaced at random."""

    def __init__(self) -> None:
        super().__init__()
        self.partitions = {place: Partition() for place in PLACES}
        self.newest = dict.fromkeys(MODELS, 0)
        self.log = SwitchLog()
        self.start(dict.fromkeys(MODELS, 0))

    def start(self, applied: dict[str, int]) -> None:
        self.ledger = SwitchLedger(MODELS)
        self.recorder = SwitchRecorder(self.ledger, OutputTopic("rollout-switches", 1, 10_000), worker="w")
        for model, number in applied.items():
            self.ledger.apply(model, number)
        self.restore()

    def restore(self) -> None:
        self.ledger.restore({place: one.committed for place, one in self.partitions.items()})
        for one in self.partitions.values():
            one.position = 0 if one.committed is None else one.committed.offset
            one.routed.clear()

    @rule(model=st.sampled_from(MODELS), skipped=st.integers(0, 2))
    def apply(self, model: str, skipped: int) -> None:
        number = self.ledger.applied[model] + 1 + skipped
        self.newest[model] = max(number, self.newest[model])
        self.ledger.apply(model, number)

    @rule(place=st.sampled_from(PLACES), gap=st.integers(0, 2), count=st.integers(1, 4))
    def poll(self, place: TopicPartition, gap: int, count: int) -> None:
        """Read records; offsets of transaction markers are missing."""
        one = self.partitions[place]
        first = one.position + gap
        one.position = first + count
        self.ledger.on_polled(place, first, one.position, now_ms=first)
        one.routed.update((offset, dict(self.ledger.applied)) for offset in range(first, one.position))

    @rule(data=st.data(), seen=st.booleans())
    def commit(self, data: st.DataObject, seen: bool) -> None:
        """Commit what was read of some partitions, up to any record. seen: whether the worker learns that it succeeded."""
        positions = {}
        for place, one in self.partitions.items():
            ends = sorted(offset + 1 for offset in one.routed)
            if ends:
                positions[place] = data.draw(st.sampled_from(ends))
        emission = Emission({}, positions, Ledger())
        self.recorder.record(emission)
        if data.draw(st.booleans()):
            self.keep(emission)
            if not seen:
                self.restore()
        else:
            self.restore()

    def keep(self, emission: Emission) -> None:
        for records in emission.outgoing.values():
            for key, value in zip(records.keys, records.values, strict=True):
                self.log.add(decode_switch(key, value))
        for place, position in emission.positions.items():
            one = self.partitions[place]
            one.committed = Committed(position, emission.metadata.get(place, ""))
            passed = [offset for offset in one.routed if offset < position]
            for offset in passed:
                one.kept[offset] = one.routed.pop(offset)

    @rule()
    def commit_idle(self) -> None:
        """Commit the positions of partitions where everything read is committed."""
        for place, one in self.partitions.items():
            if not one.routed and one.committed is not None:
                one.position += 1
                one.committed = Committed(one.position, self.recorder.metadata(place, ""))

    @rule()
    def rewind(self) -> None:
        self.restore()

    @rule(data=st.data())
    def replace_worker(self, data: st.DataObject) -> None:
        """Begin with another worker, whose view of the revisions may be older, but not older than the offsets."""
        required = required_revisions({place: one.committed for place, one in self.partitions.items()})
        self.start({model: data.draw(st.integers(required.get(model, 0), self.newest[model])) for model in MODELS})

    @invariant()
    def the_log_says_how_each_committed_record_was_routed(self) -> None:
        for place, one in self.partitions.items():
            for offset, revisions in one.kept.items():
                found = {model: self.log.revision_at(model, place, offset) for model in MODELS}
                assert found == revisions, (place, offset)
            assert not self.log.reversals

    @invariant()
    def the_metadata_says_how_the_last_record_was_routed(self) -> None:
        for place, one in self.partitions.items():
            if one.kept:
                last = one.kept[max(one.kept)]
                named = required_revisions({place: one.committed})
                assert named == {model: number for model, number in last.items() if number}


TestLedger = LedgerMachine.TestCase
TestLedger.settings = settings(max_examples=60, stateful_step_count=25)


def test_several_switches_are_pending_until_a_commit_passes_them() -> None:
    ledger = SwitchLedger(["m"])
    ledger.restore({P0: None})
    for number in (1, 2, 3):
        ledger.apply("m", number)
        ledger.on_polled(P0, 10 * number, 10 * number + 5, now_ms=number)
    assert ledger.commit(P0, 10) == [], "the switch is at 10, and no record of it is committed"
    assert ledger.recorded(P0) == {}
    assert ledger.commit(P0, 21) == [PendingSwitch("m", 1, 10, 1), PendingSwitch("m", 2, 20, 2)]
    assert ledger.recorded(P0) == {"m": 2}
    assert ledger.commit(P0, 35) == [PendingSwitch("m", 3, 30, 3)] and ledger.commit(P0, 40) == []


def test_a_revision_without_events_is_skipped() -> None:
    ledger = SwitchLedger(["m"])
    ledger.restore({P0: None})
    ledger.apply("m", 1)
    ledger.apply("m", 2)
    ledger.on_polled(P0, 0, 5, now_ms=7)
    assert ledger.commit(P0, 5) == [PendingSwitch("m", 2, 0, 7)]


def test_events_that_are_read_again_for_windows_switch_nothing() -> None:
    ledger = SwitchLedger(["m"])
    ledger.apply("m", 1)
    ledger.restore({P0: Committed(50, "")})
    ledger.on_polled(P0, 30, 50, now_ms=1)
    assert ledger.commit(P0, 50) == []
    ledger.on_polled(P0, 45, 60, now_ms=2)
    assert ledger.commit(P0, 55) == [PendingSwitch("m", 1, 50, 2)]


def test_committed_revisions_must_be_applied() -> None:
    ledger = SwitchLedger(["m"])
    with pytest.raises(ForebayError, match="has applied revision 0"):
        ledger.restore({P0: Committed(5, "forebay-rollouts1 m=1")})


def test_each_switch_that_is_written_is_observed() -> None:
    seen: list[str] = []

    class Seen(NullRolloutObserver):
        def on_switched(self, model: str) -> None:
            seen.append(model)

    ledger = SwitchLedger(MODELS)
    recorder = SwitchRecorder(ledger, OutputTopic("rollout-switches", 1, 10_000), worker="w", observer=Seen())
    ledger.restore({P0: None, P1: None})
    ledger.apply("b", 1)
    for place in PLACES:
        ledger.on_polled(place, 0, 5, now_ms=1)
        recorder.record(Emission({}, {place: 3}, Ledger()))
        recorder.record(Emission({}, {place: 5}, Ledger()))
    assert seen == ["b", "b"]


def test_no_older_revision_is_applied() -> None:
    ledger = SwitchLedger(["m"])
    ledger.apply("m", 2)
    with pytest.raises(ValueError, match="revision 2 of m is applied, so 1 cannot be"):
        ledger.apply("m", 1)
    assert ledger.applied == {"m": 2}
