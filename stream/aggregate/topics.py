"""The aggregator's topics on the cluster: checking and creating them."""

from __future__ import annotations

from forebay.schemas.errors import BrokerError
from forebay.schemas.topics import OUTCOME_DELTAS, ROLLOUTS, topic_name
from forebay.stream.aggregate.topic_layout import (
    Layout,
    find_problems,
    layout_of,
    plan_aggregator_topics,
    require_countable,
)
from forebay.stream.config.sections import Settings
from forebay.stream.kafka.cluster.topic_plan import TopicState, plan_topics
from forebay.stream.kafka.cluster.topic_plan import find_problems as find_topic_problems
from forebay.stream.kafka.cluster.topics import (
    DEFAULT_TIMEOUT_S,
    CreateResult,
    TopicCheck,
    create_topics,
    describe_topics,
)


async def prepare_topics(settings: Settings) -> tuple[Layout, tuple[str, ...]]:
    """Check the topics and create the aggregator's own missing ones. Return the layout and the names of the created topics.

    Raises BrokerError if outcome-deltas is missing, or if a topic does not have the required configuration. With rollouts, so
    does their topic.
    """
    deltas = topic_name(settings.topics.prefix, OUTCOME_DELTAS.name)
    names = [deltas, *(topic.name for topic in plan_aggregator_topics(settings))]
    states = await describe_topics(settings.kafka, names)
    if states[deltas].status == "missing":
        raise BrokerError(
            f"topic {deltas} does not exist",
            kind="missing",
            remedy="run `forebay topics create`; the workers write to this topic",
        )
    _require_visible(states[deltas])
    wanted = plan_aggregator_topics(settings, num_deltas=states[deltas].num_partitions)
    missing = [topic for topic in wanted if states[topic.name].status != "present"]
    if missing:
        for result in await create_topics(settings, missing):
            if result.status == "refused":
                raise BrokerError(
                    f"topic {result.topic.name} does not exist and cannot be created: {result.reason}",
                    kind="missing",
                    remedy="allow this user to create topics, or run `forebay topics create` as a user with that permission",
                )
        states |= await describe_topics(settings.kafka, [topic.name for topic in missing])
        for topic in missing:
            _require_visible(states[topic.name])
    require_countable(states[deltas], find_problems(states[deltas], wanted, states))
    if settings.rollouts.enabled:
        await _require_kept_revisions(settings)
    return layout_of(settings, states), tuple(topic.name for topic in missing)


async def _require_kept_revisions(settings: Settings) -> None:
    """Raise BrokerError if the topic of rollouts loses records, by which canaries are judged and revisions written.

    A topic may be missing here: the judge waits for it.
    """
    (wanted,) = (topic for topic in plan_topics(settings) if topic.spec is ROLLOUTS)
    states = await describe_topics(settings.kafka, [wanted.name])
    if states[wanted.name].status != "present":
        return
    for finding in find_topic_problems(settings, (wanted,), states):
        if finding.severity == "error":
            raise BrokerError(f"topic {finding.topic}: {finding.message}", kind=finding.kind, remedy=finding.remedy)


def _require_visible(state: TopicState) -> None:
    if state.status != "present":
        raise BrokerError(
            f"topic {state.name}: this user may not see the topic",
            kind="forbidden",
            remedy="allow the aggregator's user to describe and read its topics, and to write all except outcome-deltas",
        )


async def create_aggregator_topics(
    settings: Settings, *, dry_run: bool, timeout_s: float = DEFAULT_TIMEOUT_S
) -> tuple[CreateResult, ...]:
    """Create the missing topics; with `dry_run` the cluster only validates the request. Raises BrokerError."""
    deltas = topic_name(settings.topics.prefix, OUTCOME_DELTAS.name)
    state = (await describe_topics(settings.kafka, [deltas], timeout_s=timeout_s))[deltas]
    wanted = plan_aggregator_topics(settings, num_deltas=state.num_partitions or None)
    return await create_topics(settings, wanted, dry_run=dry_run, timeout_s=timeout_s)


async def check_aggregator_topics(settings: Settings, *, timeout_s: float = DEFAULT_TIMEOUT_S) -> TopicCheck:
    """Check the topics without changing anything. Raises BrokerError if the cluster does not respond."""
    deltas = topic_name(settings.topics.prefix, OUTCOME_DELTAS.name)
    names = [deltas, *(topic.name for topic in plan_aggregator_topics(settings))]
    states = await describe_topics(settings.kafka, names, timeout_s=timeout_s)
    wanted = plan_aggregator_topics(settings, num_deltas=states[deltas].num_partitions or None)
    findings = find_problems(states[deltas], wanted, states)
    return TopicCheck(wanted, {topic.name: states[topic.name] for topic in wanted}, findings)
