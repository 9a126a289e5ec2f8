"""The state machine of the assignment: its table of transitions, and its invariants under any sequence of calls."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from forebay.stream.core.records import Epoch
from forebay.stream.kafka.consumer import assignment as module
from forebay.stream.kafka.consumer.assignment import TRANSITIONS, Assignment, Event, State, TransitionError


def in_state(state: State) -> Assignment:
    """Return an assignment that has reached this state."""
    assignment = Assignment()
    if state is not State.DETACHED:
        epoch = assignment.assign(7, "member", "instance")
        if state is not State.RESTORING:
            assignment.open(epoch)
        if state is State.REVOKING:
            assignment.revoke()
    assert assignment.state is state
    return assignment


def apply(assignment: Assignment, event: Event) -> Epoch | None:
    """Call the method of this name, with the current epoch where it takes one."""
    if event is Event.ASSIGN:
        return assignment.assign(8, "member", "instance")
    if event is Event.OPEN:
        assignment.open(assignment.current or Epoch(7, "member", "instance", 1))
        return None
    if event is Event.REVOKE:
        assignment.revoke()
        return None
    return assignment.rewind() if event is Event.REWIND else assignment.detach()


@pytest.mark.parametrize(("before", "event"), list(TRANSITIONS), ids="-".join)
def test_an_allowed_event_leads_to_the_state_of_the_table(before: State, event: Event) -> None:
    assignment = in_state(before)
    apply(assignment, event)
    assert assignment.state is TRANSITIONS[before, event]


@pytest.mark.parametrize(
    ("before", "event"), [pair for pair in product(State, Event) if pair not in TRANSITIONS], ids="-".join
)
def test_any_other_event_is_refused_and_changes_nothing(before: State, event: Event) -> None:
    assignment = in_state(before)
    current = assignment.current
    with pytest.raises(TransitionError, match=f"now: {before.value}"):
        apply(assignment, event)
    assert assignment.state is before and assignment.current == current


def test_the_refused_events_are_these() -> None:
    """Stated once more beside the table, so that it cannot be widened by mistake."""
    assert {pair for pair in product(State, Event) if pair not in TRANSITIONS} == {
        (State.DETACHED, Event.OPEN),
        (State.OPEN, Event.OPEN),
        (State.REVOKING, Event.OPEN),
        (State.OPEN, Event.ASSIGN),
        (State.REVOKING, Event.ASSIGN),
        (State.REVOKING, Event.REVOKE),
    }


def test_the_diagram_names_every_state_and_event() -> None:
    diagram = (module.__doc__ or "").split("DETACHED          no epoch")[0]
    assert all(state.name in diagram for state in State) and all(event.value in diagram for event in Event)


def test_the_gate_stays_open_during_a_revocation() -> None:
    assignment = in_state(State.REVOKING)
    assert assignment.is_open and assignment.epoch == assignment.current == Epoch(7, "member", "instance", 1)


def test_an_epoch_is_current_before_its_gate_opens() -> None:
    assignment = in_state(State.RESTORING)
    current = assignment.current
    assert current is not None and assignment.is_current(current), "start offsets are committed under it"
    assert assignment.epoch is None and not assignment.is_open


def test_a_rewind_keeps_the_membership_in_a_new_epoch() -> None:
    assignment = in_state(State.OPEN)
    assert assignment.rewind() == Epoch(7, "member", "instance", 2)
    assert not assignment.is_current(Epoch(7, "member", "instance", 1))


def test_a_rewind_during_a_revocation_leaves_the_records_to_the_next_owner() -> None:
    assignment = in_state(State.REVOKING)
    assert assignment.rewind() is None and assignment.current is None


@pytest.mark.parametrize("end", [Event.ASSIGN, Event.REWIND], ids=str)
def test_an_ended_epoch_cannot_be_opened(end: Event) -> None:
    assignment = in_state(State.RESTORING)
    ended = assignment.current
    assert ended is not None
    apply(assignment, end)
    with pytest.raises(TransitionError, match="epoch 1 must not be opened after its end"):
        assignment.open(ended)


def test_a_detach_returns_the_epoch_that_it_ended() -> None:
    assignment = in_state(State.OPEN)
    assert assignment.detach() == Epoch(7, "member", "instance", 1)
    assert assignment.detach() is None


class AnySequence(RuleBasedStateMachine):
    """Calls of the client, the pipeline and the restoring task in any order."""

    @initialize()
    def begin(self) -> None:
        self.assignment = Assignment()
        self.epochs: list[Epoch] = []
        self.generation = 0

    def note(self, epoch: Epoch | None) -> None:
        if epoch is not None:
            self.epochs.append(epoch)

    @rule(member=st.sampled_from(["a", "b"]), instance=st.sampled_from([None, "i"]))
    def assign(self, member: str, instance: str | None) -> None:
        self.generation += 1
        try:
            self.note(self.assignment.assign(self.generation, member, instance))
        except TransitionError:
            assert self.assignment.is_open, "records of the epoch may be in flight"

    @precondition(lambda self: self.epochs)
    @rule(data=st.data())
    def open_any(self, data: st.DataObject) -> None:
        """Also what a restoring task of an earlier epoch would do."""
        epoch = data.draw(st.sampled_from(self.epochs))
        may_open = epoch is self.epochs[-1] and self.assignment.state is State.RESTORING
        try:
            self.assignment.open(epoch)
        except TransitionError:
            assert not may_open
        else:
            assert may_open and self.assignment.epoch is epoch

    @precondition(lambda self: self.assignment.state is State.RESTORING)
    @rule()
    def open_current(self) -> None:
        self.assignment.open(self.epochs[-1])

    @rule()
    def rewind(self) -> None:
        old, was_revoking = self.assignment.current, self.assignment.state is State.REVOKING
        new = self.assignment.rewind()
        assert (new is None) == (old is None or was_revoking)
        assert old is None or not self.assignment.is_current(old)
        self.note(new)

    @rule()
    def revoke(self) -> None:
        before, epoch = self.assignment.state, self.assignment.epoch
        try:
            self.assignment.revoke()
        except TransitionError:
            assert before is State.REVOKING
        assert self.assignment.epoch == epoch, "what is in flight may still be committed"

    @rule()
    def detach(self) -> None:
        current = self.assignment.current
        assert self.assignment.detach() == current
        assert self.assignment.state is State.DETACHED

    @invariant()
    def counters_only_grow(self) -> None:
        counters = [epoch.counter for epoch in getattr(self, "epochs", [])]
        assert counters == sorted(set(counters))

    @invariant()
    def at_most_the_last_epoch_is_current(self) -> None:
        if hasattr(self, "assignment"):
            current = [epoch for epoch in self.epochs if self.assignment.is_current(epoch)]
            assert current == ([] if self.assignment.current is None else self.epochs[-1:])

    @invariant()
    def the_gate_is_open_only_with_an_epoch(self) -> None:
        if hasattr(self, "assignment"):
            assignment = self.assignment
            assert assignment.is_open == (assignment.epoch is not None)
            assert assignment.epoch in (None, assignment.current)
            assert (assignment.state is State.DETACHED) == (assignment.current is None)


TestAnySequence = AnySequence.TestCase
TestAnySequence.settings = settings(max_examples=200, stateful_step_count=30, deadline=None)
