"""Outcomes of events, and assertions about them for tests. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from forebay.schemas.failures import FAILURES, FailureKind

PREDICTED: Final = "predicted"
_MAX_SHOWN: Final = 5
_NAMES: Final = frozenset((PREDICTED, *FailureKind))


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one event.

    index: of the event among those that were given.
    id: of the event; None if it was rejected.
    kind: `"predicted"`, or the kind of failure, as in its dead letter.
    message: of a failure; "" for a prediction.
    prediction: the document as on the topic, without its `source`; empty for a failure.
    """

    index: int
    id: str | None
    kind: str
    message: str = ""
    prediction: Mapping[str, Any] = field(default_factory=dict)

    @property
    def remedy(self) -> str:
        """What to do about a failure; "" for a prediction."""
        return FAILURES[FailureKind(self.kind)].remedy if self.kind != PREDICTED else ""


def outcome_of(index: int, document: Mapping[str, Any]) -> Outcome:
    """Return the outcome that an answer of `/predict` states."""
    error = document.get("error")
    if error is None:
        return Outcome(index, document.get("id"), PREDICTED, prediction=document)
    return Outcome(index, document.get("id"), error["kind"], error["message"])


def assert_outcomes(outcomes: Sequence[Outcome], /, **expected: int) -> None:
    """Raise AssertionError unless the outcomes are exactly these.

        assert_outcomes(outcomes, predicted=3, unknown_category=1)

    expected: the number of events by kind: `predicted`, or a kind of failure. Kinds that are not named must not occur.
    """
    unknown = sorted(set(expected) - _NAMES)
    if unknown:
        raise AssertionError(f"{unknown[0]!r} is not a kind of outcome; there are {', '.join(sorted(_NAMES))}")
    found = Counter(outcome.kind for outcome in outcomes)
    wanted = {kind: count for kind, count in expected.items() if count}
    if dict(found) == wanted:
        return
    lines = [f"expected {_counts(wanted)}; found {_counts(found)}"]
    surprising = [
        outcome for outcome in outcomes if outcome.kind != PREDICTED and found[outcome.kind] != wanted.get(outcome.kind)
    ]
    for outcome in surprising[:_MAX_SHOWN]:
        lines.append(f"  event {outcome.index}: {outcome.kind}: {outcome.message}\n    hint: {outcome.remedy}")
    raise AssertionError("\n".join(lines))


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{kind}={count}" for kind, count in sorted(counts.items())) or "no events"
