"""Which fields of a sample may be the id, the time and the key of an event, and what surrounds its features. Pure."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from forebay.stream.core.field_path import format_field_path
from forebay.stream.core.quantities import quantity
from forebay.stream.decode.formats.payload import Path
from forebay.stream.tables.field_profiles import FieldProfile, SampleProfile

_CAMEL_ID: Final = re.compile(r"[a-z0-9](Id|ID|Uuid|UUID|Guid)$")
_SNAKE_ID: Final = re.compile(r"(^|[_\-. ])(id|uuid|guid|ulid)$", re.IGNORECASE)
_TIME_NAME: Final = re.compile(
    r"(^|[_\-. ])(ts|time|timestamp|datetime|date|at|when|created|updated|occurred|millis|ms)($|[_\-. ])"
    r"|(At|Time|Date|Timestamp|Ts)$",
)
_DAY_S: Final = 86_400.0
_HOUR_S: Final = 3_600.0


@dataclass(frozen=True, slots=True)
class Envelope:
    """What surrounds the features of an event.

    name: forebay, cloudevents, debezium, kafka-connect or none. base: the object with the features; () is the top.
    why: how it was recognised.
    """

    name: str
    base: Path
    why: str


@dataclass(frozen=True, slots=True)
class PartChoice:
    """Where a part of an event comes from.

    source: as in [input.mapping], such as `field:order.id`; "" for what a worker does without a setting.
    unit: of a time that is a number, if it is not milliseconds.
    is_sure: whether nothing else is plausible.
    """

    name: str
    source: str
    why: str
    is_sure: bool = True
    path: Path | None = None
    unit: str | None = None


def find_envelope(documents: Sequence[Mapping[str, object]]) -> Envelope:
    """Return what surrounds the features in most of the events. documents: at least one."""
    counts = Counter(map(_envelope, documents))
    return counts.most_common(1)[0][0]


def _envelope(document: Mapping[str, object]) -> Envelope:
    names = document.keys()
    for name in ("features", "input"):
        if isinstance(document.get(name), Mapping | list) and "id" in names and "timestamp" in names:
            return Envelope("forebay", (name,), f"the events have Forebay's own fields id, timestamp and {name}")
    if names >= {"specversion", "id", "source", "type"}:
        base = ("data",) if isinstance(document.get("data"), Mapping) else ()
        return Envelope("cloudevents", base, "the events have the attributes of CloudEvents")
    if names == {"schema", "payload"} and isinstance(document["payload"], Mapping):
        inner = _envelope(document["payload"])
        if inner.name == "debezium":
            return Envelope("debezium", ("payload", *inner.base), f"{inner.why}, with their schema")
        return Envelope("kafka-connect", ("payload",), "the events have the fields schema and payload of Kafka Connect")
    if names >= {"before", "after", "op"}:
        return Envelope("debezium", ("after",), "the events have the fields before, after and op of Debezium")
    return Envelope("none", (), "")


def value_at(document: Mapping[str, object], path: Path) -> object:
    """Return the value at a path of names; None if there is none."""
    value: object = document
    for name in path:
        if not isinstance(value, Mapping):
            return None
        value = value.get(name)
    return value


def has_id_name(name: str) -> bool:
    """Return whether a field's name says that it identifies something: `order_id`, `orderId`, `uuid`."""
    return bool(_SNAKE_ID.search(name) or _CAMEL_ID.search(name))


def has_time_name(name: str) -> bool:
    """Return whether a field's name says that it is a time: `created_at`, `eventTime`, `ts_ms`."""
    return bool(_TIME_NAME.search(name) or _TIME_NAME.search(name.lower()))


def choose_id(sample: SampleProfile, fields: Iterable[FieldProfile], keys: Counter[bytes]) -> PartChoice:
    """Return where the id comes from. keys: of the records, with their numbers."""
    candidates = [field for field in fields if field.is_text or field.is_integer]
    complete = [field for field in candidates if not sample.missing(field)]
    named = [field for field in complete if has_id_name(field.name)]
    unique = [field for field in named if field.is_unique]
    if unique:
        best = min(
            unique,
            key=lambda field: (field.name.lower() != "id", len(field.path), list(sample.fields).index(field.path)),
        )
        others = [field for field in unique if field is not best]
        why = f"named like an id, and different in all {sample.count:,} events"
        if others:
            why += f"; so is {', '.join(format_field_path(field.path) for field in others[:3])}"
        return PartChoice("id", _field(best), why, not others or best.name.lower() == "id", path=best.path)
    if sum(keys.values()) == sample.count and sample.count > 1 and set(keys.values()) == {1}:
        return PartChoice("id", "key", f"the record's key: different in all {sample.count:,} events")
    if named:
        best = max(named, key=lambda field: len(field.distinct))
        found = f"{len(best.distinct):,} different values in {sample.count:,} events"
        why = f"no field is different in every event; {format_field_path(best.path)} has only {found}"
    else:
        why = "no field is named like an id and different in every event"
    return PartChoice("id", "position", f"{why}: topic, partition and offset are the id", is_sure=False)


def choose_timestamp(fields: Iterable[FieldProfile]) -> PartChoice:
    """Return where the time comes from."""
    found = []
    unzoned = []
    for field in fields:
        if field.unzoned and field.unzoned == field.present:
            unzoned.append(field)
        unit = field.time_unit()
        if unit is None:
            continue
        distance_s = field.distance_from_records_s()
        is_named = has_time_name(field.name)
        is_text = not field.is_numeric
        if is_named or is_text or distance_s < _DAY_S:
            found.append((distance_s >= _DAY_S, not is_named, not is_text, distance_s, field, unit))
    if not found:
        why = "no field is a time"
        if unzoned:
            shown = format_field_path(unzoned[0].path)
            why = f"{shown} is a time without an offset, which a worker does not read (2026-11-29T08:00:00Z has one)"
        return PartChoice("timestamp", "record", f"{why}: the record's timestamp", is_sure=not unzoned)
    found.sort(key=lambda entry: entry[:4])
    _, not_named, _, distance_s, best, unit = found[0]
    near = "" if distance_s >= _DAY_S else f", within {_span(distance_s)} of the records' timestamps"
    others = [entry[4] for entry in found[1:] if entry[3] < _DAY_S and not entry[1]]
    kind = "a number of " + {"s": "seconds", "ms": "milliseconds", "us": "microseconds", "ns": "nanoseconds"}[unit]
    why = f"{kind if best.is_numeric else 'a time'}{near}"
    if others:
        why += f"; {', '.join(format_field_path(field.path) for field in others[:3])} would do as well"
    is_sure = not not_named and not others
    return PartChoice(
        "timestamp", _field(best), why, is_sure, path=best.path, unit=unit if best.is_numeric and unit != "ms" else None
    )


def choose_key(
    sample: SampleProfile, fields: Iterable[FieldProfile], keys: Counter[bytes], used: set[Path]
) -> PartChoice:
    """Return where the key comes from; a guess only if records have no key. used: fields that are something else."""
    num_keys = sum(keys.values())
    if num_keys >= sample.count:
        return PartChoice("key", "", f"the record's key: {len(keys):,} different in {num_keys:,} records")
    candidates = [
        field
        for field in fields
        if field.path not in used
        and (field.is_text or field.is_integer)
        and has_id_name(field.name)
        and not sample.missing(field)
        and 1 < len(field.distinct) < sample.count
    ]
    lacking = "no record has a key" if not num_keys else f"{quantity(sample.count - num_keys, 'record')} without a key"
    if not candidates:
        return PartChoice("key", "", f"{lacking}: predictions keep the order of partitions only", is_sure=False)
    best = max(candidates, key=lambda field: len(field.distinct))
    return PartChoice(
        "key",
        _field(best),
        f"{lacking}; {len(best.distinct):,} different values in {sample.count:,} events, named like an id",
        is_sure=False,
        path=best.path,
    )


def _field(profile: FieldProfile) -> str:
    return f"field:{format_field_path(profile.path)}"


def _span(seconds: float) -> str:
    if seconds < 1:
        return "a second"
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 2 * _HOUR_S else f"{seconds / _HOUR_S:.0f} h"
