"""What can go wrong with a request, and which requests it happens to."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Kind(StrEnum):
    """The kinds of requests."""

    PRODUCE = "produce"
    FETCH = "fetch"
    LIST_OFFSETS = "list_offsets"
    METADATA = "metadata"
    OFFSET_COMMIT = "offset_commit"
    OFFSET_FETCH = "offset_fetch"
    JOIN = "join"
    HEARTBEAT = "heartbeat"
    LEAVE = "leave"
    SYNC = "sync"
    INIT_PRODUCER = "init_producer"
    ADD_PARTITIONS = "add_partitions"
    ADD_OFFSETS = "add_offsets"
    END_TXN = "end_txn"
    TXN_OFFSET_COMMIT = "txn_offset_commit"


KIND_BY_API_KEY: Final = {
    3: Kind.METADATA,
    8: Kind.OFFSET_COMMIT,
    9: Kind.OFFSET_FETCH,
    11: Kind.JOIN,
    12: Kind.HEARTBEAT,
    13: Kind.LEAVE,
    14: Kind.SYNC,
    22: Kind.INIT_PRODUCER,
    24: Kind.ADD_PARTITIONS,
    25: Kind.ADD_OFFSETS,
    26: Kind.END_TXN,
    28: Kind.TXN_OFFSET_COMMIT,
}

COMMIT_KINDS: Final = (
    Kind.ADD_PARTITIONS,
    Kind.PRODUCE,
    Kind.ADD_OFFSETS,
    Kind.TXN_OFFSET_COMMIT,
    Kind.END_TXN,
    Kind.INIT_PRODUCER,
)
"""The requests of a commit, in their order, and that of a new producer after a failed one."""


class Effect(StrEnum):
    """What happens to one request.

    LOST: it never arrives. ANSWER_LOST: it takes effect, but its answer is lost. LATE: it arrives after `seconds`.
    ANSWER_LATE: its answer arrives after `seconds`. ERROR: it has no effect and is answered with `code`.
    FREEZE: the process is frozen for `seconds` just before it is sent. KILL: the process is killed just before it is sent.
    """

    LOST = "lost"
    ANSWER_LOST = "answer lost"
    LATE = "late"
    ANSWER_LATE = "answer late"
    ERROR = "error"
    FREEZE = "freeze"
    KILL = "kill"


@dataclass(frozen=True, slots=True)
class Fault:
    """An effect on the next request of a kind."""

    kind: Kind
    effect: Effect
    seconds: float = 0.0
    code: int = 0


COORDINATOR_LOADING: Final = 14
COORDINATOR_NOT_AVAILABLE: Final = 15
NOT_COORDINATOR: Final = 16
TRANSIENT_CODES: Final = (COORDINATOR_LOADING, COORDINATOR_NOT_AVAILABLE, NOT_COORDINATOR)
_GROUP_CODES: Final = (22, 25, 27, *TRANSIENT_CODES)
_TRANSACTION_CODES: Final = (47, 51, *TRANSIENT_CODES)

CODES: Final = {
    Kind.OFFSET_COMMIT: TRANSIENT_CODES,
    Kind.OFFSET_FETCH: TRANSIENT_CODES,
    Kind.HEARTBEAT: (22, 25, 27, COORDINATOR_NOT_AVAILABLE, NOT_COORDINATOR),
    Kind.SYNC: (22, 25, 27, COORDINATOR_NOT_AVAILABLE, NOT_COORDINATOR),
    Kind.JOIN: (25, *TRANSIENT_CODES),
    Kind.INIT_PRODUCER: (51, *TRANSIENT_CODES),
    Kind.ADD_PARTITIONS: _TRANSACTION_CODES,
    Kind.ADD_OFFSETS: _TRANSACTION_CODES,
    Kind.END_TXN: (51, *TRANSIENT_CODES),
    Kind.TXN_OFFSET_COMMIT: (*_GROUP_CODES, 47),
}
"""The error codes that a request of a kind may be answered with, by a coordinator that did nothing."""


class Faults:
    """The faults that wait for the requests of one process."""

    def __init__(self) -> None:
        self._waiting: list[Fault] = []

    def add(self, fault: Fault) -> None:
        """Let a fault happen to the next request of its kind."""
        self._waiting.append(fault)

    def take(self, kind: Kind) -> Fault | None:
        """Return the fault for this request, if there is one."""
        for index, fault in enumerate(self._waiting):
            if fault.kind is kind:
                return self._waiting.pop(index)
        return None

    def clear(self) -> None:
        """Let nothing go wrong any more."""
        self._waiting.clear()
