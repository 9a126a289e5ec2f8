"""The evaluator's topics on the cluster: checking and creating them."""

from __future__ import annotations

import logging

from forebay.schemas.topics import PREDICTIONS, topic_name
from forebay.stream.config.sections import Settings
from forebay.stream.evaluate.topic_layout import (
    Layout,
    find_problems,
    layout_of,
    plan_evaluator_topics,
    require_joinable,
    topic_names,
)
from forebay.stream.kafka.cluster.topics import (
    DEFAULT_TIMEOUT_S,
    CreateResult,
    TopicCheck,
    create_topics,
    describe_topics,
)

log = logging.getLogger("forebay.evaluate")


async def find_layout(settings: Settings) -> Layout:
    """Return the layout. Raises BrokerError if a topic is missing or unusable, or the cluster cannot be reached."""
    states = await describe_topics(settings.kafka, topic_names(settings))
    predictions = states[topic_name(settings.topics.prefix, PREDICTIONS.name)]
    findings = find_problems(settings, plan_evaluator_topics(settings), states)
    require_joinable(predictions, findings)
    for finding in findings:
        if finding.severity == "warning":
            log.warning("topic %s: %s", finding.topic, finding.message)
    layout = layout_of(settings, states)
    if settings.rollouts.enabled and layout.shadow_predictions is None:
        log.warning("shadows are not compared by labels: their topic has other partitions than %s", layout.predictions)
    return layout


async def create_evaluator_topics(
    settings: Settings, *, dry_run: bool, timeout_s: float = DEFAULT_TIMEOUT_S
) -> tuple[CreateResult, ...]:
    """Create the missing topics, labels with as many partitions as predictions; none unless evaluate.enabled is set.

    dry_run: the cluster only validates the request.

    Raises BrokerError.
    """
    if not settings.evaluate.enabled:
        return ()
    predictions = topic_name(settings.topics.prefix, PREDICTIONS.name)
    state = (await describe_topics(settings.kafka, [predictions], timeout_s=timeout_s))[predictions]
    wanted = plan_evaluator_topics(settings, num_predictions=state.num_partitions or None)
    return await create_topics(settings, wanted, dry_run=dry_run, timeout_s=timeout_s)


async def check_evaluator_topics(settings: Settings, *, timeout_s: float = DEFAULT_TIMEOUT_S) -> TopicCheck:
    """Check the topics without changing anything; none unless evaluate.enabled is set. Raises BrokerError."""
    if not settings.evaluate.enabled:
        return TopicCheck((), {}, ())
    states = await describe_topics(settings.kafka, topic_names(settings), timeout_s=timeout_s)
    predictions = states[topic_name(settings.topics.prefix, PREDICTIONS.name)]
    wanted = plan_evaluator_topics(settings, num_predictions=predictions.num_partitions or None)
    return TopicCheck(
        wanted, {topic.name: states[topic.name] for topic in wanted}, find_problems(settings, wanted, states)
    )
