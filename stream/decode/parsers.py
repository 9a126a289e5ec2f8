"""Parsers of plain events: those with exactly the usual fields, of the usual types. They raise for all others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal

import msgspec

from forebay.schemas.definitions import MAX_TIMESTAMP_MS


def plain_event_parser(features_type: Any) -> Callable[[bytes], Any]:
    """Return a parser of events that have exactly the three required fields."""
    return _parser([("features", features_type)])


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
    event_type = msgspec.defstruct(
        "PlainEvent",
        [
            ("id", Annotated[str, msgspec.Meta(min_length=1)]),
            ("timestamp", Annotated[int, msgspec.Meta(ge=0, le=MAX_TIMESTAMP_MS)]),
            *more_fields,
        ],
        forbid_unknown_fields=True,
        gc=False,
    )
    return msgspec.json.Decoder(event_type).decode
