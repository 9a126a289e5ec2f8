"""Which fields of events the served models use, by their signatures and the mapping, for `forebay privacy report`."""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from forebay.schemas.errors import ModelError
from forebay.stream.privacy.minimisation import FEATURE_FIELDS, FieldPath, used_paths

if TYPE_CHECKING:
    from forebay.stream.config.input_mapping import MappingTable
    from forebay.stream.config.sections import Settings


@dataclass(frozen=True, slots=True)
class Problem:
    """Why the fields are unknown."""

    message: str
    remedies: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class UsedFields:
    """The fields that are used.

    by_topic: paths by full name of the topic.
    positions: index of each feature of the first model, for events whose features are an array.
    problem: why they are unknown; None if they are known.
    """

    by_topic: Mapping[str, Set[FieldPath]] = field(default_factory=dict)
    positions: Mapping[str, int] = field(default_factory=dict)
    problem: Problem | None = None


def used_fields(settings: Settings) -> UsedFields:
    """Return the fields of events that a served model uses; all models can be named by events of each topic."""
    from forebay.models.artefacts.repository import read_signature
    from forebay.schemas.topics import topic_name

    try:
        signatures = [
            read_signature(served.model.repository, served.model.name, served.model.version)
            for served in settings.models_to_serve()
        ]
    except ModelError as error:
        problem = Problem(f"the served models are unknown: {error.message}", (error.remedy,) if error.remedy else ())
        return UsedFields(problem=problem)
    takes_all = any(not signature.features for signature in signatures)
    features = None if takes_all else {feature.name for signature in signatures for feature in signature.features}
    entry, prefix = settings.input, settings.topics.prefix
    by_topic = {}
    for topic in entry.topics:
        table = entry.mappings.get(topic, entry.mapping)
        paths = used_paths(features)
        by_topic[topic_name(prefix, topic)] = paths if table is None else _mapped(paths, table, features)
    return UsedFields(by_topic, {feature.name: index for index, feature in enumerate(signatures[0].features)})


def _mapped(own: Set[FieldPath], table: MappingTable, features: Set[str] | None) -> Set[FieldPath]:
    """Return the paths that are used with a mapping. own: those without one, which stay valid where it says nothing."""
    from forebay.stream.config.input_mapping import parse_source
    from forebay.stream.core.field_path import parse_field_path

    paths = set(own)
    for name in ("id", "timestamp", "key", "model", "deadline"):
        text = getattr(table, name)
        if text is not None and (source := parse_source(text)).kind == "field":
            paths.add(source.path)
    bases = (
        [(), *((name,) for name in FEATURE_FIELDS)] if table.features is None else [parse_field_path(table.features)]
    )
    for base in bases:
        if features is not None:
            paths |= {(*base, name) for name in features}
        elif base:
            paths.add(base)
    for of_feature in table.fields.values():
        paths |= {parse_field_path(path) for path in ([of_feature] if isinstance(of_feature, str) else of_feature)}
    return paths
