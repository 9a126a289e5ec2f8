"""Limits on failed commits: stop the worker when the next try would fail in the same way."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable

from aiokafka.errors import KafkaError, ProducerFenced

from forebay.schemas.errors import BrokerError
from forebay.stream.core.errors import OutputMissing
from forebay.stream.core.records import BatchResult

log = logging.getLogger("forebay.commit")

MAX_FAILURES = 3
MAX_FENCINGS = 3
FENCINGS_S = 60.0


class CommitFailures:
    """Counts permanent failures in a row, and how often the producer was fenced within a minute.

    explain: returns what the cluster refused and the remedy; None if the error does not say (see `RecordProducer`).
    """

    def __init__(self, explain: Callable[[BaseException], BrokerError | None]) -> None:
        self._explain = explain
        self._failures_in_a_row = 0
        self._fenced_at_s: deque[float] = deque(maxlen=MAX_FENCINGS)

    def record_success(self) -> None:
        """Record that a commit succeeded."""
        self._failures_in_a_row = 0

    def record_failure(self, error: BaseException, first: BatchResult, *, now_s: float) -> None:
        """Record a failed commit. Raises BrokerError if a limit is reached.

        first: the first micro-batch of the commit.
        """
        if isinstance(error, ProducerFenced):
            self._record_fencing(now_s)
            return
        # Temporary errors may repeat without limit.
        is_permanent = isinstance(error, OutputMissing) or (isinstance(error, KafkaError) and not error.retriable)
        self._failures_in_a_row = self._failures_in_a_row + 1 if is_permanent else 0
        if self._failures_in_a_row >= MAX_FAILURES:
            chunk, refusal = first.batch.chunks[0], self._explain(error)
            raise BrokerError(
                f"the cluster refused the same outputs {MAX_FAILURES} times "
                f"(from {chunk.partition.topic}-{chunk.partition.partition} before offset {chunk.next_offset}): "
                f"{refusal.message if refusal else error}",
                kind=refusal.kind if refusal else None,
                remedy=refusal.remedy
                if refusal
                else "look up the error in Kafka's documentation; `forebay check` checks topics and permissions",
            ) from error

    def _record_fencing(self, now_s: float) -> None:
        log.warning(
            "another producer has taken over this worker's transactional id: a second worker uses the same "
            "delivery.instance_id, or the commit took longer than delivery.transaction_timeout_ms"
        )
        self._fenced_at_s.append(now_s)
        if len(self._fenced_at_s) == MAX_FENCINGS and now_s - self._fenced_at_s[0] <= FENCINGS_S:
            raise BrokerError(
                f"the transactional id was taken over {MAX_FENCINGS} times within {FENCINGS_S:g} s",
                kind="transactional_id_in_use",
                remedy="give each worker its own delivery.instance_id; if commits take too long, raise "
                "delivery.transaction_timeout_ms",
            )
