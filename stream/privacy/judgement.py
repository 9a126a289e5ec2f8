"""What a privacy report says: judgements with evidence and remedies. Evidence holds no values of records."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

Evidence = Mapping[str, str | int | float | bool | None]
"""A row of evidence: values by name. All rows of a judgement have the same names."""


class Verdict(StrEnum):
    """The result of a judgement. NOT_JUDGED: what it would be judged by is missing; the summary says what."""

    PASSED = "passed"
    FAILED = "failed"
    NOT_JUDGED = "not_judged"


@dataclass(frozen=True, slots=True)
class Judgement:
    """One judgement of a report.

    name: what is judged, such as `retention`.
    summary: the verdict in a sentence.
    evidence: by what it was judged.
    remedies: what to do about it.
    """

    name: str
    verdict: Verdict
    summary: str
    evidence: tuple[Evidence, ...] = ()
    remedies: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the judgement as JSON values."""
        return {
            "name": self.name,
            "verdict": self.verdict.value,
            "summary": self.summary,
            "evidence": [dict(row) for row in self.evidence],
            "remedies": list(self.remedies),
        }


@dataclass(frozen=True, slots=True)
class SampledTopic:
    """What was read of a topic.

    num_records: records in the sample. num_bytes: of their keys, values and headers.
    num_offsets: offsets of the whole topic; markers of transactions and removed records have some of them.
    problem: why nothing could be read; None if it was read.
    """

    name: str
    num_records: int = 0
    num_bytes: int = 0
    num_offsets: int = 0
    problem: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the topic as JSON values."""
        return {
            "topic": self.name,
            "records": self.num_records,
            "bytes": self.num_bytes,
            "offsets": self.num_offsets,
            "problem": self.problem,
        }


@dataclass(frozen=True, slots=True)
class PrivacyReport:
    """The judgements about a deployment, from a sample of each of its topics at a time (ms since the Unix epoch)."""

    time_ms: int
    topics: tuple[SampledTopic, ...]
    judgements: tuple[Judgement, ...]

    @property
    def has_failed(self) -> bool:
        """Whether a judgement failed."""
        return any(judgement.verdict is Verdict.FAILED for judgement in self.judgements)

    def to_dict(self) -> dict[str, Any]:
        """Return the report as JSON values."""
        return {
            "time_ms": self.time_ms,
            "failed": self.has_failed,
            "topics": [topic.to_dict() for topic in self.topics],
            "judgements": [judgement.to_dict() for judgement in self.judgements],
        }
