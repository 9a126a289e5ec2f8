"""Settings of the priorities of events."""

from __future__ import annotations

from pydantic import Field

from forebay.stream.config.section import Section
from forebay.stream.config.values import Topics


class PrioritiesSection(Section):
    """Priorities of input topics and events. They matter while events wait: more urgent ones are read and predicted first."""

    high_topics: Topics | None = Field(
        default=None,
        description="Input topics whose events are urgent: they do not wait for further events, and overtake those of other "
        "topics. Default: none.",
    )
    low_topics: Topics | None = Field(
        default=None, description="Input topics whose events give way to all others, such as back-fill. Default: none."
    )
    headers: bool = Field(
        default=False,
        description="Whether an event's header forebay-priority (high, normal or low) raises the priority of the event, and "
        "of those before it in its partition.",
    )

    @property
    def are_used(self) -> bool:
        """Whether events have different priorities."""
        return bool(self.high_topics or self.low_topics or self.headers)
