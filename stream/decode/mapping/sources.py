"""Where the parts of an event are: what the settings, the schema and the defaults say together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Final, Literal

from forebay.schemas import headers as names
from forebay.stream.config.input_mapping import MappingTable, ValueSource, parse_source
from forebay.stream.core.field_path import parse_field_path
from forebay.stream.decode.formats.payload import FieldRoles, Path

NumberUnit = Literal["s", "ms", "us", "ns"]


@dataclass(frozen=True, slots=True)
class EventSources:
    """Where the parts of an event are.

    id, timestamp: the first that an event has counts.
    key, deadline, model: None for none. Without a source of the model, the header `forebay-model` names it.
    unit: of timestamps that are numbers.
    features: the object or array with the features.
    fields: paths of single features from the top; the first that an event has counts. They override `features`.
    absent: paths that an event with these sources does not have.
    is_conditional: whether other sources apply to an event that does not have `features`.
    """

    id: tuple[ValueSource, ...]
    timestamp: tuple[ValueSource, ...]
    key: ValueSource | None = None
    deadline: ValueSource | None = None
    model: ValueSource | None = None
    unit: NumberUnit = "ms"
    features: Path = ()
    fields: Mapping[str, tuple[Path, ...]] = field(default_factory=lambda: MappingProxyType({}))
    absent: tuple[Path, ...] = ()
    is_conditional: bool = False

    def source_paths(self) -> list[Path]:
        """Return the paths of everything but the features."""
        sources = [*self.id, *self.timestamp, self.key, self.deadline, self.model]
        return [source.path for source in sources if source is not None and source.kind == "field"]


@dataclass(frozen=True, slots=True)
class Layouts:
    """The sources of events by where they have their features.

    candidates: the first whose features an event has applies; at least one.
    takes_any: whether the last one applies to all other events. If not, they are invalid.
    """

    candidates: tuple[EventSources, ...]
    takes_any: bool


@dataclass(frozen=True, slots=True)
class EventDefaults:
    """The sources of events of a format without a mapping.

    base: the part of the document that has the features.
    own_fields: whether an event with `features` or `input` also has Forebay's other fields.
    takes_flat: whether the features may be at the base, without `features` or `input`.
    """

    id: tuple[ValueSource, ...]
    timestamp: tuple[ValueSource, ...]
    deadline: ValueSource | None = None
    base: Path = ()
    own_fields: bool = True
    takes_flat: bool = True


_KEY: Final = ValueSource("key")
_RECORD: Final = ValueSource("record")
_POSITION: Final = ValueSource("position")


def _field(*path: str) -> ValueSource:
    return ValueSource("field", path=path)


OWN_FIELDS: Final = EventSources(
    id=(_field("id"),),
    timestamp=(_field("timestamp"),),
    key=_field("key"),
    deadline=_field("deadline_ms"),
    model=_field("model"),
)
"""The fields of Forebay's own events."""

BY_NAME: Final = EventDefaults(id=(_field("id"), _KEY, _POSITION), timestamp=(_field("timestamp"), _RECORD))
WITHOUT_SCHEMA: Final = replace(BY_NAME, takes_flat=False)
ROWS: Final = replace(BY_NAME, own_fields=False)
"""Rows with an array of all features still have the time of their record, if they have no other."""
CE_STRUCTURED: Final = EventDefaults(
    id=(_field("id"),), timestamp=(_field("time"), _RECORD), base=("data",), own_fields=False
)
CE_BINARY: Final = EventDefaults(
    id=(ValueSource("header", header="ce_id"),),
    timestamp=(ValueSource("header", header="ce_time"), _RECORD),
    own_fields=False,
)

IMAGE: Final = EventDefaults(
    id=(ValueSource("header", header=names.ID), _KEY, _POSITION),
    timestamp=(ValueSource("header", header=names.TIMESTAMP), _RECORD),
    deadline=ValueSource("header", header=names.DEADLINE_MS),
    own_fields=False,
    takes_flat=False,
)


def layouts_of(table: MappingTable | None, roles: FieldRoles, defaults: EventDefaults) -> Layouts:
    """Return the layouts of events. Settings override what the schema says, which overrides the defaults."""

    def source(name: str) -> ValueSource | None:
        text = None if table is None else getattr(table, name)
        if text is not None:
            return parse_source(text)
        return ValueSource("field", path=roles.roles[name]) if name in roles.roles else None

    own_id, own_timestamp, key = source("id"), source("timestamp"), source("key")
    unit = "auto" if table is None else table.timestamp_unit
    fields: dict[str, tuple[Path, ...]] = {feature: (path,) for feature, path in roles.features.items()}
    if table is not None:
        fields |= {feature: _paths(paths) for feature, paths in table.fields.items()}
    mapped = EventSources(
        id=defaults.id if own_id is None else (own_id,),
        timestamp=defaults.timestamp if own_timestamp is None else (own_timestamp,),
        key=None if key is None or key.kind == "record" else key,
        deadline=source("deadline") or defaults.deadline,
        model=source("model"),
        unit="ms" if unit == "auto" else unit,
        fields=MappingProxyType(fields),
    )
    if table is not None and table.features is not None:
        return Layouts((replace(mapped, features=parse_field_path(table.features)),), takes_any=True)
    is_mapped = table is not None or bool(roles.roles) or bool(fields)
    enveloped = OWN_FIELDS if defaults.own_fields and not is_mapped else mapped
    candidates = _enveloped(enveloped, defaults.base)
    if not is_mapped and not defaults.takes_flat:
        return Layouts(candidates, takes_any=False)
    absent = tuple(sources.features for sources in candidates)
    return Layouts((*candidates, replace(mapped, features=defaults.base, absent=absent)), takes_any=True)


def or_own_fields(layouts: Layouts) -> Layouts:
    """Return layouts of events that may also have Forebay's own fields, which take precedence."""
    own = _enveloped(OWN_FIELDS, ())
    absent = tuple(sources.features for sources in own)
    rest = [replace(sources, absent=(*sources.absent, *absent)) for sources in layouts.candidates]
    return Layouts((*own, *rest), layouts.takes_any)


def _enveloped(sources: EventSources, base: Path) -> tuple[EventSources, EventSources]:
    """Return the sources of events with a field `features`, and of those with `input` instead."""
    features, fallback = (*base, "features"), (*base, "input")
    return (
        replace(sources, features=features, is_conditional=True),
        replace(sources, features=fallback, absent=(features,), is_conditional=True),
    )


def _paths(paths: str | tuple[str, ...]) -> tuple[Path, ...]:
    return tuple(map(parse_field_path, (paths,) if isinstance(paths, str) else paths))
