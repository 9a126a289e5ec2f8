"""`forebay privacy report`: read a sample of each topic, judge it, and print the report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from forebay.stream.cli.output import echo_json
from forebay.stream.cli.privacy_topics import DeploymentTopic, deployment_topics
from forebay.stream.cli.privacy_used_fields import UsedFields, used_fields
from forebay.stream.privacy.anonymity_sample import AnonymityPolicy, AnonymitySample
from forebay.stream.privacy.field_names import FieldNames
from forebay.stream.privacy.inventory import Inventory
from forebay.stream.privacy.judgement import Judgement, PrivacyReport, SampledTopic, Verdict
from forebay.stream.privacy.minimisation import NAME as MINIMISATION
from forebay.stream.privacy.minimisation import MinimisationSample
from forebay.stream.privacy.retention import RetentionPolicy, TopicRetention, judge_retention
from forebay.stream.privacy.sampled_record import SampledRecord

if TYPE_CHECKING:
    from forebay.stream.config.sections import Settings
    from forebay.stream.kafka.consumer.topic_reader import OffsetRanges


class _Samples:
    """What is collected while the topics are read."""

    def __init__(self, settings: Settings, policy: AnonymityPolicy, used: UsedFields) -> None:
        from forebay.stream.worker.privacy_assembly import detectors_of

        detectors = detectors_of(settings.privacy)
        names = FieldNames(detectors)
        self.inventory = Inventory(detectors, names)
        self.anonymity = AnonymitySample(policy, used.positions)
        self.minimisation = MinimisationSample(used.by_topic, settings.privacy.needed_fields, names.shown)
        self.num_records: Counter[str] = Counter()
        self.num_bytes: Counter[str] = Counter()

    def add(self, topic: str, records: Sequence[SampledRecord]) -> None:
        self.num_records[topic] += len(records)
        self.num_bytes[topic] += sum(record.num_bytes for record in records)
        self.inventory.add(topic, records)
        self.anonymity.add(topic, records)
        self.minimisation.add(topic, records)


async def make_report(
    settings: Settings,
    *,
    limit: int,
    quasi_identifiers: tuple[str, ...],
    sensitive_fields: tuple[str, ...],
    quiet: bool,
) -> PrivacyReport:
    """Read at most `limit` records of each topic, and return the judgements. Raises BrokerError and ConfigError."""
    from forebay.stream.core.clock import SystemClock

    section = settings.privacy
    topics = await deployment_topics(settings)
    policy = AnonymityPolicy(
        quasi_identifiers,
        sensitive_fields,
        subject=section.subject,
        min_k=section.min_k,
        min_l=section.min_l,
    )
    used = used_fields(settings)
    samples = _Samples(settings, policy, used)
    offsets = await _read(settings, [topic.name for topic in topics if topic.is_present], samples, limit, quiet=quiet)
    prefix = settings.topics.prefix
    minimisation = samples.minimisation.judge()
    if used.problem is not None:
        minimisation = Judgement(MINIMISATION, Verdict.NOT_JUDGED, used.problem.message, remedies=used.problem.remedies)
    return PrivacyReport(
        SystemClock().wall_ms(),
        tuple(
            SampledTopic(
                topic.name,
                samples.num_records[topic.name],
                samples.num_bytes[topic.name],
                num_offsets=offsets[topic.name],
                problem=topic.problem,
            )
            for topic in topics
        ),
        (
            samples.inventory.judge(frozenset(prefix + finding for finding in section.accepted_findings)),
            samples.anonymity.judge(),
            minimisation,
            _judge_retention(topics, section.max_retention_days, section.topic_retention_days, prefix),
        ),
    )


def _judge_retention(
    topics: Sequence[DeploymentTopic], max_days: float | None, by_topic: Mapping[str, float], prefix: str
) -> Judgement:
    return judge_retention(
        [
            TopicRetention(
                topic.name,
                topic.retention_ms,
                topic.cleanup_policy,
                holds_events=topic.holds_events,
            )
            for topic in topics
            if topic.is_present
        ],
        RetentionPolicy(max_days, {prefix + name: days for name, days in by_topic.items()}),
    )


async def _read(
    settings: Settings, topics: Sequence[str], samples: _Samples, limit: int, *, quiet: bool
) -> Counter[str]:
    """Read the newest records of each topic, and return the number of offsets of each."""
    from forebay.stream.cli.dlq_reading import bar
    from forebay.stream.core.clock import SystemClock
    from forebay.stream.kafka.client import client_options
    from forebay.stream.kafka.consumer.topic_reader import TopicReader

    num_offsets: Counter[str] = Counter()
    if not topics:
        return num_offsets
    reader = TopicReader(client_options(settings.kafka), topics, from_beginning=True, clock=SystemClock(), bounded=True)
    async with reader:
        ranges = await reader.offset_ranges()
        for partition, offsets in ranges.items():
            num_offsets[partition.topic] += len(offsets)
        with bar("reading", quiet=quiet) as progress:
            async for partition, records in reader.within(newest(ranges, limit), on_progress=progress):
                samples.add(partition.topic, [sampled(record, partition.partition) for record in records])
    return num_offsets


def sampled(record: Any, partition: int) -> SampledRecord:
    """Return a record of the client as one of a sample."""
    return SampledRecord(f"{partition}@{record.offset}", record.key, record.value, record.headers)


def newest(ranges: OffsetRanges, limit: int) -> OffsetRanges:
    """Return the newest `limit` offsets of each topic, in equal parts of its partitions as far as they have as many."""
    by_topic: dict[str, list[Any]] = {}
    for partition, offsets in ranges.items():
        by_topic.setdefault(partition.topic, []).append((len(offsets), partition))
    chosen = {}
    for partitions in by_topic.values():
        left = limit
        for done, (size, partition) in enumerate(sorted(partitions)):
            share = min(size, -(-left // (len(partitions) - done)))
            left -= share
            offsets = ranges[partition]
            chosen[partition] = range(offsets.stop - share, offsets.stop)
    return chosen


def show_report(report: PrivacyReport, *, page: Path | None, as_json: bool) -> None:
    """Print the report, and write its page. Raises StorageError if that cannot be written."""
    from forebay.schemas.errors import StorageError

    if page is not None:
        from forebay.stream.cli.privacy_page import privacy_page

        try:
            page.write_text(privacy_page(report), encoding="utf-8")
        except OSError as error:
            raise StorageError(
                f"the page {page} cannot be written: {error.strerror}", remedy="give --html a file in a writable folder"
            ) from None
    if as_json:
        echo_json(report.to_dict())
        return
    from forebay.stream.cli.privacy_render import report_text
    from forebay.stream.terminal.console import print_whole

    print_whole(report_text(report))
