"""Inspection of a file's first events before any is sent: whether their models accept them, and what seems wrong.

A file is refused if all its events would be rejected: publishing it would be useless. The worker's own decoder decides, so the
inspection and the worker agree.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from typing import Final, NamedTuple

import orjson

from forebay.models.artefacts.signature import Signature
from forebay.models.data.csv_rows import read_value
from forebay.models.data.input_row import InvalidRow
from forebay.schemas.errors import DataError
from forebay.schemas.failures import FailureKind
from forebay.schemas.headers import MODEL
from forebay.stream.core.model_ref import ModelRef
from forebay.stream.decode.event_formats import EventFormats
from forebay.stream.decode.models import DecodedModel, ModelChoice
from forebay.stream.decode.validator import EventLimits, EventValidator, InvalidEvent
from forebay.stream.publish.event_builder import Message
from forebay.stream.publish.event_times import SECONDS_RANGE

SAMPLE_ROWS: Final = 100

_MAX_NAMES: Final = 5
_COMMA_NUMBER: Final = re.compile(r"[+-]?\d+,\d+")
_REMEDY: Final = "--no-check publishes them anyway"

Headers = Sequence[tuple[str, bytes]]
EventOf = Callable[[bytes], object]
"""Returns the event in a value, with its features. Raises ValueError if there is none."""


class Candidate(NamedTuple):
    """A message to send, and the place of its row. written: whether its values were text in CSV."""

    place: str
    message: Message
    written: bool


class PublishedRecord(NamedTuple):
    """A message in the form that the decoder reads."""

    value: bytes
    key: bytes | None
    headers: Headers
    timestamp: int = 0
    offset: int = 0


@dataclass(frozen=True, slots=True)
class ServedSignature:
    """The model signature and the limits against which the worker checks events that name no model.

    others: signatures of other served models, which events can name.
    unchecked: names of served models whose signatures are unknown. Events that name them are accepted.
    topic, formats: the full name of the topic, and how its events are read. Default: JSON, and what content types name.
    """

    model_name: str
    signature: Signature
    limits: EventLimits
    others: Mapping[str, Signature] = field(default_factory=dict)
    unchecked: Collection[str] = ()
    topic: str = ""
    formats: EventFormats | None = None

    def categories(self) -> dict[str, Collection[str]]:
        """Return the categories by text feature, none for a hashed one. These features must stay unchanged."""
        return {feature.name: feature.categories for feature in self.signature.features if feature.is_text}


class Verdict(NamedTuple):
    """The model that a message is for, and why the worker would reject it; None if it accepts it."""

    model_name: str
    fault: str | None


def json_event(value: bytes) -> object:
    """Return the event in a value in JSON. Raises ValueError."""
    return orjson.loads(value)


class EventCheck:
    """Checks events as the worker does, each for its model.

    headers: the headers that every record will have. event_of: returns the event in a value, or raises ValueError.
    """

    def __init__(self, served: ServedSignature, headers: Headers = (), event_of: EventOf = json_event) -> None:
        self._served = served
        self._event_of = event_of
        self.signatures = {served.model_name: served.signature, **served.others}
        self._headers = headers
        self._unchecked = served.unchecked
        models = [DecodedModel(ModelRef(name, 0), signature) for name, signature in self.signatures.items()]
        self._validator = EventValidator(ModelChoice(models), served.limits, served.formats)
        self._topic = served.topic

    def in_format(self, headers: Headers, event_of: EventOf) -> EventCheck:
        """Return the check of records in another format. headers: those of the format, in addition."""
        return EventCheck(self._served, (*headers, *self._headers), event_of)

    def verdict(self, message: Message) -> Verdict:
        """Return the model that a message is for, and whether the worker accepts it."""
        try:
            # The topic has no model of its own here, so events that name none are for the first model.
            record = PublishedRecord(message.value, message.key, self._headers)
            event = self._validator.validate(record, self._topic, partition=0)
        except InvalidEvent as fault:
            if fault.kind is FailureKind.UNKNOWN_MODEL and (named := self._named_model(message)) in self._unchecked:
                return Verdict(named, None)
            return Verdict(fault.model.name, fault.message)
        return Verdict(event.model.name, None)

    def invalid_row(self, place: str, message: Message) -> InvalidRow | None:
        """Return the invalid row for a message that the worker would reject; None if it accepts the message."""
        model_name, reason = self.verdict(message)
        if reason is None:
            return None
        return InvalidRow(
            place, f"model {model_name!r} rejects it: {reason}", "fix the row; --no-check sends it anyway"
        )

    def _named_model(self, message: Message) -> str:
        """Return the model that a message names by its field or header."""
        event = event_in(message, self._event_of)
        if event is not None and event.get("model") is not None:
            return str(event["model"])
        named = [content for name, content in self._headers if name.lower() == MODEL]
        return named[-1].decode(errors="replace") if named else ""


class _Group(NamedTuple):
    """The candidates for one model, which is None if no model is known. faults: place and fault of each rejected one."""

    signature: Signature | None
    model_name: str
    sample: Sequence[Candidate]
    faults: Sequence[tuple[str, str]]


class _Finding(NamedTuple):
    """The inspection of a group. rejected: None if no event would be rejected. refused: whether all would be."""

    hints: Sequence[str]
    rejected: str | None = None
    refused: bool = False


@dataclass(frozen=True, slots=True)
class Inspection:
    """The inspection before publishing.

    check: None if no model is known. every_event: whether to check every event, not a sample. warn: receives each warning.
    event_of: returns the event in a value, or raises ValueError.
    """

    check: EventCheck | None
    every_event: bool
    warn: Callable[[str], None]
    event_of: EventOf = json_event

    def in_format(self, headers: Headers, event_of: EventOf) -> Inspection:
        """Return the inspection of records in another format. headers: those of the format."""
        check = None if self.check is None else self.check.in_format(headers, event_of)
        return replace(self, check=check, event_of=event_of)

    def inspect(self, sample: Sequence[Candidate]) -> None:
        """Warn of probable mistakes. Raises DataError if the models would reject all events."""
        findings = [self._inspect_group(group) for group in self._groups(sample)]
        if findings and all(finding.refused for finding in findings):
            first = findings[0]
            raise DataError(str(first.rejected), kind="rejected", remedy="; ".join([*first.hints, _REMEDY]))
        for finding in findings:
            for warning in [*finding.hints, *([] if finding.rejected is None else [finding.rejected])]:
                self.warn(warning)
        events = self._events(sample)
        if events and all(_looks_like_seconds(event.get("timestamp")) for event in events):
            self.warn(
                f"timestamps seem to be in seconds, but milliseconds are expected ({events[0]['timestamp']} ms is in 1970); "
                "--timestamp-unit s reads them as seconds"
            )

    def _events(self, sample: Sequence[Candidate]) -> list[dict[str, object]]:
        found = (event_in(candidate.message, self.event_of) for candidate in sample)
        return [event for event in found if event is not None]

    def _groups(self, sample: Sequence[Candidate]) -> list[_Group]:
        """Return the candidates by model, in the order of the models' first candidates."""
        if self.check is None:
            return [_Group(None, "", sample, ())]
        groups: dict[str, tuple[list[Candidate], list[tuple[str, str]]]] = {}
        for candidate in sample:
            model_name, fault = self.check.verdict(candidate.message)
            candidates, faults = groups.setdefault(model_name, ([], []))
            candidates.append(candidate)
            if fault is not None:
                faults.append((candidate.place, fault))
        return [_Group(self.check.signatures.get(name), name, *group) for name, group in groups.items()]

    def _inspect_group(self, group: _Group) -> _Finding:
        signature, model_name, sample, faults = group
        events = self._events(sample)
        names = _feature_names(events)
        hints = _unknown_names(names, signature)
        if sample and sample[0].written and (odd := _data_in_header(names)) is not None:
            hints.append(f"the first line seems to hold data, not column names: {odd!r}")
        if sample and sample[0].written and (comma := _decimal_comma(events, signature)) is not None:
            hints.append(comma)
        known = {feature.name for feature in signature.features} if signature else set()
        if known and names and known.isdisjoint(names):
            columns = ", ".join(map(repr, names[:_MAX_NAMES]))
            return _Finding(hints, f"none of {columns} is a feature of model {model_name!r}", refused=True)
        if not faults:
            return _Finding(hints)
        place, reason = faults[0]
        if len(faults) == len(sample):
            count = "the event" if len(sample) == 1 else f"all of the first {len(sample)} events"
            return _Finding(hints, f"model {model_name!r} would reject {count}; {place}: {reason}", refused=True)
        if self.every_event:
            return _Finding(hints)  # each is reported when it is read
        rejected = f"model {model_name!r} would reject {len(faults)} of the first {len(sample)} events"
        return _Finding(hints, f"{rejected}; the first, {place}: {reason}")


def event_in(message: Message, event_of: EventOf) -> dict[str, object] | None:
    """Return the event in a message; None if it is not an object."""
    try:
        event = event_of(message.value)
    except ValueError:
        return None
    return event if isinstance(event, dict) else None


def _feature_names(events: Sequence[Mapping[str, object]]) -> list[str]:
    """Return the feature names of all events, in order of appearance."""
    names: dict[str, None] = {}
    for event in events:
        features = event.get("features", event.get("input"))
        if isinstance(features, dict):
            names |= dict.fromkeys(features)
    return list(names)


def _unknown_names(names: Collection[str], signature: Signature | None) -> list[str]:
    """Return a hint if features of the model are missing in all events; otherwise an empty list."""
    if signature is None or not names:
        return []
    known = [feature.name for feature in signature.features]
    missing = [name for name in known if name not in names]
    if not missing:
        return []
    others = [name for name in names if name not in known]
    by_case = {other.casefold().strip(): other for other in others}
    descriptions, suggested = [], set()
    for name in missing[:_MAX_NAMES]:
        near = by_case.get(name.casefold()) or _nearest(name, others)
        suggested.add(near)
        descriptions.append(f"{name!r} (is it {near!r} here?)" if near else repr(name))
    more = f" and {len(missing) - _MAX_NAMES} more" if len(missing) > _MAX_NAMES else ""
    subject = f"features {', '.join(descriptions)}{more} are" if len(missing) > 1 else f"feature {descriptions[0]} is"
    unknown = [repr(name) for name in others if name not in suggested]
    rest = f"; it does not know {', '.join(unknown[:_MAX_NAMES])}" if unknown else ""
    return [f"the model's {subject} missing{rest}"]


def _nearest(name: str, others: Sequence[str]) -> str | None:
    """Return the most similar name: one with nearly the same spelling, or one that contains the other."""
    near = get_close_matches(name, others, n=1)
    within = [other for other in others if len(other) > 2 and (other in name or name in other)]
    return next(iter([*near, *within]), None)


def _data_in_header(names: Sequence[str]) -> str | None:
    """Return a name that reads as a number; None if there is none, or if the names are just column numbers."""
    numbers = [name for name in names if not isinstance(read_value(name), str)]
    if len(numbers) == len(names) and [int(name) for name in names if name.isdigit()] in (
        list(range(len(names))),
        list(range(1, len(names) + 1)),
    ):
        return None
    return numbers[0] if numbers else None


def _decimal_comma(events: Sequence[Mapping[str, object]], signature: Signature | None) -> str | None:
    """Return a hint if a number in the events is written with a decimal comma; otherwise None."""
    features = () if signature is None else signature.features
    texts = {feature.name for feature in features if feature.is_text}
    for event in events:
        values = event.get("features")
        for name, value in values.items() if isinstance(values, dict) else ():
            if isinstance(value, str) and name not in texts and _COMMA_NUMBER.fullmatch(value.strip()):
                return f"{name!r} is {value!r}, with a decimal comma; numbers need a decimal point"
    return None


def _looks_like_seconds(timestamp: object) -> bool:
    return isinstance(timestamp, int) and timestamp in SECONDS_RANGE
