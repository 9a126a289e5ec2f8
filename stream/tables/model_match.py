"""Which field of a topic's events is which feature of a registered model, by name and by what the fields hold. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from forebay.models.artefacts.signature import Feature, Signature
from forebay.stream.core.field_path import format_field_path
from forebay.stream.decode.formats.payload import Path
from forebay.stream.decode.mapping.proposals import propose
from forebay.stream.decode.mapping.schema_fields import SchemaField
from forebay.stream.tables.field_profiles import FieldProfile, SampleProfile
from forebay.stream.tables.topic_proposal import FieldChoice, TopicProposal

_MAX_SHOWN: Final = 3
_WHY: Final = {"name": "the same name", "alias": "the same name", "similar": "a similar name"}


@dataclass(frozen=True, slots=True)
class FeatureMatch:
    """A feature of the model and its field.

    field: None if there is none. is_sure: whether the names are the same.
    why: how it was found, or that it is missing. problem: values that the model would reject; "" for none.
    """

    feature: Feature
    field: FieldProfile | None
    is_sure: bool
    why: str
    problem: str = ""

    @property
    def is_missing(self) -> bool:
        """Whether events would be rejected because the field is missing."""
        return self.field is None and not self.feature.nullable


def match_features(signature: Signature, proposal: TopicProposal) -> list[FeatureMatch]:
    """Return the field of each feature. A field is proposed once only, for the feature with its name where there is one."""
    if proposal.values:
        return [
            FeatureMatch(
                feature, profile, True, "by its place in the list", problem=_problem(feature, profile, proposal.sample)
            )
            for feature, profile in zip(signature.features, proposal.values, strict=False)
        ]
    taken = {part.path for part in proposal.parts if part.path is not None}
    profiles = {field.profile.path: field.profile for field in proposal.fields if field.profile.path not in taken}
    fields = {path: SchemaField(path, profile.type) for path, profile in profiles.items() if profile.is_scalar}
    found: dict[str, tuple[Path, str]] = {}
    for bases in (("name", "alias"), ("similar",)):
        for feature in signature.features:
            proposed = None if feature.name in found else propose(feature.name, list(fields.values()))
            if proposed is not None and proposed.basis in bases:
                found[feature.name] = (proposed.field.path, proposed.basis)
                del fields[proposed.field.path]
    return [_match(feature, found.get(feature.name), profiles, proposal.sample) for feature in signature.features]


def list_length(proposal: TopicProposal) -> int | None:
    """Return the number of values of events that hold their features as a list; None if the features have names."""
    if proposal.array is not None:
        return next(iter(proposal.array.lengths))
    return len(proposal.values) or None


def _match(
    feature: Feature, found: tuple[Path, str] | None, profiles: Mapping[Path, FieldProfile], sample: SampleProfile
) -> FeatureMatch:
    if found is None:
        allowed = ", which the model allows" if feature.nullable else ": events without it are rejected"
        return FeatureMatch(feature, None, feature.nullable, f"no field has a similar name{allowed}")
    path, basis = found
    profile = profiles[path]
    return FeatureMatch(feature, profile, basis != "similar", _WHY[basis], problem=_problem(feature, profile, sample))


def _problem(feature: Feature, profile: FieldProfile, sample: SampleProfile) -> str:
    """Return why events would be rejected because of a field; "" if none would."""
    problems = []
    if feature.dtype == "float32" and not profile.is_numeric and profile.present:
        problems.append(f"it holds {profile.type}; the model takes a number")
    elif feature.is_text and not profile.is_text and profile.present:
        problems.append(f"it holds {profile.type}; the model takes text")
    elif feature.dtype == "category" and not feature.other:
        unknown = [value for value in profile.distinct if value not in feature.categories]
        if unknown:
            count = sum(profile.distinct[value] for value in unknown)
            shown = ", ".join(repr(str(value)[:30]) for value in unknown[:_MAX_SHOWN])
            more = f" and {len(unknown) - _MAX_SHOWN} more" if len(unknown) > _MAX_SHOWN else ""
            problems.append(f"{count:,} events have a category that the model does not know: {shown}{more}")
    missing = sample.missing(profile)
    if missing and not feature.nullable:
        problems.append(f"missing in {missing:,} events, which the model does not allow")
    return "; ".join(problems)


def with_model(proposal: TopicProposal, matches: Sequence[FeatureMatch]) -> TopicProposal:
    """Return the proposal with the features of a model instead of those that the sample suggests."""
    by_path = {match.field.path: match for match in matches if match.field is not None}
    fields = []
    for choice in proposal.fields:
        match = by_path.get(choice.profile.path)
        if match is None:
            name = format_field_path(choice.profile.path)
            fields.append(FieldChoice(choice.profile, "left out", f"no feature of the model is like {name}"))
        else:
            why = f"{match.why}; {match.problem}" if match.problem else match.why
            fields.append(
                FieldChoice(choice.profile, "feature", why, match.is_sure and not match.problem, feature=match.feature)
            )
    parents = {match.field.path[:-1] for match in matches if match.field is not None}
    base = parents.pop() if len(parents) == 1 and proposal.envelope.name != "forebay" else proposal.envelope.base
    return replace(proposal, base=base, fields=tuple(fields), array=None)
