"""Features and a mapping, proposed from a sample of a topic's events. Pure.

Nothing is decided silently: each choice says why it was made, and whether another one is plausible.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

from forebay.models.artefacts.signature import Feature, Signature
from forebay.schemas.errors import DataError
from forebay.stream.decode.formats.payload import Path
from forebay.stream.tables.event_parts import (
    Envelope,
    PartChoice,
    choose_id,
    choose_key,
    choose_timestamp,
    find_envelope,
    has_id_name,
    value_at,
)
from forebay.stream.tables.field_profiles import MAX_KEPT_CHARS, FieldProfile, SampleProfile, profile_documents

Role = Literal["id", "timestamp", "key", "label", "feature", "left out"]

MAX_CATEGORIES: Final = 50
BUCKETS: Final = 4_096
_MANY_MISSING: Final = 0.95
_EVENTS_PER_CATEGORY: Final = 10
_LONG_TEXT: Final = 64
_EXACT_FLOAT32: Final = float(1 << 24)
_FLOAT32_MAX: Final = 3.4e38
_MIN_EVENTS: Final = 10
_LABELS: Final = frozenset({"label", "target", "y"})


@dataclass(frozen=True, slots=True)
class FieldChoice:
    """What a field becomes. feature: if it is one. why: the reason. is_sure: whether nothing else is plausible."""

    profile: FieldProfile
    role: Role
    why: str
    is_sure: bool = True
    feature: Feature | None = None


@dataclass(frozen=True, slots=True)
class TopicProposal:
    """What was seen and what is proposed.

    sample: of the events that have features. num_other: of other events, which have no features.
    base: the object with the features. parts: id, timestamp and key. fields: all others, in their order.
    array: the field with all features, if they are one array of numbers.
    values: the fields of a list that has texts or nulls as well, in its order; empty if the features have names.
    """

    envelope: Envelope
    sample: SampleProfile
    num_other: int
    base: Path
    parts: tuple[PartChoice, ...]
    fields: tuple[FieldChoice, ...]
    array: FieldProfile | None = None
    values: tuple[FieldProfile, ...] = ()

    @property
    def features(self) -> tuple[Feature, ...]:
        """The proposed features; none if they are an array."""
        return tuple(field.feature for field in self.fields if field.feature is not None)

    @property
    def paths(self) -> Mapping[str, Path]:
        """The paths of features that are not at their name within the base."""
        return {
            field.feature.name: field.profile.path
            for field in self.fields
            if field.feature is not None and field.profile.path != (*self.base, field.feature.name)
        }

    def signature(self) -> Signature | None:
        """Return a signature with these features, to decode events with; None if there are none."""
        features = self.features
        if self.array is not None:
            (length,) = self.array.lengths
            features = tuple(Feature(f"feature_{index}") for index in range(length))
        return Signature(features, (len(features),), "regression", 1) if features else None


def propose(
    documents: Sequence[tuple[Mapping[str, object], int]], keys: Counter[bytes], *, topic: str
) -> TopicProposal:
    """Return what a topic's events may mean.

    documents: the events, with the timestamps of their records in ms. keys: of the records, with their numbers.

    Raises DataError if no event has fields.
    """
    envelope = find_envelope([document for document, _ in documents])
    chosen = [entry for entry in documents if _has_base(entry[0], envelope)]
    sample = profile_documents([(_indexed(document, envelope), at_ms) for document, at_ms in chosen])
    inside = sample.below(envelope.base) or [sample.fields[path] for path in (envelope.base,) if path in sample.fields]
    if not inside:
        raise DataError(
            f"{topic}: the events have no fields",
            kind="no_fields",
            remedy="name the format of the events with --set input.format=..., docs/formats.md lists the formats",
        )
    parts = _parts(envelope, sample, inside, keys)
    used = {part.path: part for part in parts if part.path is not None}
    base, fields = _fields(sample, [field for field in inside if field.path not in used], envelope)
    values: tuple[FieldProfile, ...] = ()
    if any(isinstance(value_at(document, envelope.base), list) for document, _ in chosen):
        fields = list(map(_in_list, fields))
        values = tuple(field.profile for field in fields if field.profile.name.startswith("feature_"))
    array = None
    if not any(field.feature for field in fields):
        array = next((field.profile for field in fields if _is_row(field.profile, sample)), None)
    if array is not None:
        base = array.path
        fields = [
            replace(field, role="feature", why="all features, in the order of the array", is_sure=False)
            if field.profile is array
            else field
            for field in fields
        ]
    return TopicProposal(
        envelope,
        sample,
        len(documents) - len(chosen),
        base,
        parts=parts,
        fields=tuple(fields),
        array=array,
        values=values,
    )


def _has_base(document: Mapping[str, object], envelope: Envelope) -> bool:
    return isinstance(value_at(document, envelope.base), Mapping | list)


def _indexed(document: Mapping[str, object], envelope: Envelope) -> Mapping[str, object]:
    """Return an event of Forebay's own whose features are a list, not only of numbers, with features named by their index."""
    if envelope.name != "forebay":
        return document
    (name,) = envelope.base
    features = document[name]
    if not isinstance(features, list) or all(isinstance(value, int | float) for value in features):
        return document
    return {**document, name: {f"feature_{index}": value for index, value in enumerate(features)}}


def _in_list(choice: FieldChoice) -> FieldChoice:
    """Return a choice for a value in a list: all of them are features, because their order says which one each is."""
    if choice.feature is not None or not choice.profile.name.startswith("feature_"):
        return choice
    feature = Feature(choice.profile.name, nullable=True)
    if choice.profile.is_text:
        feature = Feature(choice.profile.name, "hashed", buckets=BUCKETS, nullable=True)
    return FieldChoice(
        choice.profile, "feature", f"{choice.why}; all values of a list are features", False, feature=feature
    )


def _parts(
    envelope: Envelope, sample: SampleProfile, inside: Sequence[FieldProfile], keys: Counter[bytes]
) -> tuple[PartChoice, ...]:
    """Return where id, timestamp and key come from."""
    own = envelope.why
    if envelope.name in ("forebay", "cloudevents"):
        time = "timestamp" if envelope.name == "forebay" else "time"
        found_id = PartChoice("id", "", own, path=("id",))
        found_time = PartChoice("timestamp", "", own, path=(time,))
    else:
        found_id = choose_id(sample, inside, keys)
        around = [field for field in sample.fields.values() if field.path[:1] == ("ts_ms",) or field.name == "ts_ms"]
        # The time of a change is outside of its row.
        outer = [field for field in around if len(field.path) <= len(envelope.base)]
        found_time = choose_timestamp(outer or inside)
    used = {part.path for part in (found_id, found_time) if part.path is not None}
    if envelope.name == "forebay" and any(field.path == ("key",) for field in sample.fields.values()):
        return found_id, found_time, PartChoice("key", "", own, path=("key",))
    return found_id, found_time, choose_key(sample, inside, keys, used)


def _fields(
    sample: SampleProfile, fields: Sequence[FieldProfile], envelope: Envelope
) -> tuple[Path, list[FieldChoice]]:
    """Return the base of the features, and what each field becomes."""
    choices = [_choice(sample, field) for field in fields]
    parents = {choice.profile.path[:-1] for choice in choices if choice.feature is not None}
    base = parents.pop() if len(parents) == 1 and envelope.name != "forebay" else envelope.base
    names = Counter(choice.profile.name for choice in choices if choice.feature is not None)
    named = []
    for choice in choices:
        feature, path = choice.feature, choice.profile.path
        if feature is not None and names[choice.profile.name] > 1:
            feature = replace(feature, name="_".join(path[len(base) :]))
        named.append(replace(choice, feature=feature))
    return base, named


def _is_row(profile: FieldProfile, sample: SampleProfile) -> bool:
    is_array = profile.kinds.keys() == {"array"} and not profile.bad_arrays
    return is_array and len(profile.lengths) == 1 and 0 not in profile.lengths and not sample.missing(profile)


def _choice(sample: SampleProfile, profile: FieldProfile) -> FieldChoice:
    """Return what a field becomes that is neither id nor timestamp."""
    missing = sample.missing(profile)
    if not profile.present:
        return FieldChoice(profile, "left out", "null in all events", is_sure=sample.count >= _MIN_EVENTS)
    if profile.name.lower() in _LABELS:
        return FieldChoice(profile, "label", "named like what a model is to predict", is_sure=False)
    if not profile.is_scalar:
        what = f"{profile.type}: a feature is one number or text"
        return FieldChoice(profile, "left out", what, is_sure=not _is_row(profile, sample))
    if not (profile.is_numeric or profile.is_text or profile.kinds.keys() == {"time"}):
        shown = ", ".join(f"{count:,} {kind}" for kind, count in profile.kinds.most_common())
        return FieldChoice(
            profile, "left out", f"different types ({shown}): such events would be rejected", is_sure=False
        )
    if missing > _MANY_MISSING * sample.count and sample.count >= _MIN_EVENTS:
        return FieldChoice(profile, "left out", f"missing in {missing:,} of {sample.count:,} events", is_sure=False)
    if profile.non_finite:
        return FieldChoice(profile, "left out", f"NaN or infinite in {profile.non_finite:,} events", is_sure=False)
    choice = _of_numbers(sample, profile) if profile.is_numeric else _of_texts(sample, profile)
    if choice.feature is None or not missing:
        return choice
    why = (
        f"{choice.why}; missing in {missing / sample.count:.1%}"
        if choice.why
        else f"missing in {missing / sample.count:.1%}"
    )
    return replace(choice, feature=replace(choice.feature, nullable=True), why=why)


def _of_numbers(sample: SampleProfile, profile: FieldProfile) -> FieldChoice:
    feature = Feature(profile.name)
    if has_id_name(profile.name):
        return FieldChoice(profile, "left out", "named like an id: a number without a size", is_sure=False)
    if len(profile.distinct) == 1:
        (value,) = profile.distinct
        return FieldChoice(profile, "left out", f"always {_shown(value)} in this sample", is_sure=False)
    if profile.largest > _FLOAT32_MAX:
        return FieldChoice(profile, "left out", "larger than float32 holds: such events would be rejected")
    if profile.time_unit() is not None:
        return FieldChoice(profile, "left out", _TIME, is_sure=False)
    if profile.is_integer and profile.largest > _EXACT_FLOAT32:
        why = "whole numbers above 16,777,216 are rounded to float32"
        return FieldChoice(profile, "feature", why, is_sure=False, feature=feature)
    why = "false and true become 0 and 1" if profile.kinds.keys() == {"boolean"} else ""
    return FieldChoice(profile, "feature", why, sample.count >= _MIN_EVENTS, feature=feature)


_TIME: Final = 'a time; Feature(name, "timestamp", parts=...) would take its hour or weekday'


def _of_texts(sample: SampleProfile, profile: FieldProfile) -> FieldChoice:
    values, present = profile.distinct, profile.present
    if profile.kinds.keys() == {"time"} or profile.unzoned == present or len(profile.times) >= min(present, 500):
        return FieldChoice(profile, "left out", _TIME, is_sure=False)
    if len(values) == 1:
        return FieldChoice(profile, "left out", f"always {_shown(next(iter(values)))} in this sample", is_sure=False)
    is_few = len(values) <= MAX_CATEGORIES
    if profile.longest > (MAX_KEPT_CHARS if is_few else _LONG_TEXT):
        return FieldChoice(profile, "left out", f"text of up to {profile.longest:,} characters", is_sure=False)
    if has_id_name(profile.name) or (len(values) > 0.9 * present and present >= _MIN_EVENTS):
        what = f"{len(values):,} different texts in {present:,} events: an identifier or free text"
        return FieldChoice(profile, "left out", what, is_sure=len(values) == present >= 100)
    if "" in values:
        is_few = len(values) <= MAX_CATEGORIES + 1
    if is_few:
        categories = tuple(sorted(str(value) for value in values))
        is_sure = present >= _EVENTS_PER_CATEGORY * len(values) and min(values.values()) > 1
        why = f"{len(values):,} different texts; events with another one would be rejected"
        if _are_numbers(values):
            is_sure, why = False, f"numbers written as text: a worker reads them as texts, not as numbers; {why}"
        return FieldChoice(profile, "feature", why, is_sure, feature=Feature(profile.name, "category", categories))
    why = f"{len(values):,} different texts: hashed to {BUCKETS:,} codes, so that new ones are not rejected"
    return FieldChoice(profile, "feature", why, is_sure=False, feature=Feature(profile.name, "hashed", buckets=BUCKETS))


def _are_numbers(values: Counter[float | int | bool | str]) -> bool:
    try:
        for value in values:
            float(value)
    except ValueError:
        return False
    return True


def _shown(value: object) -> str:
    text = f"{value!r}" if isinstance(value, str) else str(value).lower() if isinstance(value, bool) else f"{value:g}"
    return text if len(text) <= 30 else f"{text[:29]}…"
