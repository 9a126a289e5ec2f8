"""The assembly of what decides about events before they are predicted: duplicates, priorities."""

from __future__ import annotations

from forebay.schemas.topics import topic_name
from forebay.stream.config.sections import InputSection, Settings
from forebay.stream.decode.duplicates import DuplicateFilter
from forebay.stream.decode.seen_ids import DuplicateWindow
from forebay.stream.pipeline.priorities import Priorities


def build_duplicates(section: InputSection) -> DuplicateFilter | None:
    """Return the filter of duplicates; None if events that are sent again are predicted again."""
    if not section.duplicate_window_events:
        return None
    return DuplicateFilter(DuplicateWindow(section.duplicate_window_events, section.duplicate_window_ms))


def build_priorities(settings: Settings) -> Priorities | None:
    """Return the priorities of events; None if all have the same."""
    section, prefix = settings.priorities, settings.topics.prefix
    if not section.are_used:
        return None
    high, low = (
        frozenset(topic_name(prefix, topic) for topic in topics or ())
        for topics in (section.high_topics, section.low_topics)
    )
    return Priorities(high, low, section.headers)
