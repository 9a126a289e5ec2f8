"""Denies events whose principal may not use the model: they become rejections of the kind `denied`. Pure.

Records that cannot be decoded are judged, too. So what an outsider sends has one kind of outcome, whatever it holds, and the
answer does not say which models exist or what is wrong with the event.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from forebay.schemas.failures import FailureKind
from forebay.stream.access.policy import AccessDecisions, AccessPolicy
from forebay.stream.access.policy_history import PolicyHistory
from forebay.stream.access.tokens import MESSAGES, Denial
from forebay.stream.core.record_columns import headers_of, offsets_of, timestamps_of
from forebay.stream.core.records import Chunk, Record, Rejection, Unreadable
from forebay.stream.decode.rejected_rows import reject_rows


class AccessFilter:
    """Applies a policy to the chunks of polls.

    current: returns the policy; it is asked once for each poll.
    history: is informed of what each policy decided; None if nothing asks for that.
    """

    def __init__(self, current: Callable[[], AccessPolicy], *, history: PolicyHistory | None = None) -> None:
        self._current = current
        self._history = history

    def filter(self, chunks: Sequence[Chunk]) -> list[Chunk]:
        """Return the chunks of a poll, in their order, with denied events among the rejections."""
        policy = self._current()
        if self._history is not None:
            for chunk in chunks:
                if (first_offset := _first_offset(chunk)) is not None:
                    self._history.on_decided(chunk.partition, first_offset, policy)
        return [_filtered(chunk, policy) for chunk in chunks]


def deny_all(chunk: Chunk, denial: Denial) -> Chunk:
    """Return the chunk with all of its events denied for the same reason."""
    rejections = [_denied(rejection, denial) for rejection in chunk.rejections]
    return reject_rows(
        replace(chunk, rejections=rejections),
        FailureKind.DENIED,
        dict.fromkeys(range(chunk.num_rows), MESSAGES[denial]),
    )


def _first_offset(chunk: Chunk) -> int | None:
    """Return the lowest offset of a chunk; None if it has no events."""
    lowest = [int(offsets_of(chunk.records).min())] if len(chunk.records) else []
    return min([*lowest, *(rejection.record.offset for rejection in chunk.rejections)], default=None)


def _filtered(chunk: Chunk, policy: AccessPolicy) -> Chunk:
    if chunk.rejections:
        chunk = replace(chunk, rejections=_rejections(chunk, policy))
    denial_B = _decide(chunk.records, chunk, policy).denial_B
    if not denial_B.any():
        return chunk
    rows = np.flatnonzero(denial_B)
    messages = {row: MESSAGES[Denial(code)] for row, code in zip(rows.tolist(), denial_B[rows], strict=True)}
    return reject_rows(chunk, FailureKind.DENIED, messages)


def _rejections(chunk: Chunk, policy: AccessPolicy) -> list[Rejection]:
    # The headers of unreadable records cannot be read.
    judged = [rejection for rejection in chunk.rejections if not isinstance(rejection.record, Unreadable)]
    denials = _decide([rejection.record for rejection in judged], chunk, policy).denial_B.tolist()
    denied = {
        rejection.index: _denied(rejection, Denial(code))
        for rejection, code in zip(judged, denials, strict=True)
        if code
    }
    return [denied.get(rejection.index, rejection) for rejection in chunk.rejections]


def _denied(rejection: Rejection, denial: Denial) -> Rejection:
    return Rejection(rejection.index, rejection.record, FailureKind.DENIED, MESSAGES[denial])


def _decide(records: Sequence[Record], chunk: Chunk, policy: AccessPolicy) -> AccessDecisions:
    headers = headers_of(records)
    return policy.decide(headers, timestamps_of(records), topic=chunk.partition.topic, model=chunk.model)
