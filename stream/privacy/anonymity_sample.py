"""The judgement about the level of anonymisation: k and l of a sample over declared quasi-identifiers. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from forebay.stream.core.quantities import quantity
from forebay.stream.privacy.anonymity import Row, class_sizes, distinct_l, entropy_l, k_anonymity, without_quasi
from forebay.stream.privacy.documents import read_document
from forebay.stream.privacy.judgement import Evidence, Judgement, Verdict
from forebay.stream.privacy.sampled_record import SampledRecord, field_of, hashable

NAME: Final = "anonymisation"
RECORD_KEY: Final = "key"


@dataclass(frozen=True, slots=True)
class AnonymityPolicy:
    """What anonymisation means.

    quasi_identifiers, sensitive_fields: names of fields of events.
    subject: the field that says whom an event is about; `key` is the record's key.
    min_k, min_l: the least values that pass.
    """

    quasi_identifiers: tuple[str, ...]
    sensitive_fields: tuple[str, ...] = ()
    subject: str = RECORD_KEY
    min_k: int = 5
    min_l: int = 2


class AnonymitySample:
    """Collects rows of topics, and judges each topic.

    positions: indices of features by name, for events whose features are an array.
    """

    def __init__(self, policy: AnonymityPolicy, positions: Mapping[str, int]) -> None:
        self._policy = policy
        self._positions = positions
        self._rows: dict[str, list[Row]] = {}

    def add(self, topic: str, records: Sequence[SampledRecord]) -> None:
        """Take the records that are JSON objects with at least one of the quasi-identifiers."""
        policy = self._policy
        if not policy.quasi_identifiers:
            return
        for record in records:
            document = read_document(record.value or b"")
            if not isinstance(document, dict):
                continue
            quasi = tuple(hashable(field_of(document, name, self._positions)) for name in policy.quasi_identifiers)
            if all(value is None for value in quasi):
                continue
            sensitive = tuple(hashable(field_of(document, name, self._positions)) for name in policy.sensitive_fields)
            self._rows.setdefault(topic, []).append(Row(self._subject(record, document), quasi, sensitive))

    def _subject(self, record: SampledRecord, document: Mapping[str, object]) -> object:
        name = self._policy.subject
        subject: object = record.key if name == RECORD_KEY else hashable(field_of(document, name, self._positions))
        if subject is None and name == RECORD_KEY:
            subject = hashable(document.get("key"))
        return ("record", record.position) if subject is None else subject

    def judge(self) -> Judgement:
        """Return the judgement."""
        policy = self._policy
        names = policy.quasi_identifiers
        if not names:
            return Judgement(
                NAME,
                Verdict.NOT_JUDGED,
                "no quasi-identifiers are declared",
                remedies=(
                    "set privacy.quasi_identifiers (or --quasi) to the fields that together could identify a person, such as "
                    "zip and birth_year, and privacy.sensitive_fields to what must not become known",
                ),
            )
        if not self._rows:
            return Judgement(NAME, Verdict.NOT_JUDGED, f"no sampled record has one of the fields {', '.join(names)}")
        evidence = tuple(self._of_topic(topic, rows) for topic, rows in sorted(self._rows.items()))
        failed = [str(row["topic"]) for row in evidence if not row["passes"]]
        worst_k = min(self._k(rows) for rows in self._rows.values())
        if not failed:
            summary = f"k is at least {worst_k:,} in the sample (required {policy.min_k:,})"
            return Judgement(NAME, Verdict.PASSED, summary, evidence)
        summary = f"below k = {policy.min_k:,} or l = {policy.min_l:,} in {', '.join(failed)}: k is {worst_k:,}"
        return Judgement(NAME, Verdict.FAILED, summary, evidence, remedies=tuple(self._remedies(failed)))

    @staticmethod
    def _k(rows: Sequence[Row]) -> int:
        return k_anonymity(rows)

    def _of_topic(self, topic: str, rows: Sequence[Row]) -> Evidence:
        policy, sizes = self._policy, class_sizes(rows)
        k = min(sizes.values())
        exposed = sum(size for size in sizes.values() if size < policy.min_k)
        evidence: dict[str, str | int | float | bool | None] = {
            "topic": topic,
            "records": len(rows),
            "persons": len({row.subject for row in rows}),
            "classes": len(sizes),
            "k": k,
            "persons_below_k_share": round(exposed / sum(sizes.values()), 6),
        }
        passes = k >= policy.min_k
        for index, name in enumerate(policy.sensitive_fields):
            evidence[f"l_of_{name}"] = diversity = distinct_l(rows, index)
            evidence[f"entropy_l_of_{name}"] = round(entropy_l(rows, index), 4)
            passes = passes and diversity >= policy.min_l
        if len(policy.quasi_identifiers) > 1:
            for index, name in enumerate(policy.quasi_identifiers):
                evidence[f"k_without_{name}"] = k_anonymity(without_quasi(rows, index))
        return {**evidence, "passes": passes}

    def _remedies(self, failed: Sequence[str]) -> list[str]:
        policy = self._policy
        remedies = []
        if len(policy.quasi_identifiers) > 1:
            gains = {
                name: min(k_anonymity(without_quasi(self._rows[topic], index)) for topic in failed)
                for index, name in enumerate(policy.quasi_identifiers)
            }
            best = max(gains, key=lambda name: gains[name])
            if gains[best] > min(k_anonymity(self._rows[topic]) for topic in failed):
                remedies.append(f"leave out {best}, which raises k most: to {gains[best]:,}")
        remedies += [
            "coarsen the quasi-identifiers where events are published: the first digits of a postcode, a year instead of a "
            "date, ranges instead of numbers",
            f"a sample has smaller classes than the whole topic: repeat with a larger --limit before you change events (this "
            f"is of {quantity(sum(len(self._rows[topic]) for topic in failed), 'record')})",
        ]
        return remedies
