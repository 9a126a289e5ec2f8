"""Decides about the events of a poll, by distinct token and not by event. Pure: the clock takes no part.

Shapes: B = events, T = distinct tokens.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import orjson

from forebay.schemas.headers import PRINCIPAL
from forebay.stream.access.rules import Rules
from forebay.stream.access.tokens import Denial, Token, Verifier
from forebay.stream.core.model_ref import ModelRef

MAX_KEPT_DECISIONS: Final = 4_096
"""By topic and model."""
_REVISION_CHARS: Final = 16
_LENGTH: Final = len(PRINCIPAL)


class AccessDecisions(NamedTuple):
    """The decisions about some events. The same records give the same decisions at any time and in every worker.

    principals: name of the principal by distinct token; None where no token was verified.
    token_B: for each event the index of its token in `principals`.
    denial_B: for each event the code of its `Denial`, uint8; 0 if it is permitted.
    revision: revision of the policy that decided.
    """

    principals: Sequence[str | None]
    token_B: npt.NDArray[np.int64]
    denial_B: npt.NDArray[np.uint8]
    revision: str


class _Decision(NamedTuple):
    """What is decided about a token, whenever it is used: see `Token`."""

    principal: str | None
    begins_ms: int
    ends_ms: int
    denial: Denial


class AccessPolicy:
    """Verifies the tokens of events and applies the rules.

    revision: a digest of everything that decides, see `policy_revision`.
    """

    def __init__(self, verifier: Verifier, rules: Rules, *, revision: str) -> None:
        self._verifier = verifier
        self._rules = rules
        self.revision = revision
        self._decided: dict[tuple[str, ModelRef], dict[bytes | Denial, _Decision]] = {}

    def decide(
        self,
        headers: Sequence[Sequence[tuple[str, bytes | None]]],
        timestamp_B: npt.NDArray[np.int64],
        *,
        topic: str,
        model: ModelRef,
    ) -> AccessDecisions:
        """Decide about events of one topic for one model. timestamp_B: timestamps of their records, ms."""
        indexes: dict[bytes | Denial, int] = {}
        index_of = indexes.setdefault
        token_B = np.fromiter(
            (index_of(token_of(of_record), len(indexes)) for of_record in headers), np.int64, len(headers)
        )
        if not indexes:
            return AccessDecisions((), token_B, np.zeros(0, dtype=np.uint8), self.revision)
        principals, begins, ends, denials = zip(*self._decisions(indexes, topic, model), strict=True)
        denial_B = np.array(denials, dtype=np.uint8)[token_B]
        begin_B, end_B = np.array(begins, dtype=np.int64)[token_B], np.array(ends, dtype=np.int64)[token_B]
        is_outside_B = (timestamp_B < begin_B) | (timestamp_B >= end_B)
        denial_B[is_outside_B & (denial_B == Denial.NONE)] = Denial.TIME
        return AccessDecisions(list(principals), token_B, denial_B, self.revision)

    def _decisions(self, tokens: Iterable[bytes | Denial], topic: str, model: ModelRef) -> list[_Decision]:
        """Return the decision about each token. Those about verified tokens are kept; anyone can send others without end."""
        decided = self._decided.setdefault((topic, model), {})
        if len(decided) > MAX_KEPT_DECISIONS:
            decided.clear()
        found = []
        for token in tokens:
            decision = decided.get(token)
            if decision is None:
                decision = self._decision(token, topic, model)
                if decision.principal is not None:
                    decided[token] = decision
            found.append(decision)
        return found

    def _decision(self, token: bytes | Denial, topic: str, model: ModelRef) -> _Decision:
        verified = token if isinstance(token, Denial) else self._verifier.verify(token)
        if isinstance(verified, Denial):
            return _Decision(None, 0, 0, verified)
        return _Decision(verified.principal, verified.begins_ms, verified.ends_ms, self._denial(verified, topic, model))

    def _denial(self, token: Token, topic: str, model: ModelRef) -> Denial:
        if token.topics is not None and topic not in token.topics:
            return Denial.TOPIC
        return Denial.NONE if self._rules.permits(token.principal, model) else Denial.RULE


def token_of(headers: Sequence[tuple[str, bytes | None]]) -> bytes | Denial:
    """Return the token in the headers of a record, or why there is none. More than one is refused, whatever they hold."""
    found: bytes | Denial = Denial.NO_TOKEN
    for name, value in headers:
        if len(name) == _LENGTH and (name == PRINCIPAL or name.lower() == PRINCIPAL):
            if found is not Denial.NO_TOKEN:
                return Denial.SEVERAL_TOKENS
            found = Denial.MALFORMED if value is None else value
    return found


def policy_revision(parts: Mapping[str, object]) -> str:
    """Return the revision of a policy: the beginning of the SHA-256 of its parts as JSON, in hex."""
    return hashlib.sha256(orjson.dumps(parts, option=orjson.OPT_SORT_KEYS)).hexdigest()[:_REVISION_CHARS]
