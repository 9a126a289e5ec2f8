"""What a commit that failed means: what a missed deadline hides, and when the process must end."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Final

from aiokafka.errors import KafkaError, ProducerFenced

from forebay.schemas.errors import BrokerError
from forebay.stream.core.errors import CommitTimeout, OutputMissing
from forebay.stream.core.ports import RecordProducer
from forebay.stream.core.records import TopicPartition

MAX_FAILURES: Final = 3
MAX_FENCINGS: Final = 3
FENCINGS_S: Final = 60.0


async def missed_deadline(
    producer: RecordProducer, partitions: Collection[TopicPartition], *, timeout_s: float
) -> OutputMissing | CommitTimeout:
    """Return the error for a commit that did not finish in time. partitions: those with outputs."""
    # For a deleted topic the client retries as if the cluster were unreachable.
    if missing := await producer.missing_topics(partitions):
        return OutputMissing(f"the cluster has no topic {', '.join(sorted(missing))} any more")
    return CommitTimeout(f"the commit did not finish within {timeout_s:g} s")


@dataclass(frozen=True, slots=True)
class CommitWords:
    """The words for who commits what. remedy: for an error that does not say what was refused."""

    role: str
    outputs: str
    remedy: str


class FailureLimits:
    """Counts permanent failures in a row, and how often the producer was fenced within a minute.

    explain: returns what the cluster refused and the remedy; None if the error does not say (see `RecordProducer`).
    log: receives a warning each time the producer is fenced.
    """

    def __init__(
        self, explain: Callable[[BaseException], BrokerError | None], words: CommitWords, *, log: logging.Logger
    ) -> None:
        self._explain = explain
        self._words = words
        self._log = log
        self._failures_in_a_row = 0
        self._fenced_at_s: deque[float] = deque(maxlen=MAX_FENCINGS)

    def record_success(self) -> None:
        """Record that a commit succeeded."""
        self._failures_in_a_row = 0

    def record_failure(self, error: BaseException, *, now_s: float, place: str = "") -> None:
        """Record a failed commit. Raises BrokerError if a limit is reached.

        place: where the outputs come from; "" if this is not known.
        """
        if isinstance(error, ProducerFenced):
            self._record_fencing(now_s)
            return
        # Temporary errors may repeat without limit.
        is_permanent = isinstance(error, OutputMissing) or (isinstance(error, KafkaError) and not error.retriable)
        self._failures_in_a_row = self._failures_in_a_row + 1 if is_permanent else 0
        if self._failures_in_a_row >= MAX_FAILURES:
            refusal = self._explain(error)
            raise BrokerError(
                f"the cluster refused {self._words.outputs} {MAX_FAILURES} times{place and f' ({place})'}: "
                f"{refusal.message if refusal else error}",
                kind=refusal.kind if refusal else None,
                remedy=(refusal.remedy if refusal else None) or self._words.remedy,
            ) from error

    def _record_fencing(self, now_s: float) -> None:
        role = self._words.role
        self._log.warning(
            "another producer has taken over this %s's transactional id: a second %s uses the same delivery.instance_id, or "
            "the commit took longer than delivery.transaction_timeout_ms",
            role,
            role,
        )
        self._fenced_at_s.append(now_s)
        if len(self._fenced_at_s) == MAX_FENCINGS and now_s - self._fenced_at_s[0] <= FENCINGS_S:
            raise BrokerError(
                f"the transactional id was taken over {MAX_FENCINGS} times within {FENCINGS_S:g} s",
                kind="transactional_id_in_use",
                remedy=f"give each {role} its own delivery.instance_id; if commits take too long, raise "
                "delivery.transaction_timeout_ms",
            )
