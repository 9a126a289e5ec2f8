"""Which policy decided about which records, for the audit of outcomes that are committed after a change of policy. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from forebay.stream.access.policy import AccessPolicy
from forebay.stream.core.records import TopicPartition


class _Span(NamedTuple):
    """The records of a partition from an offset on, up to the next span."""

    first_offset: int
    policy: AccessPolicy


class PolicyHistory:
    """Remembers for each partition the policies of the records that have no committed outcome yet.

    A partition has one span, and for a while after each change of the policy one more.

    current: returns the policy that is in force.
    """

    def __init__(self, current: Callable[[], AccessPolicy]) -> None:
        self._current = current
        self._spans: dict[TopicPartition, list[_Span]] = {}

    def on_decided(self, partition: TopicPartition, first_offset: int, policy: AccessPolicy) -> None:
        """Record that a policy decided about what was read of a partition from an offset on, possibly again."""
        spans = self._spans.setdefault(partition, [])
        if spans and spans[-1].policy is policy and spans[-1].first_offset <= first_offset:
            return
        while spans and spans[-1].first_offset >= first_offset:
            spans.pop()
        if not spans or spans[-1].policy is not policy:
            spans.append(_Span(first_offset, policy))

    def policy_of(self, partition: TopicPartition, offset: int) -> AccessPolicy:
        """Return the policy that decided about a record."""
        spans = self._spans.get(partition, ())
        return next((span.policy for span in reversed(spans) if span.first_offset <= offset), self._current())

    def on_committed(self, partition: TopicPartition, offset: int) -> None:
        """Forget what decided about the records of a partition before an offset only."""
        spans = self._spans.get(partition, [])
        while len(spans) > 1 and spans[1].first_offset <= offset:
            del spans[0]
