"""The six protections of exactly once, taken out of this process and put back (see `tests.exactness.mutations`)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from forebay.stream.core.records import Epoch
from forebay.stream.kafka.consumer.source import Source
from forebay.stream.kafka.producer import transaction
from forebay.stream.kafka.producer.transaction import Transaction
from forebay.stream.kafka.protocol import offset_requests
from tests.exactness.mutations import MUTATIONS

_CHANGED: Final[tuple[Any, ...]] = (
    offset_requests.TxnOffsetCommit,
    offset_requests.OffsetFetch,
    Transaction,
    Source,
    transaction,
)
"""The classes and the module that a mutation may change."""


def without_capture() -> None:
    """Commit with the client's membership at the time of the commit, in each of several members."""
    commit_positions = Transaction.commit_positions

    async def present(self: Any, positions: Any, metadata: Any, epoch: Epoch) -> None:
        coordinator = self._is_current.__self__.consumer._coordinator
        now = Epoch(coordinator.generation, coordinator.member_id, None, epoch.counter)
        await commit_positions(self, positions, metadata, now)

    Transaction.commit_positions = present  # type: ignore[method-assign]


APPLY: Final = {name: mutation.apply for name, mutation in MUTATIONS.items()} | {"capture-time": without_capture}


@contextmanager
def without(protection: str) -> Iterator[None]:
    """Take a protection out for the time of the context."""
    originals = [dict(vars(owner)) for owner in _CHANGED]
    APPLY[protection]()
    try:
        yield
    finally:
        for owner, original in zip(_CHANGED, originals, strict=True):
            for name, value in original.items():
                if vars(owner)[name] is not value:
                    setattr(owner, name, value)
