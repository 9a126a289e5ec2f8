"""The judgement about sensitive data: what the detectors find in a sample of topics, by place and field. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from forebay.stream.privacy.detector import UNDECODABLE, Column, Detector, Finding, findings_of
from forebay.stream.privacy.documents import names_of, read_document, strings_of
from forebay.stream.privacy.field_names import FieldNames
from forebay.stream.privacy.judgement import Evidence, Judgement, Verdict
from forebay.stream.privacy.sampled_record import SampledRecord, form_of, path_text

NAME: Final = "sensitive_data"
MAX_FIELDS: Final = 200
"""Fields of a place that are counted one by one. Names of fields beyond them may be data, and are counted together."""
OTHER_FIELDS: Final = "(other fields)"


class _Text(NamedTuple):
    """A text of a record. field: the path in the value, or the name of the header. hint: as in `Column`."""

    record: int
    place: str
    text: str
    field: str = ""
    hint: str = ""


class Found(NamedTuple):
    """What the counts are by. place: key, header, value, or name, of a field or header."""

    topic: str
    place: str
    field: str
    detector: str


@dataclass(slots=True)
class _Count:
    findings: int = 0
    records: int = 0
    form: str = ""
    position: str = ""
    last_record: str = field(default="", repr=False)


class Inventory:
    """Counts findings in records, and keeps the form and position of the first one of each kind."""

    def __init__(self, detectors: Sequence[Detector], names: FieldNames) -> None:
        self._names = names
        self._detectors = tuple(detectors)
        self._counts: dict[Found, _Count] = {}
        self._fields: dict[tuple[str, str], set[str]] = {}
        self.num_records: Counter[str] = Counter()

    def add(self, topic: str, records: Sequence[SampledRecord]) -> None:
        """Search these records of a topic."""
        self.num_records[topic] += len(records)
        documents = [read_document(record.value or b"") for record in records]
        for number, (record, document) in enumerate(zip(records, documents, strict=True)):
            # Names can be personal data as well: {"anna@example.org": 1}.
            for name in dict.fromkeys((*names_of(document), *(name for name, _ in record.headers))):
                for finding in self._names.findings(name):
                    self._count(topic, record, _Text(number, "name", text=name), finding)
        texts = [
            text
            for number, (record, document) in enumerate(zip(records, documents, strict=True))
            for text in self._texts_of(number, record, document)
        ]
        column = Column([text.text for text in texts], [text.hint for text in texts])
        for finding in findings_of(self._detectors, column) if texts else ():
            text = texts[finding.row]
            self._count(topic, records[text.record], text, finding)

    def _texts_of(self, number: int, record: SampledRecord, document: object) -> Iterator[_Text]:
        if record.key:
            yield _Text(number, "key", text=record.key.decode("utf-8", UNDECODABLE))
        for name, content in record.headers:
            text = (content or b"").decode("utf-8", UNDECODABLE)
            yield _Text(number, "header", text=text, field=self._names.shown(name), hint=name)
        if not record.value:
            return
        if document is None:
            # Text in binary formats, such as the strings of Avro, is found where something else surrounds it.
            yield _Text(number, "value", text=record.value.decode("utf-8", UNDECODABLE))
            return
        for path, hint, text in strings_of(document):
            shown = path_text([step if isinstance(step, int) else self._names.shown(step) for step in path])
            yield _Text(number, "value", text=text, field=shown, hint=hint)

    def _count(self, topic: str, record: SampledRecord, text: _Text, finding: Finding) -> None:
        fields = self._fields.setdefault((topic, text.place), set())
        name = text.field
        if name not in fields:
            if len(fields) >= MAX_FIELDS:
                name = OTHER_FIELDS
            else:
                fields.add(name)
        count = self._counts.setdefault(Found(topic, text.place, name, finding.detector), _Count())
        if not count.findings:
            count.form, count.position = form_of(text.text[finding.start : finding.end]), record.position
        count.findings += 1
        count.records += count.last_record != record.position
        count.last_record = record.position

    def judge(self, accepted: Set[str]) -> Judgement:
        """Return the judgement.

        accepted: findings that do not count, as `<topic>` or `<topic>:<detector>`.
        """
        evidence: list[Evidence] = []
        open_by_topic: Counter[str] = Counter()
        for found, count in sorted(self._counts.items()):
            is_accepted = not accepted.isdisjoint((found.topic, f"{found.topic}:{found.detector}"))
            evidence.append(
                {
                    **found._asdict(),
                    "findings": count.findings,
                    "records": count.records,
                    "of_records": self.num_records[found.topic],
                    "form": count.form,
                    "first_at": count.position,
                    "accepted": is_accepted,
                }
            )
            if not is_accepted:
                open_by_topic[found.topic] += count.findings
        if open_by_topic:
            summary = (
                f"found in {', '.join(f'{topic} ({number:,})' for topic, number in sorted(open_by_topic.items()))}"
            )
            return Judgement(NAME, Verdict.FAILED, summary, tuple(evidence), remedies=_REMEDIES)
        if not self.num_records.total():
            return Judgement(NAME, Verdict.NOT_JUDGED, "the topics hold no records")
        total = f"{self.num_records.total():,} records"
        summary = f"all findings in {total} are accepted" if evidence else f"none was found in {total}"
        return Judgement(NAME, Verdict.PASSED, summary, tuple(evidence))


_REMEDIES: Final = (
    "in topics that workers write: enable [privacy], with dead_letters for the events in dead letters",
    "in topics that your producers write: leave the field out, or replace it by a keyed hash, before it is published",
    "data that is already there: wait for its retention, or shorten retention.ms; `forebay privacy forget` finds single keys",
    'findings that must be there, or are wrong: privacy.accepted_findings = ["<topic>:<detector>"]',
)
