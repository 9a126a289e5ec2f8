"""`forebay publish --topic labels`: the options for labels, and what they are checked against."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, ParamSpec, TypedDict, TypeVar

import click

from forebay.stream.cli.publish_check import find_signature, warn

if TYPE_CHECKING:
    from forebay.stream.config.load import LoadedSettings
    from forebay.stream.config.sections import Settings
    from forebay.stream.publish.inspection import ServedSignature
    from forebay.stream.publish.label_builder import LabelColumns
    from forebay.stream.publish.publish_job import LabelOptions

P = ParamSpec("P")
R = TypeVar("R")


class LabelOptionValues(TypedDict):
    """The options for labels, by parameter name."""

    label_column: str | None
    topic_column: str | None
    partition_column: str | None
    offset_column: str | None
    field_columns: tuple[str, ...]


def label_options(function: Callable[P, R]) -> Callable[P, R]:
    """Add the options for the columns of labels."""
    options = (
        click.option("--label-column", metavar="NAME", help="Labels: column of the true values. [default: label]"),
        click.option("--topic-column", metavar="NAME", help="Labels: column of the events' topics. [default: topic]"),
        click.option(
            "--partition-column",
            metavar="NAME",
            help="Labels: column of the events' partitions. [default: partition, if evaluate.join_by is position]",
        ),
        click.option(
            "--offset-column",
            metavar="NAME",
            help="Labels: column of the events' offsets. [default: offset, if evaluate.join_by is position]",
        ),
        click.option(
            "--field-column",
            "field_columns",
            multiple=True,
            metavar="NAME",
            help="Labels: column to send as a field, for slices; may be repeated. [default: those in evaluate.slices]",
        ),
    )
    for option in reversed(options):
        function = option(function)
    return function


def is_labels_topic(settings: Settings, topic: str | None) -> bool:
    """Return whether a topic is the one for labels. topic: its full name; None for the first input topic."""
    from forebay.schemas.topics import topic_name

    return topic is not None and topic == topic_name(settings.topics.prefix, settings.evaluate.labels_topic)


def check_label_use(labels: bool, label_values: dict[str, object], event_values: dict[str, object]) -> None:
    """Raise UsageError for an option that does not fit.

    labels: whether the topic is the one for labels.
    label_values, event_values: the options for labels only and for events only, with their values; None if not set.
    """
    for option, value in (event_values if labels else label_values).items():
        if value is None:
            continue
        if labels:
            raise click.UsageError(f"{option} cannot be used for labels")
        raise click.UsageError(
            f"{option} can only be used with --topic and the topic of labels (evaluate.labels_topic)"
        )


def values_by_option(options: LabelOptionValues) -> dict[str, object]:
    """Return the options for labels, with their values; None if not set."""
    return {
        "--label-column": options["label_column"],
        "--topic-column": options["topic_column"],
        "--partition-column": options["partition_column"],
        "--offset-column": options["offset_column"],
        "--field-column": options["field_columns"] or None,
    }


def find_label_signature(loaded: LoadedSettings, *, model: str | None, wanted: bool | None) -> ServedSignature | None:
    """Return the signatures against which labels are checked; None if they are not checked.

    model: the model that --model names; None for all served models.
    wanted: True to require the check (raises ModelError if the model is not found), None to check if possible, False for none.
    """
    return find_signature(loaded, model=model, topic=None, other_topic=False, wanted=wanted, warn=warn, noun="label")


def label_job_options(
    settings: Settings, columns: LabelColumns, signature: ServedSignature | None, *, model: str | None
) -> LabelOptions:
    """Return the options of the run. model: the model that --model names; None for all served models."""
    from forebay.schemas.topics import PREDICTIONS, topic_name
    from forebay.stream.publish.label_builder import LabelCheck
    from forebay.stream.publish.publish_job import LabelOptions

    prefix = settings.topics.prefix
    check = None
    if signature is not None:
        signatures = {signature.model_name: signature.signature, **({} if model else signature.others)}
        check = LabelCheck(signatures, () if model else signature.unchecked)
    return LabelOptions(
        join_by=settings.evaluate.join_by,
        input_topic=topic_name(prefix, settings.input.topics[0]),
        predictions=topic_name(prefix, PREDICTIONS.name),
        max_future_ms=settings.evaluate.max_future_s * 1000,
        columns=columns,
        check=check,
    )
