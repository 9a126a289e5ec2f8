"""The state of a group member's assignment, and the epoch in which it reads. Pure.

                assign               open                revoke
    DETACHED ------------> RESTORING ------------> OPEN ------------> REVOKING
       ^                     |  ^ |                |  |                  |
       |                     |  | +-- rewind,      |  |                  |
       |                     |  |     assign       |  |                  |
       |                     |  +----- rewind -----+  |                  |
       |                     |                        |                  |
       +--- detach, revoke --+------- detach ---------+- detach, rewind -+

    DETACHED          no epoch: nothing is read or committed.
    RESTORING(epoch)  the gate is closed: the group's committed offsets are read and sought. Nothing of this epoch is in flight.
    OPEN(epoch)       the gate is open: records are read and committed.
    REVOKING(epoch)   the gate is still open, until what is in flight is committed or its deadline has passed.

`assign` and `rewind` begin a new epoch when they enter RESTORING. A rewind while partitions are revoked detaches instead: their
next owner reads the records again. In DETACHED, `rewind`, `revoke` and `detach` do nothing. Any other call is a bug.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from forebay.stream.core.records import Epoch


class State(StrEnum):
    """State of an assignment, as in the diagram of this module."""

    DETACHED = "detached"
    RESTORING = "restoring"
    OPEN = "open"
    REVOKING = "revoking"


class Event(StrEnum):
    """A cause of a transition."""

    ASSIGN = "assign"
    OPEN = "open"
    REWIND = "rewind"
    REVOKE = "revoke"
    DETACH = "detach"


TRANSITIONS: Final[Mapping[tuple[State, Event], State]] = MappingProxyType(
    {
        (State.DETACHED, Event.ASSIGN): State.RESTORING,
        (State.DETACHED, Event.REWIND): State.DETACHED,
        (State.DETACHED, Event.REVOKE): State.DETACHED,
        (State.DETACHED, Event.DETACH): State.DETACHED,
        (State.RESTORING, Event.ASSIGN): State.RESTORING,
        (State.RESTORING, Event.OPEN): State.OPEN,
        (State.RESTORING, Event.REWIND): State.RESTORING,
        (State.RESTORING, Event.REVOKE): State.DETACHED,
        (State.RESTORING, Event.DETACH): State.DETACHED,
        (State.OPEN, Event.REWIND): State.RESTORING,
        (State.OPEN, Event.REVOKE): State.REVOKING,
        (State.OPEN, Event.DETACH): State.DETACHED,
        (State.REVOKING, Event.REWIND): State.DETACHED,
        (State.REVOKING, Event.DETACH): State.DETACHED,
    }
)
"""The state after each event. In OPEN and REVOKING, `assign` is missing: records of the old epoch may be in flight."""


class TransitionError(RuntimeError):
    """A call that the state of the assignment does not allow, which is a bug."""


class Assignment:
    """The state and the current epoch. Begins in DETACHED. Only the methods below the properties change it."""

    def __init__(self) -> None:
        self._state = State.DETACHED
        self._current: Epoch | None = None
        self._counter = 0

    @property
    def state(self) -> State:
        return self._state

    @property
    def current(self) -> Epoch | None:
        """The epoch in which records are read, or will be once the gate is open; None in DETACHED."""
        return self._current

    @property
    def epoch(self) -> Epoch | None:
        """The epoch of records that are read now: the current epoch while the gate is open, else None."""
        return self._current if self.is_open else None

    @property
    def is_open(self) -> bool:
        """Whether the gate is open: records are read, in OPEN and REVOKING."""
        return self._state in (State.OPEN, State.REVOKING)

    def is_current(self, epoch: Epoch) -> bool:
        """Return whether positions may be committed under this epoch."""
        return epoch == self._current

    def assign(self, generation: int, member_id: str, instance_id: str | None) -> Epoch:
        """Begin a new epoch for a membership of the group, and return it. The gate is closed until `open`."""
        self._transition(Event.ASSIGN)
        return self._begin(generation, member_id, instance_id)

    def open(self, epoch: Epoch) -> None:
        """Open the gate, once the committed offsets of this epoch have been sought."""
        if not self.is_current(epoch):
            raise TransitionError(f"epoch {epoch.counter} must not be opened after its end (now: {self})")
        self._transition(Event.OPEN)

    def rewind(self) -> Epoch | None:
        """Close the gate and begin a new epoch of the same membership. Return it, or None if the result is DETACHED."""
        old = self._current
        if old is None or self._transition(Event.REWIND) is State.DETACHED:
            return None
        return self._begin(old.generation, old.member_id, old.instance_id)

    def revoke(self) -> None:
        """Begin the revocation of all partitions: what is in flight may still be committed. `detach` ends it."""
        self._transition(Event.REVOKE)

    def detach(self) -> Epoch | None:
        """End the current epoch and return it; None in DETACHED."""
        ended = self._current
        self._transition(Event.DETACH)
        return ended

    def _transition(self, event: Event) -> State:
        """Change the state and return the new one. All changes are made here. Raises TransitionError."""
        state = TRANSITIONS.get((self._state, event))
        if state is None:
            raise TransitionError(f"{event.value} is not allowed (now: {self})")
        self._state = state
        if state is State.DETACHED:
            self._current = None
        return state

    def _begin(self, generation: int, member_id: str, instance_id: str | None) -> Epoch:
        self._counter += 1
        self._current = Epoch(generation, member_id, instance_id, self._counter)
        return self._current

    def __str__(self) -> str:
        """Return the state, with the number of its epoch."""
        return self._state.value if self._current is None else f"{self._state.value}, epoch {self._current.counter}"
