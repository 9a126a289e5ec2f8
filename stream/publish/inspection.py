"""Inspection of a file's first events before any is sent: whether the model accepts them, and what seems wrong.

A file is refused if all its events would be rejected: publishing it would be useless. The worker's own decoder decides, so the
inspection and the worker agree.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Final, NamedTuple

import orjson

from forebay.models.artefacts.signature import Signature
from forebay.schemas.errors import DataError
from forebay.stream.core.model_ref import ModelRef
from forebay.stream.decode.models import DecodedModel, ModelChoice
from forebay.stream.decode.validator import EventLimits, EventValidator, InvalidEvent
from forebay.stream.publish.csv_rows import read_value
from forebay.stream.publish.event_builder import Message
from forebay.stream.publish.event_times import SECONDS_RANGE
from forebay.stream.publish.input_row import InvalidRow

SAMPLE_ROWS: Final = 100

_MAX_NAMES: Final = 5
_COMMA_NUMBER: Final = re.compile(r"[+-]?\d+,\d+")
_REMEDY: Final = "--no-check publishes them anyway"

Headers = Sequence[tuple[str, bytes]]


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
    """The model signature and the limits against which the worker checks events."""

    model_name: str
    signature: Signature
    limits: EventLimits

    def categories(self) -> dict[str, Collection[str]]:
        """Return the categories by feature. The text of these features must stay unchanged."""
        return {feature.name: feature.categories for feature in self.signature.features if feature.dtype == "category"}


class EventCheck:
    """Checks events for one model as the worker does. headers: the headers that every record will have."""

    def __init__(self, served: ServedSignature, headers: Headers = ()) -> None:
        self.signature = served.signature
        self.model_name = served.model_name
        self._headers = headers
        model = DecodedModel(ModelRef(served.model_name, 0), served.signature)
        self._validator = EventValidator(ModelChoice([model]), served.limits)

    def fault(self, message: Message) -> str | None:
        """Return why the worker would reject a message; None if it accepts it."""
        try:
            self._validator.validate(PublishedRecord(message.value, message.key, self._headers), topic="")
        except InvalidEvent as fault:
            return fault.message
        return None

    def invalid_row(self, place: str, message: Message) -> InvalidRow | None:
        """Return the invalid row for a message that the worker would reject; None if it accepts the message."""
        reason = self.fault(message)
        if reason is None:
            return None
        return InvalidRow(
            place, f"model {self.model_name!r} rejects it: {reason}", "fix the row; --no-check sends it anyway"
        )


@dataclass(frozen=True, slots=True)
class Inspection:
    """The inspection before publishing.

    check: None if no model is known. every_event: whether to check every event, not a sample. warn: receives each warning.
    """

    check: EventCheck | None
    every_event: bool
    warn: Callable[[str], None]

    def inspect(self, sample: Sequence[Candidate]) -> None:
        """Warn of probable mistakes. Raises DataError if the model would reject all events."""
        events = [event for candidate in sample if (event := _event(candidate.message)) is not None]
        names = _feature_names(events)
        hints = [*_unknown_names(names, self.check.signature if self.check else None)]
        if sample and sample[0].written and (odd := _data_in_header(names)) is not None:
            hints.append(f"the first line seems to hold data, not column names: {odd!r}")
        if sample and sample[0].written and (comma := _decimal_comma(events, self.check)) is not None:
            hints.append(comma)
        rejected = None if self.check is None else self._check_sample(self.check, sample, names, hints)
        for hint in [*hints, *([] if rejected is None else [rejected])]:
            self.warn(hint)
        if events and all(_looks_like_seconds(event.get("timestamp")) for event in events):
            self.warn(
                f"timestamps seem to be in seconds, but milliseconds are expected ({events[0]['timestamp']} ms is in 1970); "
                "--timestamp-unit s reads them as seconds"
            )

    def _check_sample(
        self, check: EventCheck, sample: Sequence[Candidate], names: Sequence[str], hints: Sequence[str]
    ) -> str | None:
        """Return a warning if the model would reject some events, otherwise None. Raises DataError if it would reject all."""
        known = {feature.name for feature in check.signature.features}
        if known and names and known.isdisjoint(names):
            raise DataError(
                f"none of {', '.join(map(repr, names[:_MAX_NAMES]))} is a feature of model {check.model_name!r}",
                kind="rejected",
                remedy="; ".join([*hints, _REMEDY]),
            )
        faults = [(event.place, fault) for event in sample if (fault := check.fault(event.message)) is not None]
        if not faults:
            return None
        place, reason = faults[0]
        if len(faults) == len(sample):
            events = "the event" if len(sample) == 1 else f"all of the first {len(sample)} events"
            raise DataError(
                f"model {check.model_name!r} would reject {events}; {place}: {reason}",
                kind="rejected",
                remedy="; ".join([*hints, _REMEDY]),
            )
        if self.every_event:
            return None  # each is reported when it is read
        return (
            f"model {check.model_name!r} would reject {len(faults)} of the first {len(sample)} events; "
            f"the first, {place}: {reason}"
        )


def _event(message: Message) -> dict[str, object] | None:
    try:
        event = orjson.loads(message.value)
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


def _decimal_comma(events: Sequence[Mapping[str, object]], check: EventCheck | None) -> str | None:
    """Return a hint if a number in the events is written with a decimal comma; otherwise None."""
    features = () if check is None else check.signature.features
    categories = {feature.name for feature in features if feature.dtype == "category"}
    for event in events:
        values = event.get("features")
        for name, value in values.items() if isinstance(values, dict) else ():
            if isinstance(value, str) and name not in categories and _COMMA_NUMBER.fullmatch(value.strip()):
                return f"{name!r} is {value!r}, with a decimal comma; numbers need a decimal point"
    return None


def _looks_like_seconds(timestamp: object) -> bool:
    return isinstance(timestamp, int) and timestamp in SECONDS_RANGE
