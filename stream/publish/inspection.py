"""Looks at the first events of a file before any is sent: whether the model would take them, and what seems odd.

A file whose events will all be rejected is refused: "published" would be true and of no use. The decoder of the worker
itself decides, so what is said here is what will happen there.
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
from forebay.stream.decode.features import FeaturePacker
from forebay.stream.decode.validator import EventLimits, EventValidator, InvalidEvent
from forebay.stream.publish.csv_rows import read_value
from forebay.stream.publish.event_builder import Message
from forebay.stream.publish.event_times import SECONDS_RANGE
from forebay.stream.publish.input_row import InvalidRow

SAMPLE_ROWS: Final = 100

_MAX_NAMES: Final = 5
_COMMA_NUMBER: Final = re.compile(r"[+-]?\d+,\d+")
_REMEDY: Final = "--no-check publishes them all the same"

Headers = Sequence[tuple[str, bytes]]


class Candidate(NamedTuple):
    """A message that is to be sent, and where it is from. written: whether its values were text in CSV."""

    place: str
    message: Message
    written: bool


class PublishedRecord(NamedTuple):
    """A message as the decoder sees it."""

    value: bytes
    key: bytes | None
    headers: Headers
    timestamp: int = 0
    offset: int = 0


@dataclass(frozen=True, slots=True)
class ServedSignature:
    """What the worker judges events by."""

    model_name: str
    signature: Signature
    limits: EventLimits

    def categories(self) -> dict[str, Collection[str]]:
        """The features that are categories, which text must be left as it is for."""
        return {feature.name: feature.categories for feature in self.signature.features if feature.dtype == "category"}


class EventCheck:
    """Judges events as a worker would, for one model. headers: those that every record will have."""

    def __init__(self, served: ServedSignature, headers: Headers = ()) -> None:
        self.signature = served.signature
        self.model_name = served.model_name
        self._headers = headers
        self._validator = EventValidator(
            FeaturePacker(served.signature), model_name=served.model_name, limits=served.limits
        )

    def fault(self, message: Message) -> str | None:
        """Why the worker would reject a message; None where it takes it."""
        try:
            self._validator.validate(PublishedRecord(message.value, message.key, self._headers))
        except InvalidEvent as fault:
            return fault.message
        return None

    def invalid_row(self, place: str, message: Message) -> InvalidRow | None:
        """The row of a message that the worker would reject."""
        reason = self.fault(message)
        if reason is None:
            return None
        return InvalidRow(
            place, f"model {self.model_name!r} does not take it: {reason}", "fix the row; --no-check sends it"
        )


@dataclass(frozen=True, slots=True)
class Inspection:
    """What is looked at before publishing. check: None where no model is known; every: check every event, not a sample."""

    check: EventCheck | None
    every: bool
    warn: Callable[[str], None]

    def inspect(self, sample: Sequence[Candidate]) -> None:
        """Warn of what seems odd. Raises DataError where the model would take none of the events."""
        events = [event for candidate in sample if (event := _event(candidate.message)) is not None]
        names = _feature_names(events)
        hints = [*_unknown_names(names, self.check.signature if self.check else None)]
        if sample and sample[0].written and (odd := _data_in_header(names)) is not None:
            hints.append(f"the first line seems to hold data, not the names of columns: {odd!r}")
        if sample and sample[0].written and (comma := _decimal_comma(events, self.check)) is not None:
            hints.append(comma)
        rejected = None if self.check is None else self._judge(self.check, sample, names, hints)
        for hint in [*hints, *([] if rejected is None else [rejected])]:
            self.warn(hint)
        if events and all(_looks_like_seconds(event.get("timestamp")) for event in events):
            self.warn(
                f"timestamps look like seconds ({events[0]['timestamp']} would be in 1970), and milliseconds are "
                "expected; --timestamp-unit s takes them as seconds"
            )

    def _judge(
        self, check: EventCheck, sample: Sequence[Candidate], names: Sequence[str], hints: Sequence[str]
    ) -> str | None:
        """What is to be said of events that the model would reject. Raises DataError where that is all of them."""
        known = {feature.name for feature in check.signature.features}
        if known and names and known.isdisjoint(names):
            raise DataError(
                f"none of {', '.join(map(repr, names[:_MAX_NAMES]))} is a feature of model {check.model_name!r}",
                kind="rejected",
                remedy="; ".join([*hints, _REMEDY]),
            )
        faults = [(one.place, fault) for one in sample if (fault := check.fault(one.message)) is not None]
        if not faults:
            return None
        place, reason = faults[0]
        if len(faults) == len(sample):
            which = "the event" if len(sample) == 1 else f"all of the first {len(sample)} events"
            raise DataError(
                f"model {check.model_name!r} would reject {which}; {place}: {reason}",
                kind="rejected",
                remedy="; ".join([*hints, _REMEDY]),
            )
        if self.every:
            return None  # each of them is reported where it comes
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
    """The names that features have in any of the events, in their order."""
    names: dict[str, None] = {}
    for event in events:
        features = event.get("features", event.get("input"))
        if isinstance(features, dict):
            names |= dict.fromkeys(features)
    return list(names)


def _unknown_names(names: Collection[str], signature: Signature | None) -> list[str]:
    """What is to be said of features of the model that no event has."""
    if signature is None or not names:
        return []
    known = [feature.name for feature in signature.features]
    missing = [name for name in known if name not in names]
    if not missing:
        return []
    others = [name for name in names if name not in known]
    by_case = {other.casefold().strip(): other for other in others}
    shown, named = [], set()
    for name in missing[:_MAX_NAMES]:
        near = by_case.get(name.casefold()) or _nearest(name, others)
        named.add(near)
        shown.append(f"{name!r} (is it {near!r} here?)" if near else repr(name))
    more = f" and {len(missing) - _MAX_NAMES} more" if len(missing) > _MAX_NAMES else ""
    which = f"features {', '.join(shown)}{more} are" if len(missing) > 1 else f"feature {shown[0]} is"
    unknown = [repr(name) for name in others if name not in named]
    rest = f"; it does not know {', '.join(unknown[:_MAX_NAMES])}" if unknown else ""
    return [f"the model's {which} missing{rest}"]


def _nearest(name: str, others: Sequence[str]) -> str | None:
    """The name that is most like it: spelt nearly the same, or one within the other."""
    near = get_close_matches(name, others, n=1)
    within = [other for other in others if len(other) > 2 and (other in name or name in other)]
    return next(iter([*near, *within]), None)


def _data_in_header(names: Sequence[str]) -> str | None:
    """A name that reads as a value, where the names are not just numbered."""
    numbers = [name for name in names if not isinstance(read_value(name), str)]
    if len(numbers) == len(names) and [int(name) for name in names if name.isdigit()] in (
        list(range(len(names))),
        list(range(1, len(names) + 1)),
    ):
        return None
    return numbers[0] if numbers else None


def _decimal_comma(events: Sequence[Mapping[str, object]], check: EventCheck | None) -> str | None:
    """Return a hint if a number in the events is written with a decimal comma; None if none is."""
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
