"""What the audit says about access: who asked, and why an event is denied.

The policy that decided when a record was read decides once more, with the same result (see `access.policy`). The signatures of
tokens are not verified again: the policy's verifier remembers them by their bytes. Shapes: N = records.
"""

from __future__ import annotations

import functools
import hmac
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from forebay.stream.access.policy_history import PolicyHistory
from forebay.stream.access.tokens import Denial
from forebay.stream.core.model_ref import ModelRef
from forebay.stream.core.record_columns import headers_of, timestamps_of
from forebay.stream.core.records import Record, TopicPartition

HASH_CHARS: Final = 32
DENIALS: Final = ("", *(denial.name.lower() for denial in Denial if denial))
"""The texts of denials, by code."""
_MAX_REMEMBERED: Final = 4_096
_CONTEXT: Final = b"forebay-principal\0"
"""What is hashed begins with it, so that a key that is also used elsewhere gives other hashes there."""

PrincipalText = Callable[[str], str]
"""Returns a principal as it is recorded."""


class AccessRows(NamedTuple):
    """What access says about some records.

    principals: as they are recorded, distinct by token; "" where no token was verified.
    principal_N: for each record an index into them.
    denial_N: for each record the code of its `Denial`.
    revision: of the policy that decided.
    """

    principals: Sequence[str]
    principal_N: npt.NDArray[np.int64]
    denial_N: npt.NDArray[np.uint8]
    revision: str


class AuditedAccess:
    """Says who asked, and why an event is denied. text_of: returns a principal as it is recorded."""

    def __init__(self, history: PolicyHistory, text_of: PrincipalText) -> None:
        self._history = history
        self._text_of = functools.lru_cache(_MAX_REMEMBERED)(text_of)

    def of(self, records: Sequence[Record], partition: TopicPartition, model: ModelRef) -> AccessRows:
        """Return what access says about records of one poll for one model. records: at least one."""
        policy = self._history.policy_of(partition, records[0].offset)
        decisions = policy.decide(headers_of(records), timestamps_of(records), topic=partition.topic, model=model)
        principals = ["" if name is None else self._text_of(name) for name in decisions.principals]
        return AccessRows(principals, decisions.token_B, decisions.denial_B, decisions.revision)

    def on_committed(self, partition: TopicPartition, offset: int) -> None:
        """Forget what decided about the records of a partition before an offset only."""
        self._history.on_committed(partition, offset)


def principal_hash(key: bytes, name: str) -> str:
    """Return the hash of a principal: the beginning of HMAC-SHA-256, in hex."""
    return hmac.digest(key, _CONTEXT + name.encode(), "sha256").hex()[:HASH_CHARS]
