"""`forebay publish --features`: one event, and with --wait its outcome."""

from __future__ import annotations

from typing import TYPE_CHECKING

from forebay.stream.cli.output import echo, echo_json

if TYPE_CHECKING:
    from forebay.stream.config.sections import Settings
    from forebay.stream.publish.publish_job import EventFields, PublishedEvent, PublishJob


def print_published(job: PublishJob, event: PublishedEvent, as_json: bool) -> None:
    """Print where an event was published."""
    if as_json:
        document = {"id": event.id, "topic": job.topic, "partition": event.partition, "offset": event.offset}
        echo_json(document, indent=None)
    else:
        echo(f"published {event.id} to {job.topic}, partition {event.partition}, offset {event.offset}")


async def publish_and_wait(
    job: PublishJob, event: EventFields, settings: Settings, *, outputs: tuple[str, str], wait_s: float, as_json: bool
) -> int:
    """Publish an event, and print its outcome as `forebay tail` does. Return 0 for a prediction, 1 for a dead letter."""
    from forebay.stream.cli.value_reading import open_value_reader
    from forebay.stream.kafka.consumer.topic_reader import TopicReader
    from forebay.stream.publish.event_outcome import OutcomeReader
    from forebay.stream.terminal.record_format import as_json as to_json
    from forebay.stream.terminal.record_format import as_line

    async with (
        TopicReader(job.options, outputs, from_beginning=False, clock=job.clock) as reader,
        open_value_reader(settings) as values,
    ):
        outcomes = OutcomeReader(reader, predictions=outputs[0], clock=job.clock, values=values)
        published = await job.publish_one(*event)
        if not as_json:
            print_published(job, published, as_json=False)
        outcome = await outcomes.wait_for(job.topic, published, wait_s)
    if as_json:
        echo(to_json(outcome.partition, outcome.record))
    else:
        echo(as_line("predictions" if outcome.predicted else "dead-letters", outcome.partition, outcome.record))
    return 0 if outcome.predicted else 1
