"""The access control lists that each role needs on the cluster, and no more. Pure.

In Kafka, READ and WRITE imply DESCRIBE.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Literal

from forebay.schemas.aggregates import Category
from forebay.schemas.topics import (
    AGGREGATOR_CHANGELOG,
    ALERTS,
    AUDIT,
    DEAD_LETTERS,
    DRIFT,
    ERROR_AGGREGATES,
    LATE_EVENTS,
    OUTCOME_DELTAS,
    PREDICTIONS,
    QUALITY,
    REVIEW,
    ROLLOUT_SWITCHES,
    ROLLOUTS,
    SHADOW_PREDICTIONS,
    topic_name,
)
from forebay.stream.config.aggregator_group import aggregator_group
from forebay.stream.config.evaluator_group import evaluator_group
from forebay.stream.config.sections import Settings

Resource = Literal["topic", "group", "transactional-id"]
Operation = Literal["READ", "WRITE", "DESCRIBE", "DESCRIBE_CONFIGS"]


class Role(StrEnum):
    """A role with permissions of its own; each can have its own user."""

    WORKER = "worker"
    AGGREGATOR = "aggregator"
    EVALUATOR = "evaluator"
    REPLAY = "dlq-replay"
    ROLLOUTS = "rollouts"


ROLES: Final[dict[Role, str]] = {
    Role.WORKER: "forebay run",
    Role.AGGREGATOR: "forebay aggregate",
    Role.EVALUATOR: "forebay evaluate",
    Role.REPLAY: "forebay dlq replay",
    Role.ROLLOUTS: "forebay models rollout, promote, canary, shadow, rollback, pause, resume, abort, history",
}
"""The command of each role."""


@dataclass(frozen=True, slots=True, order=True)
class Acl:
    """An operation to allow on a resource. prefixed: on all names that begin with `name`."""

    resource: Resource
    name: str
    operation: Operation
    prefixed: bool = False

    def __str__(self) -> str:
        return f"{self.operation} on the {self.resource} {self.name}{'*' if self.prefixed else ''}"


def required_acls(role: Role, settings: Settings) -> tuple[Acl, ...]:
    """Return all access control lists of a role with these settings. Raises ConfigError for an invalid topic name."""
    acls = {
        Role.WORKER: _worker,
        Role.AGGREGATOR: _aggregator,
        Role.EVALUATOR: _evaluator,
        Role.REPLAY: _replay,
        Role.ROLLOUTS: _rollouts,
    }
    # Two settings may need the same one.
    return tuple(dict.fromkeys(acls[role](settings)))


def _worker(settings: Settings) -> Iterator[Acl]:
    inputs, outputs = _inputs(settings), _names(settings, PREDICTIONS.name, DEAD_LETTERS.name, OUTCOME_DELTAS.name)
    if settings.has_late_events_topic():
        outputs += _names(settings, LATE_EVENTS.name)
    if settings.drift.enabled:
        outputs += _names(settings, DRIFT.name)
    if settings.audit.enabled:
        outputs += _names(settings, AUDIT.name)
    if settings.has_review_topic():
        outputs += _names(settings, REVIEW.name)
    outputs += _names(settings, *settings.routed_topics())
    read = inputs
    if settings.rollouts.enabled:
        # A worker writes a revision if it must go back from a version that it cannot serve.
        outputs += _names(settings, ROLLOUTS.name, ROLLOUT_SWITCHES.name, SHADOW_PREDICTIONS.name)
        read += _names(settings, ROLLOUTS.name)
    yield from (Acl("topic", name, "READ") for name in read)
    yield from (Acl("topic", name, "WRITE") for name in outputs)
    yield from (Acl("topic", name, "DESCRIBE_CONFIGS") for name in (*inputs, *outputs))
    yield Acl("group", settings.kafka.group_id, "READ")
    if settings.delivery.processing_guarantee == "exactly_once":
        prefix = f"{settings.delivery.transactional_id_prefix}-{settings.kafka.group_id}-"
        yield Acl("transactional-id", prefix, "WRITE", prefixed=True)
    if settings.edge.reports:
        # A group and a transactional id for each device (see producer/edge_commit.py).
        yield Acl("group", f"{edge_name(settings)}-", "READ", prefixed=True)
        yield Acl("transactional-id", f"{edge_name(settings)}-", "WRITE", prefixed=True)


def edge_name(settings: Settings) -> str:
    """Return the start of the groups and transactional ids of devices."""
    return f"{settings.delivery.transactional_id_prefix}-edge"


def _aggregator(settings: Settings) -> Iterator[Acl]:
    deltas, changelog, aggregates = _names(
        settings, OUTCOME_DELTAS.name, AGGREGATOR_CHANGELOG.name, ERROR_AGGREGATES.name
    )
    yield from (Acl("topic", name, "READ") for name in (deltas, changelog))
    own = [changelog, aggregates]
    if settings.rollouts.enabled:
        (rollouts,) = _names(settings, ROLLOUTS.name)
        own.append(rollouts)
        yield from _actions(settings)
        yield Acl("topic", rollouts, "READ")
    if settings.aggregate.alerts or settings.rollouts.enabled:
        (alerts,) = _names(settings, ALERTS.name)
        own.append(alerts)
        # After a restart, the alerts that were sent are read.
        yield Acl("topic", alerts, "READ")
    if settings.aggregate.alerts:
        yield Acl("topic", aggregates, "READ")
    categories = {rule.category for rule in settings.aggregate.alerts if rule.metric is not None}
    judges_quality = settings.rollouts.enabled and settings.rollouts.quality_metric is not None
    if judges_quality or Category.QUALITY in categories:
        yield from (Acl("topic", name, "READ") for name in _names(settings, QUALITY.name))
    if settings.drift.enabled or Category.DRIFT in categories:
        yield from (Acl("topic", name, "READ") for name in _names(settings, DRIFT.name))
    yield from (Acl("topic", name, "WRITE") for name in own)
    yield from (Acl("topic", name, "DESCRIBE_CONFIGS") for name in (deltas, *own))
    yield Acl("group", aggregator_group(settings), "READ")


def _evaluator(settings: Settings) -> Iterator[Acl]:
    read = _names(settings, PREDICTIONS.name, *settings.topics_beside_predictions(), settings.evaluate.labels_topic)
    if settings.rollouts.enabled:
        read += _names(settings, SHADOW_PREDICTIONS.name)
    (quality,) = _names(settings, QUALITY.name)
    yield from (Acl("topic", name, "READ") for name in read)
    yield Acl("topic", quality, "WRITE")
    yield Acl("topic", quality, "READ")  # for its metrics, which are of all partitions
    yield from (Acl("topic", name, "DESCRIBE_CONFIGS") for name in (*read, quality))
    group = evaluator_group(settings)
    yield Acl("group", group, "READ")
    # Always: what has been counted and the positions are one transaction, whatever the workers' guarantee.
    yield Acl("transactional-id", f"{settings.delivery.transactional_id_prefix}-{group}-", "WRITE", prefixed=True)


def _replay(settings: Settings) -> Iterator[Acl]:
    inputs = _inputs(settings)
    yield from (Acl("topic", name, "READ") for name in _names(settings, DEAD_LETTERS.name))
    yield from (Acl("topic", name, "WRITE") for name in inputs)
    yield from (Acl("topic", name, "DESCRIBE_CONFIGS") for name in inputs)
    yield from _actions(settings)


def _actions(settings: Settings) -> Iterator[Acl]:
    if settings.audit.enabled:
        yield from (Acl("topic", name, "WRITE") for name in _names(settings, AUDIT.name))


def _rollouts(settings: Settings) -> Iterator[Acl]:
    rollouts, switches = _names(settings, ROLLOUTS.name, ROLLOUT_SWITCHES.name)
    # The outcome deltas are for the verdict on a canary.
    (deltas,) = _names(settings, OUTCOME_DELTAS.name)
    yield from (Acl("topic", name, "READ") for name in (rollouts, switches, deltas))
    if settings.evaluate.enabled:
        yield from (Acl("topic", name, "READ") for name in _names(settings, QUALITY.name))
    yield Acl("topic", rollouts, "WRITE")
    yield from _actions(settings)
    # Finds the workers, to report which of them have applied a revision.
    yield Acl("group", settings.kafka.group_id, "DESCRIBE")


def _inputs(settings: Settings) -> tuple[str, ...]:
    return _names(settings, *settings.input.topics)


def _names(settings: Settings, *names: str) -> tuple[str, ...]:
    return tuple(topic_name(settings.topics.prefix, name) for name in names)
