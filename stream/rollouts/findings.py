"""What a check of a canary found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Check(StrEnum):
    """What is checked."""

    NOT_FINITE = "not_finite"
    FAILURES = "failures"
    LATENCY = "latency"
    COST = "cost"
    QUALITY = "quality"
    SAMPLE_RATIO = "sample_ratio"


class State(StrEnum):
    """The result of a check.

    SUSPECT: the limit is exceeded, but not clearly or not for long enough.
    INCONCLUSIVE: nothing is wrong so far, but too little is known for a step forward.
    """

    PASSED = "passed"
    FAILED = "failed"
    SUSPECT = "suspect"
    INCONCLUSIVE = "inconclusive"
    NO_DATA = "no_data"


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check.

    reason: in plain words.
    evidence: the numbers.
    events_needed: approximately how many more of the canary's events decide a suspicion.
    windows_needed: how many more judge windows beyond the limit make the check fail.
    """

    check: Check
    state: State
    reason: str = ""
    evidence: Mapping[str, object] = field(default_factory=dict)
    events_needed: int = 0
    windows_needed: int = 0
