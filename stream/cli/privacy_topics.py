"""The topics of a deployment, with what the cluster says about them, for `forebay privacy`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from forebay.schemas.topics import AGGREGATOR_CHANGELOG, ALERTS, DRIFT, FEATURES, ROLLOUT_SWITCHES, ROLLOUTS

if TYPE_CHECKING:
    from forebay.schemas.topics import TopicSpec
    from forebay.stream.config.sections import Settings
    from forebay.stream.kafka.cluster.topic_state import TopicState

_WITHOUT_EVENTS: Final = frozenset(
    spec.name for spec in (ROLLOUTS, ROLLOUT_SWITCHES, DRIFT, ALERTS, AGGREGATOR_CHANGELOG)
)
"""Topics with counts, revisions and offsets only. They may be kept for ever."""


@dataclass(frozen=True, slots=True)
class DeploymentTopic:
    """A topic of a deployment. spec: from the catalogue; None for a topic that the user named."""

    spec: TopicSpec | None
    state: TopicState

    @property
    def name(self) -> str:
        """The full name."""
        return self.state.name

    @property
    def is_present(self) -> bool:
        """Whether it can be read."""
        return self.state.status == "present"

    @property
    def problem(self) -> str | None:
        """Why it cannot be read; None if it can."""
        problems = {"missing": "there is no such topic", "forbidden": "this user may not describe the topic"}
        return problems.get(self.state.status)

    @property
    def holds_events(self) -> bool:
        """Whether its records hold anything from events."""
        return self.spec is None or self.spec.name not in _WITHOUT_EVENTS

    @property
    def is_input(self) -> bool:
        """Whether workers read events from it."""
        return self.spec is FEATURES

    @property
    def is_internal(self) -> bool:
        """Whether it holds the state of Forebay itself."""
        return self.spec is AGGREGATOR_CHANGELOG

    @property
    def cleanup_policy(self) -> str | None:
        """The setting cleanup.policy; None if the cluster does not return it."""
        return (self.state.configs or {}).get("cleanup.policy")

    @property
    def retention_ms(self) -> int | None:
        """The setting retention.ms; None if the cluster does not return it."""
        return self.state.number("retention.ms")


async def deployment_topics(settings: Settings, others: Sequence[str] = ()) -> list[DeploymentTopic]:
    """Return the topics of workers, aggregator and evaluator, and others by their full names.

    Topics that only the aggregator or evaluator needs are left out if they do not exist. Raises BrokerError.
    """
    from forebay.stream.aggregate.topic_layout import plan_aggregator_topics
    from forebay.stream.evaluate.topic_layout import plan_evaluator_topics
    from forebay.stream.kafka.cluster.topic_plan import plan_topics
    from forebay.stream.kafka.cluster.topics import describe_topics

    specs: dict[str, TopicSpec | None] = {topic.name: topic.spec for topic in plan_topics(settings)}
    optional = {
        topic.name: topic.spec for topic in (*plan_aggregator_topics(settings), *plan_evaluator_topics(settings))
    }
    states = await describe_topics(settings.kafka, [*dict.fromkeys((*specs, *optional, *others))])
    wanted = {**specs, **{name: spec for name, spec in optional.items() if states[name].status != "missing"}}
    wanted |= {name: None for name in others if name not in wanted}
    return [DeploymentTopic(spec, states[name]) for name, spec in wanted.items()]
