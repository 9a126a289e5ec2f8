"""Parsers of plain events: those with the usual fields, of the usual types. They raise for all others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any, Final, Literal

import msgspec
import orjson

from forebay.schemas.definitions import MAX_TIMESTAMP_MS

OPTIONAL_FIELDS: Final = frozenset(("key", "model", "deadline_ms"))
"""Fields of an event that need not be there, and mean something if they are."""


def plain_event_parser(features_type: Any) -> Callable[[bytes], Any]:
    """Return a parser of events that have exactly the three required fields."""
    return _parser([("features", features_type)])


def extended_event_parser(features_type: Any) -> Callable[[bytes], Any]:
    """Return a parser of events that have the three required fields, and fields that nothing reads.

    The whole document is parsed, because a parser that skips fields does not validate them.
    """
    event_type, loads, convert = _event_type([("features", features_type)]), orjson.loads, msgspec.convert

    def parse(value: bytes) -> Any:
        document = loads(value)
        if not OPTIONAL_FIELDS.isdisjoint(document):
            raise msgspec.ValidationError("the event has optional fields")
        return convert(document, event_type)

    return parse


def any_parser(first: Callable[[bytes], Any], second: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
    """Return a parser of what one of two parsers accepts. It raises the error of the one that is tried last.

    No event may be accepted by both: the one that accepted the last event is tried first, as events in a row are alike.
    """
    order = [first, second]

    def parse(value: bytes) -> Any:
        try:
            return order[0](value)
        except Exception:
            event = order[1](value)
        order.reverse()
        return event

    return parse


def named_event_parser(features_type: Any, models: Sequence[str]) -> Callable[[bytes], Any]:
    """Return a parser of events that may also have a field `model`, which is one of `models` or None.

    The parser does not create the name: it looks the bytes up and returns the string in `models`. Of all measured ways to
    choose among models while parsing (a tagged union, features parsed separately for each model), one type for all of them is
    the fastest, and it does not depend on the order of the fields.
    """
    return _parser([("features", features_type), ("model", Literal[tuple(models)] | None, None)])


def own_event_parser(features_type: Any, model: str) -> Callable[[bytes], Any]:
    """Return a parser of events that name this model. It costs no more than that of events that name none."""
    return _parser([("features", features_type), ("model", Literal[model])])


def _parser(more_fields: Sequence[Any]) -> Callable[[bytes], Any]:
    return msgspec.json.Decoder(_event_type(more_fields, forbid_unknown_fields=True)).decode


def _event_type(more_fields: Sequence[Any], *, forbid_unknown_fields: bool = False) -> Any:
    return msgspec.defstruct(
        "PlainEvent",
        [
            ("id", Annotated[str, msgspec.Meta(min_length=1)]),
            ("timestamp", Annotated[int, msgspec.Meta(ge=0, le=MAX_TIMESTAMP_MS)]),
            *more_fields,
        ],
        forbid_unknown_fields=forbid_unknown_fields,
        gc=False,
    )
