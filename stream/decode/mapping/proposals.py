"""Which field each feature of a model has, what is missing, and which field it may be. Pure.

A proposal is never applied: `forebay check` shows it, and `forebay init --from-subject` writes it for people to look at.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Final, Literal

from forebay.models.artefacts.signature import Signature
from forebay.stream.config.input_mapping import ValueSource
from forebay.stream.core.field_path import format_field_path
from forebay.stream.decode.formats.payload import Path
from forebay.stream.decode.mapping.schema_fields import SchemaField
from forebay.stream.decode.mapping.sources import EventSources, Layouts

Basis = Literal["name", "alias", "similar"]

MIN_SIMILARITY: Final = 0.7


@dataclass(frozen=True, slots=True)
class Proposal:
    """A field that may be that of a feature. basis: why."""

    field: SchemaField
    basis: Basis


@dataclass(frozen=True, slots=True)
class MappedFeature:
    """A feature and its field.

    field: None if there is none.
    is_required: whether an event without a value is rejected.
    proposal: a field for a feature without one.
    """

    name: str
    field: SchemaField | None
    is_required: bool
    proposal: Proposal | None = None


@dataclass(frozen=True, slots=True)
class MappingReport:
    """The mapping of a topic's events.

    features: of the model, in order; none if it takes an array or has no names.
    array: the field with all features as an array; None if they are single fields.
    parts: where id, timestamp and so on come from, by name.
    """

    features: tuple[MappedFeature, ...]
    array: SchemaField | None
    parts: Mapping[str, str]

    @property
    def missing(self) -> list[MappedFeature]:
        """The required features without a field."""
        return [feature for feature in self.features if feature.field is None and feature.is_required]


def mapping_report(signature: Signature, layouts: Layouts, fields: Sequence[SchemaField]) -> MappingReport:
    """Return the mapping of events with these fields."""
    known = {field.path: field for field in fields}
    sources = next((one for one in layouts.candidates if one.features in known), layouts.candidates[-1])
    parts = {
        "id": _first(sources.id, known),
        "timestamp": _first(sources.timestamp, known),
        "key": "the record's key" if sources.key is None else _shown(sources.key, known),
        "model": "header forebay-model, or the topic's" if sources.model is None else _shown(sources.model, known),
    }
    at_top = known.get(sources.features)
    if at_top is not None and not at_top.is_object and not sources.fields:
        return MappingReport((), at_top, parts)
    used = {path for path in _source_paths(sources, known)}
    features = tuple(_mapped(feature.name, feature.nullable, sources, known) for feature in signature.features)
    taken = used | {one.field.path for one in features if one.field is not None}
    free = [field for field in fields if not field.is_object and field.path not in taken]
    return MappingReport(
        tuple(
            one if one.field is not None else MappedFeature(one.name, None, one.is_required, propose(one.name, free))
            for one in features
        ),
        None,
        parts,
    )


def propose(feature: str, fields: Collection[SchemaField]) -> Proposal | None:
    """Return the field that is most probably that of a feature: by name, by alias, or by similar spelling."""
    wanted = _plain(feature)
    for basis in ("name", "alias"):
        for field in fields:
            names = [field.path[-1]] if basis == "name" else field.aliases
            if wanted in map(_plain, names):
                return Proposal(field, basis)
    ranked = [(max(_similarity(wanted, name) for name in _names(field)), field) for field in fields]
    best = max(ranked, key=lambda pair: pair[0], default=None)
    return Proposal(best[1], "similar") if best is not None and best[0] >= MIN_SIMILARITY else None


def _names(field: SchemaField) -> list[str]:
    return [_plain(name) for name in (field.path[-1], "".join(field.path), *field.aliases)]


def _similarity(one: str, other: str) -> float:
    if min(len(one), len(other)) > 2 and (one in other or other in one):
        return 0.9
    return SequenceMatcher(None, one, other).ratio()


def _plain(name: str) -> str:
    return "".join(char for char in name.casefold() if char.isalnum())


def _mapped(name: str, nullable: bool, sources: EventSources, known: Mapping[Path, SchemaField]) -> MappedFeature:
    paths = sources.fields.get(name) or ((*sources.features, name),)
    found = next((known[path] for path in paths if path in known), None)
    return MappedFeature(name, found, not nullable)


def _source_paths(sources: EventSources, known: Mapping[Path, SchemaField]) -> list[Path]:
    return [path for path in sources.source_paths() if path in known]


def _first(sources: Sequence[ValueSource], known: Mapping[Path, SchemaField]) -> str:
    """Return the first source that applies: a field that exists, or what every record may have."""
    for source in sources:
        if source.kind != "field" or source.path in known:
            return _shown(source, known)
    return f"{_shown(sources[0], known)} (missing)"


def _shown(source: ValueSource, known: Mapping[Path, SchemaField]) -> str:
    match source.kind:
        case "field":
            field = known.get(source.path)
            return f"{format_field_path(source.path)} ({'missing' if field is None else field.type})"
        case "header":
            return f"header {source.header}"
        case "key":
            return "the record's key"
        case "record":
            return "the record's timestamp"
    return "topic, partition and offset"


def report_lines(report: MappingReport, *, max_lines: int = 60) -> list[str]:
    """Return the mapping as lines of text: `feature <- field (type)`."""
    lines = [f"{name} <- {source}" for name, source in report.parts.items()]
    if report.array is not None:
        return [
            *lines,
            f"features <- {format_field_path(report.array.path)} ({report.array.type}), in the model's order",
        ]
    for one in report.features:
        if one.field is not None:
            lines.append(f"{one.name} <- {format_field_path(one.field.path)} ({one.field.type})")
        elif not one.is_required:
            lines.append(f"{one.name} <- missing, which the model allows")
    more = len(lines) - max_lines
    return lines if more <= 0 else [*lines[:max_lines], f"and {more} more"]


def missing_lines(report: MappingReport) -> list[str]:
    """Return the required features without a field as lines of text, with proposals."""
    return [f"{one.name} has no field{proposal_text(one)}" for one in report.missing]


def proposal_text(feature: MappedFeature) -> str:
    """Return the proposal for a feature as the setting to add; empty if there is none."""
    if feature.proposal is None:
        return ""
    field, why = feature.proposal.field, {"name": "same name", "alias": "alias", "similar": "similar name"}
    path = format_field_path(field.path)
    return f'; is it {path} ({field.type}, {why[feature.proposal.basis]})? [input.mapping.fields] {feature.name} = "{path}"'
