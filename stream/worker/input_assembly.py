"""The assembly of what decides about events before they are predicted: access, duplicates, priorities."""

from __future__ import annotations

from typing import TypedDict

from forebay.schemas.topics import topic_name
from forebay.stream.config.sections import InputSection, Settings
from forebay.stream.decode.access_filter import AccessFilter
from forebay.stream.decode.duplicates import DuplicateFilter
from forebay.stream.decode.seen_ids import DuplicateWindow
from forebay.stream.pipeline.priorities import Priorities
from forebay.stream.pipeline.rollouts import Rollouts
from forebay.stream.pipeline.schema_admission import SchemaAdmission
from forebay.stream.worker.rollout_assembly import RolloutParts
from forebay.stream.worker.schema_assembly import SchemaParts


class InputStages(TypedDict):
    """The parts of `Stages` that decide about events; None for those that are not used."""

    access: AccessFilter | None
    duplicates: DuplicateFilter | None
    priorities: Priorities | None
    rollouts: Rollouts | None
    schemas: SchemaAdmission | None


def build_input_stages(
    settings: Settings, rollouts: RolloutParts | None, schemas: SchemaParts | None, access: AccessFilter | None
) -> InputStages:
    """Build what decides about events before they are predicted."""
    return InputStages(
        access=access,
        duplicates=build_duplicates(settings.input),
        priorities=build_priorities(settings),
        rollouts=None if rollouts is None else rollouts.stage,
        schemas=None if schemas is None else schemas.admission,
    )


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
