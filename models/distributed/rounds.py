"""The parameter server's bookkeeping: which ranks take part, and what each has sent in the current round. No sockets."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

import numpy as np

from forebay.models.distributed.frames import ELEMENTS, Header, Kind

LostRank = Literal["stop", "continue"]
LOST_RANK: Final = ("stop", "continue")


class RoundFailed(Exception):
    """The ranks cannot continue: one was lost, or they are not in step."""


@dataclass(slots=True, eq=False)
class _Round:
    first: Header
    deadline: float
    data: dict[int, bytearray] = field(default_factory=dict)
    members: tuple[int, ...] = ()
    result: bytes | bytearray | None = None
    error: str = ""


@dataclass(frozen=True, slots=True)
class Result:
    """The sum or the payloads of a round, and the ranks that contributed."""

    members: tuple[int, ...]
    payload: bytes | bytearray


class Rounds:
    """Collects one payload of each rank, and returns their sum or all of them. Each rank calls it from a thread of its own.

    The sum is in the order of the ranks, whatever the order of arrival, so that it always has the same bits.

    deadline_s: how long the first rank of a round waits for the last one.
    lost_rank: "stop" ends all ranks when one is lost. "continue" leaves it behind, unless it is rank 0, which
        writes the checkpoints and the result.
    """

    def __init__(self, *, world_size: int, deadline_s: float, lost_rank: LostRank, clock: Callable[[], float]) -> None:
        self._world_size = world_size
        self._deadline_s = deadline_s
        self._lost_rank = lost_rank
        self._clock = clock
        self._changed = threading.Condition()
        self._attempt = 0
        self._members = set(range(world_size))
        self._joined: set[int] = set()
        self._failure = ""
        self._round: _Round | None = None

    def join(self, rank: int, world_size: int, attempt: int) -> None:
        """Take in a rank. The first one of a later attempt ends the attempt before. Raises RoundFailed."""
        with self._changed:
            if world_size != self._world_size or not 0 <= rank < world_size:
                raise RoundFailed(f"rank {rank} of {world_size} does not belong to {self._world_size} ranks")
            if attempt < self._attempt:
                raise RoundFailed(f"rank {rank} is of attempt {attempt}; attempt {self._attempt} has begun")
            if attempt > self._attempt:
                self._fail(f"attempt {attempt} has begun")
                self._attempt, self._failure = attempt, ""
                self._members, self._joined = set(range(world_size)), set()
            if rank in self._joined or rank not in self._members:
                raise RoundFailed(f"rank {rank} has joined before")
            self._joined.add(rank)

    def leave(self, rank: int, attempt: int) -> None:
        """Note that a rank is done. The others continue without it."""
        with self._changed:
            if attempt == self._attempt:
                self._members.discard(rank)
                self._complete()

    def lose(self, rank: int, attempt: int, reason: str) -> None:
        """Note that a rank was lost."""
        with self._changed:
            if attempt != self._attempt or rank not in self._members:
                return
            self._members.discard(rank)
            if self._lost_rank == "stop" or rank == 0:
                self._fail(f"rank {rank} was lost: {reason}")
            else:
                self._complete()

    def exchange(self, rank: int, attempt: int, header: Header, data: bytearray) -> Result:
        """Add a rank's payload to the current round and wait for its result. Raises RoundFailed."""
        with self._changed:
            if attempt != self._attempt:
                raise RoundFailed(f"attempt {self._attempt} has begun")
            if self._failure:
                raise RoundFailed(self._failure)
            if rank not in self._members:
                raise RoundFailed(f"rank {rank} was late, and the others continue without it")
            if self._round is None:
                self._round = _Round(header, self._clock() + self._deadline_s)
            current = self._round
            if (header.kind, header.element, header.sequence, header.num_bytes) != (
                current.first.kind,
                current.first.element,
                current.first.sequence,
                current.first.num_bytes,
            ):
                self._fail(f"rank {rank} is not in step with the others: {header} instead of {current.first}")
                raise RoundFailed(self._failure)
            current.data[rank] = data
            self._complete()
            while current.result is None and not current.error:
                remaining = current.deadline - self._clock()
                if remaining <= 0:
                    self._expire(current)
                else:
                    self._changed.wait(remaining)
            if current.error:
                raise RoundFailed(current.error)
            assert current.result is not None
            return Result(current.members, current.result)

    def _complete(self) -> None:
        current = self._round
        if current is None or not self._members <= current.data.keys():
            return
        current.members = tuple(sorted(current.data))
        current.result = _combine(current.first, current.data)
        self._round = None
        self._changed.notify_all()

    def _expire(self, current: _Round) -> None:
        late = sorted(self._members - current.data.keys())
        names = ", ".join(map(str, late))
        if self._lost_rank == "stop" or 0 in late:
            self._fail(f"rank {names} has sent nothing for {self._deadline_s:g} s")
        else:
            self._members.difference_update(late)
            self._complete()

    def _fail(self, reason: str) -> None:
        self._failure = reason
        if self._round is not None:
            self._round.error = reason
            self._round = None
        self._changed.notify_all()


def _combine(first: Header, data: Mapping[int, bytearray]) -> bytes | bytearray:
    payloads = [data[rank] for rank in sorted(data)]
    if first.kind is not Kind.REDUCE:
        return b"".join(payloads)
    element = np.dtype(ELEMENTS[first.element])
    # float16 is added up in float32: its own sums would lose another three digits.
    wide = np.dtype("float32") if element == np.float16 else element
    total = np.frombuffer(payloads[0], dtype=element).astype(wide)
    for payload in payloads[1:]:
        total += np.frombuffer(payload, dtype=element)
    return total.astype(element, copy=False).tobytes()
