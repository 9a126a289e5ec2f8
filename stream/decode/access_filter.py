"""Denies events whose principal may not use the model: they become rejections of the kind `denied`. Pure.

Records that cannot be decoded are judged, too. So what an outsider sends has one kind of outcome, whatever it holds, and the
answer does not say which models exist or what is wrong with the event.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from forebay.schemas.failures import FailureKind
from forebay.stream.access.policy import AccessDecisions, AccessPolicy
from forebay.stream.access.tokens import MESSAGES, Denial
from forebay.stream.core.record_columns import headers_of, timestamps_of
from forebay.stream.core.records import Chunk, Record, Rejection, Unreadable
from forebay.stream.decode.rejected_rows import reject_rows


class AccessFilter:
    """Applies a policy to the chunks of polls."""

    def __init__(self, policy: AccessPolicy) -> None:
        self.policy = policy

    def filter(self, chunks: Sequence[Chunk]) -> list[Chunk]:
        """Return the chunks of a poll, in their order, with denied events among the rejections."""
        return [self._filtered(chunk) for chunk in chunks]

    def _filtered(self, chunk: Chunk) -> Chunk:
        if chunk.rejections:
            chunk = replace(chunk, rejections=self._rejections(chunk))
        denial_B = self._decide(chunk.records, chunk).denial_B
        if not denial_B.any():
            return chunk
        rows = np.flatnonzero(denial_B)
        messages = {row: MESSAGES[Denial(code)] for row, code in zip(rows.tolist(), denial_B[rows], strict=True)}
        return reject_rows(chunk, FailureKind.DENIED, messages)

    def _rejections(self, chunk: Chunk) -> list[Rejection]:
        # The headers of unreadable records cannot be read.
        judged = [rejection for rejection in chunk.rejections if not isinstance(rejection.record, Unreadable)]
        denials = self._decide([rejection.record for rejection in judged], chunk).denial_B.tolist()
        denied = {
            rejection.index: Rejection(rejection.index, rejection.record, FailureKind.DENIED, MESSAGES[Denial(code)])
            for rejection, code in zip(judged, denials, strict=True)
            if code
        }
        return [denied.get(rejection.index, rejection) for rejection in chunk.rejections]

    def _decide(self, records: Sequence[Record], chunk: Chunk) -> AccessDecisions:
        headers = headers_of(records)
        return self.policy.decide(headers, timestamps_of(records), topic=chunk.partition.topic, model=chunk.model)
