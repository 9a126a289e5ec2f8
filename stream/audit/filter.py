"""Conditions that select rows of blocks, and rows as JSON."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from forebay.schemas.errors import ConfigError
from forebay.stream.audit.action import action_of
from forebay.stream.audit.block import NO_ROW, Block
from forebay.stream.core.records import TopicPartition

_POSITION = re.compile(r"(?P<topic>.+)-(?P<partition>\d{1,9})@(?P<offset>\d{1,18})")


class InputPosition(NamedTuple):
    """The position of a record of the input."""

    partition: TopicPartition
    offset: int


def parse_position(text: str) -> InputPosition:
    """Return the position `<topic>-<partition>@<offset>`. Raises ConfigError."""
    found = _POSITION.fullmatch(text)
    if found is None:
        raise ConfigError(
            f"--position: {text!r} is not a position", remedy="give TOPIC-PARTITION@OFFSET: features-3@88210"
        )
    return InputPosition(TopicPartition(found["topic"], int(found["partition"])), int(found["offset"]))


class AuditFilter(NamedTuple):
    """Rows match all conditions that are not None.

    principals: one principal, in each form in which it may be recorded. since_ms, until_ms: times of outcome.
    """

    event_id: str | None = None
    position: InputPosition | None = None
    principals: frozenset[str] | None = None
    model: str | None = None
    version: int | None = None
    outcome: str | None = None
    since_ms: int | None = None
    until_ms: int | None = None

    def is_in_time(self, block: Block) -> bool:
        """Return whether a block was written in the time that is asked for."""
        written_ms = block.head.written_ms
        return (self.since_ms is None or written_ms >= self.since_ms) and (
            self.until_ms is None or written_ms < self.until_ms
        )

    def actions(self, block: Block) -> Iterator[dict[str, Any]]:
        """Yield the action of a block as JSON, if it has one and was written in time. Raises DataError."""
        action = action_of(block)
        if action is None or not self.is_in_time(block):
            return
        head = block.head
        yield {
            "at_ms": head.written_ms,
            "action": action.name,
            "actor": action.actor,
            "origin": action.origin,
            "details": action.details,
            "process": head.worker,
            "group": head.chain.group,
            "block": head.sequence,
            "key_id": head.key_id,
        }

    def select(self, block: Block) -> Iterator[dict[str, Any]]:
        """Yield the rows of a block that match, as JSON. Raises DataError if its columns cannot be read."""
        head = block.head
        if block.is_action or not self.is_in_time(block):
            return
        if self.position is not None and self.position.partition != (head.chain.topic, head.chain.partition):
            return
        rows = block.rows()
        chosen_N = np.ones(len(rows), dtype=bool)
        if self.position is not None:
            offset = self.position.offset
            chosen_N &= (rows.offset_N >= offset) & (rows.offset_N - np.maximum(rows.count_N, 1) < offset)
        if self.model is not None or self.version is not None:
            wanted = [self.model in (None, ref.name) and self.version in (None, ref.version) for ref in rows.models]
            chosen_N &= np.array(wanted, dtype=bool)[rows.model_N]
        if self.outcome is not None:
            chosen_N &= np.array([outcome == self.outcome for outcome in rows.outcomes], dtype=bool)[rows.outcome_N]
        if self.principals is not None:
            chosen_N &= np.array([text in self.principals for text in rows.principals], dtype=bool)[rows.principal_N]
        if self.event_id is not None:
            ids = rows.ids or [""] * len(rows)
            chosen_N &= np.fromiter((event_id == self.event_id for event_id in ids), bool, len(rows))
        for row in np.flatnonzero(chosen_N).tolist():
            model = rows.models[rows.model_N[row]]
            yield {
                "topic": head.chain.topic,
                "partition": head.chain.partition,
                "offset": int(rows.offset_N[row]),
                "row": None if rows.row_N[row] == NO_ROW else int(rows.row_N[row]),
                "records": int(rows.count_N[row]),
                "id": (rows.ids[row] or None) if rows.ids is not None else None,
                "event_ms": int(rows.event_ms_N[row]) if rows.event_ms_N[row] >= 0 else None,
                "outcome_ms": head.written_ms,
                "outcome": rows.outcomes[rows.outcome_N[row]],
                "model": model.name,
                "version": model.version,
                "revision": head.revisions.get(model.name),
                "principal": rows.principals[rows.principal_N[row]] or None,
                "denial": rows.denials[rows.denial_N[row]] or None,
                "policy_revision": head.policy_revision,
                **{name: values[row] or None for name, values in rows.digests.items()},
                "worker": head.worker,
                "group": head.chain.group,
                "block": head.sequence,
            }
