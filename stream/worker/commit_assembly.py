"""The assembly of what commits: the producer of outputs, and the committer with its transaction and limits."""

from __future__ import annotations

from forebay.stream.config.sections import Settings
from forebay.stream.core.backoff import Backoff
from forebay.stream.core.clock import Clock
from forebay.stream.kafka.client import client_options
from forebay.stream.kafka.cluster.topic_layout import Layout
from forebay.stream.kafka.consumer.source import Source
from forebay.stream.kafka.patches.fetch_pacing import FetchHold
from forebay.stream.kafka.producer.producer import OutputProducer, TransactionSettings
from forebay.stream.kafka.producer.transaction import Transaction, transactional_id
from forebay.stream.output.emitter import EmissionBuilder
from forebay.stream.pipeline.committer import AtLeastOnce, Committer
from forebay.stream.pipeline.dead_letter_limit import DeadLetterLimit, DeadLetterLimits
from forebay.stream.pipeline.observer import Observer


def retry_backoff(settings: Settings) -> Backoff:
    """Return the waits between attempts to reach the cluster."""
    delivery = settings.delivery
    return Backoff(delivery.retry_backoff_ms / 1000, delivery.retry_backoff_max_ms / 1000)


def build_producer(settings: Settings, layout: Layout, *, worker: str) -> OutputProducer:
    """Build the producer of outputs, without starting it. worker: instance id."""
    compression = settings.output.compression_type
    transactional = None
    if settings.delivery.processing_guarantee == "exactly_once":
        transactional = TransactionSettings(
            transactional_id(settings, worker), settings.delivery.transaction_timeout_ms
        )
    return OutputProducer(
        client_options(settings.kafka),
        compression_type=None if compression == "none" else compression,
        max_batch_bytes=layout.max_batch_bytes,
        transactional=transactional,
        backoff=retry_backoff(settings),
        timestamp_bounds=layout.timestamp_bounds,
    )


def build_committer(
    settings: Settings,
    emitter: EmissionBuilder,
    *,
    producer: OutputProducer,
    source: Source,
    observer: Observer,
    clock: Clock,
) -> Committer:
    """Build the committer, which commits in transactions unless the settings say otherwise.

    source: not started yet. Its fetches are held until the deliveries of a commit are done.
    """
    limits = settings.limits
    source.fetch_hold = FetchHold()
    return Committer(
        emitter,
        producer,
        transaction=AtLeastOnce(source)
        if settings.delivery.processing_guarantee == "at_least_once"
        else Transaction(producer, group_id=settings.kafka.group_id, is_current=source.is_current),
        dead_letter_limit=DeadLetterLimit(
            DeadLetterLimits(
                limits.max_dead_letter_ratio,
                limits.dead_letter_window_events,
                limits.max_dead_letters_in_a_row,
                counts_denied=settings.access.count_as_dead_letters,
            )
        ),
        observer=observer,
        clock=clock,
        timeout_ms=settings.delivery.commit_timeout_ms,
        on_delivered=source.fetch_hold.release,
    )
