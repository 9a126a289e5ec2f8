"""The mapping that `forebay init --from-topic` proposes, as the tables of a configuration file."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from forebay.stream.cli.init_topic import TopicInspection
    from forebay.stream.config.topic_template import ProposedLine
    from forebay.stream.tables.topic_proposal import FieldChoice

_OWN = ("forebay", "cloudevents")


def mapping_text(inspection: TopicInspection) -> str:
    """Return [input.mapping] and [input.mapping.fields] with their reasons."""
    from forebay.stream.config.topic_template import topic_template

    proposal = inspection.proposal
    notes = list(inspection.notes)
    if proposal.envelope.why:
        notes.insert(0, f"{proposal.envelope.why[:1].upper()}{proposal.envelope.why[1:]}.")
    return topic_template(
        inspection.topic,
        proposal.sample.count,
        lines=_parts(inspection),
        fields=_fields(inspection),
        missing={match.feature.name: match.why for match in inspection.matches if match.field is None},
        notes=notes,
    )


def _parts(inspection: TopicInspection) -> list[ProposedLine]:
    from forebay.stream.config.topic_template import ProposedLine
    from forebay.stream.core.field_path import format_field_path

    proposal = inspection.proposal
    lines = []
    for part in proposal.parts:
        if not part.source:
            continue
        # Another key changes the order of predictions: people decide about it.
        is_active = part.name != "key"
        lines.append(ProposedLine(part.name, part.source, part.why, is_active, is_sure=part.is_sure))
        if part.unit is not None:
            lines.append(ProposedLine("timestamp_unit", part.unit, "", is_active))
    is_own_base = proposal.envelope.name in _OWN and proposal.base == proposal.envelope.base
    if not is_own_base and (proposal.features or proposal.array is not None):
        base = format_field_path(proposal.base)
        what = "the array with the features" if proposal.array is not None else "the object with the features"
        lines.append(ProposedLine("features", base, what if base else "the features are at the top of the event"))
    return lines


def _fields(inspection: TopicInspection) -> list[ProposedLine]:
    from forebay.stream.config.topic_template import ProposedLine
    from forebay.stream.core.field_path import format_field_path

    paths = inspection.proposal.paths
    chosen: dict[str, FieldChoice] = {
        field.feature.name: field for field in inspection.proposal.fields if field.feature is not None
    }
    sure = {match.feature.name: match.is_sure for match in inspection.matches}
    lines = []
    for name, path in paths.items():
        field = chosen[name]
        why = f"{field.profile.type}, {field.why}" if field.why else field.profile.type
        # A guess by a similar name is not in force before someone has looked at it.
        lines.append(
            ProposedLine(name, format_field_path(path), why, is_active=sure.get(name, True), is_sure=field.is_sure)
        )
    return lines
