"""The aggregator's topics on the cluster: looked at, compared with what they must be, and made where they are missing."""

from __future__ import annotations

from forebay.schemas.errors import BrokerError
from forebay.schemas.topics import OUTCOME_DELTAS, topic_name
from forebay.stream.aggregate.topic_layout import (
    Layout,
    find_problems,
    layout_of,
    plan_aggregator_topics,
    require_countable,
)
from forebay.stream.config.sections import Settings
from forebay.stream.kafka.cluster.topic_plan import TopicState
from forebay.stream.kafka.cluster.topics import (
    DEFAULT_TIMEOUT_S,
    CreateResult,
    TopicCheck,
    create_topics,
    describe_topics,
)


async def prepare_topics(settings: Settings) -> tuple[Layout, tuple[str, ...]]:
    """Look at the topics, and make those that are missing and ours. Gives the layout, and the names of those that were made.

    Raises BrokerError where one is missing that is not ours, or is not what it must be.
    """
    deltas = topic_name(settings.topics.prefix, OUTCOME_DELTAS.name)
    names = [deltas, *(topic.name for topic in plan_aggregator_topics(settings))]
    states = await describe_topics(settings.kafka, names)
    if states[deltas].status == "missing":
        raise BrokerError(
            f"topic {deltas}: there is no such topic",
            kind="missing",
            remedy="`forebay topics create` creates what is missing; its deltas come from the workers",
        )
    _require_visible(states[deltas])
    wanted = plan_aggregator_topics(settings, num_deltas=states[deltas].num_partitions)
    missing = [topic for topic in wanted if states[topic.name].status != "present"]
    if missing:
        for one in await create_topics(settings, missing):
            if one.status == "refused":
                raise BrokerError(
                    f"topic {one.topic.name} is missing and cannot be made: {one.reason}",
                    kind="missing",
                    remedy="let this user create topics, or have somebody who may run `forebay topics create`",
                )
        states |= await describe_topics(settings.kafka, [topic.name for topic in missing])
        for topic in missing:
            _require_visible(states[topic.name])
    require_countable(states[deltas], find_problems(states[deltas], wanted, states))
    return layout_of(settings, states), tuple(topic.name for topic in missing)


def _require_visible(state: TopicState) -> None:
    if state.status != "present":
        raise BrokerError(
            f"topic {state.name}: this user may not see it",
            kind="forbidden",
            remedy="let the aggregator's user describe and read it, and write to those that are not outcome-deltas",
        )


async def create_aggregator_topics(
    settings: Settings, *, dry_run: bool, timeout_s: float = DEFAULT_TIMEOUT_S
) -> tuple[CreateResult, ...]:
    """Make those that are missing; with `dry_run` the cluster only says whether it would. Raises BrokerError."""
    deltas = topic_name(settings.topics.prefix, OUTCOME_DELTAS.name)
    found = (await describe_topics(settings.kafka, [deltas], timeout_s=timeout_s))[deltas]
    wanted = plan_aggregator_topics(settings, num_deltas=found.num_partitions or None)
    return await create_topics(settings, wanted, dry_run=dry_run, timeout_s=timeout_s)


async def check_aggregator_topics(settings: Settings, *, timeout_s: float = DEFAULT_TIMEOUT_S) -> TopicCheck:
    """Compare the topics with what they must be; changes nothing. Raises BrokerError when the cluster does not answer."""
    deltas = topic_name(settings.topics.prefix, OUTCOME_DELTAS.name)
    names = [deltas, *(topic.name for topic in plan_aggregator_topics(settings))]
    states = await describe_topics(settings.kafka, names, timeout_s=timeout_s)
    wanted = plan_aggregator_topics(settings, num_deltas=states[deltas].num_partitions or None)
    findings = find_problems(states[deltas], wanted, states)
    return TopicCheck(wanted, {topic.name: states[topic.name] for topic in wanted}, findings)
