"""`forebay audit verify --counts`: the numbers of audited outcomes beside those of the records on the other topics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from forebay.schemas.topics import DEAD_LETTERS, LATE_EVENTS, topic_name
from forebay.stream.cli.audit_verify import Comparison

if TYPE_CHECKING:
    from forebay.stream.audit.tally import OutcomeTally
    from forebay.stream.audit.verifier import ChainReport
    from forebay.stream.config.sections import Settings


async def compare_counts(
    settings: Settings, options: Mapping[str, object], reports: Sequence[ChainReport], tally: OutcomeTally
) -> list[Comparison]:
    """Count the records that the audit should have, and those that it says were written. Reads all of these topics.

    Only the chains of the configured group are compared.
    """
    own = [
        report for report in reports if report.name.group == settings.kafka.group_id and not report.name.is_of_actions
    ]
    comparisons = []
    for topic in sorted({report.name.topic for report in own}):
        chains = [report for report in own if report.name.topic == topic]
        wanted = {report.name.partition: range(report.first_offset, report.next_offset) for report in chains}
        audited = sum(tally.records[str(report.name)] for report in chains)
        comparisons.append(await _compare(options, [topic], f"input {topic}", audited, wanted=wanted))
    prefix = settings.topics.prefix
    predictions = list(settings.all_prediction_topics())
    comparisons.append(await _compare(options, predictions, "predictions", tally.num_predictions))
    letters = [topic_name(prefix, DEAD_LETTERS.name)]
    comparisons.append(await _compare(options, letters, "dead letters", tally.num_dead_letters))
    if settings.has_late_events_topic():
        late = [topic_name(prefix, LATE_EVENTS.name)]
        comparisons.append(await _compare(options, late, "late events", tally.num_late))
    return comparisons


async def _compare(
    options: Mapping[str, object],
    topics: Sequence[str],
    what: str,
    audited: int,
    *,
    wanted: Mapping[int, range] | None = None,
) -> Comparison:
    """Count the committed records of these topics. wanted: only these offsets, by partition."""
    from forebay.stream.core.clock import SystemClock
    from forebay.stream.core.records import Unreadable
    from forebay.stream.kafka.consumer.topic_reader import TopicReader

    count = 0
    async with TopicReader(options, topics, from_beginning=True, bounded=True, clock=SystemClock()) as reader:
        ranges = dict(await reader.offset_ranges())
        for partition, offsets in list(ranges.items()):
            first = 0
            if wanted is not None:
                chosen = wanted.get(partition.partition, range(0))
                first, ranges[partition] = (
                    chosen.start,
                    range(max(offsets.start, chosen.start), min(offsets.stop, chosen.stop)),
                )
            if offsets.start > first and (wanted is None or len(wanted.get(partition.partition, ()))):
                return Comparison(what, audited, None, "not counted: retention has removed records")
        async for _partition, records in reader.within(ranges):
            count += sum(record.count if isinstance(record, Unreadable) else 1 for record in records)
    return Comparison(what, audited, count)
