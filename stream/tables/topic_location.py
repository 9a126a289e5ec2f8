"""Locations of topics: `topic://features?from=-7d&to=now`. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote

from forebay.schemas.errors import ConfigError
from forebay.stream.config.moment import parse_moment

SCHEME: Final = "topic://"
_OFFSET: Final = re.compile(r"offset:(\d{1,18})", re.ASCII)
_ALLOWED: Final = "from, to and partitions"
_EXAMPLE: Final = "write it like topic://features?from=-7d&to=now"


@dataclass(frozen=True, slots=True)
class TopicLocation:
    """A part of a topic.

    partitions: the partitions to read; None for all.
    from_ms, from_offset: the first record by its time or its offset in every partition; both None for the earliest.
    until_ms, until_offset: the end, which is left out; both None for the end of the topic.
    """

    topic: str
    partitions: tuple[int, ...] | None = None
    from_ms: int | None = None
    from_offset: int | None = None
    until_ms: int | None = None
    until_offset: int | None = None


def is_topic(location: str) -> bool:
    """Return whether a location is that of a topic."""
    return location.lower().startswith(SCHEME)


def parse_topic_location(location: str, *, now_ms: int) -> TopicLocation:
    """Parse `topic://NAME?from=...&to=...&partitions=0,2`. Raises ConfigError.

    `from` is `earliest`, `offset:N`, a time before now such as `-7d`, a date and time with its offset, or milliseconds since
    1970. `to` is `now` (the end of the topic) or one of these.
    """
    name, _, query = location[len(SCHEME) :].partition("?")
    topic = unquote(name.rstrip("/"))
    if not topic or "/" in topic:
        raise ConfigError(f"{location}: this does not name a topic", kind="topic_location", remedy=_EXAMPLE)
    given = {}
    for part in filter(None, query.split("&")):
        key, equals, value = part.partition("=")
        if key not in ("from", "to", "partitions") or not equals or key in given:
            problem = "is given twice" if key in given else f"is not known; allowed are {_ALLOWED}"
            raise ConfigError(f"{location}: {key!r} {problem}", kind="topic_location", remedy=_EXAMPLE)
        given[key] = unquote(value)
    from_ms, from_offset = _bound(location, "from", given.get("from", "earliest"), open_end="earliest", now_ms=now_ms)
    until_ms, until_offset = _bound(location, "to", given.get("to", "now"), open_end="now", now_ms=now_ms)
    is_empty = (from_ms is not None and until_ms is not None and from_ms >= until_ms) or (
        from_offset is not None and until_offset is not None and from_offset >= until_offset
    )
    if is_empty:
        raise ConfigError(f"{location}: the end is not after the start", kind="topic_location", remedy=_EXAMPLE)
    return TopicLocation(
        topic,
        _partitions(location, given),
        from_ms=from_ms,
        from_offset=from_offset,
        until_ms=until_ms,
        until_offset=until_offset,
    )


def _bound(location: str, name: str, text: str, *, open_end: str, now_ms: int) -> tuple[int | None, int | None]:
    if text == open_end:
        return None, None
    if match := _OFFSET.fullmatch(text):
        return None, int(match[1])
    if text == "now":
        return now_ms, None
    # A plain number of days would be ambiguous: the sign says that it is before now.
    return parse_moment(f"{location}: {name}", text.removeprefix("-"), now_ms=now_ms), None


def _partitions(location: str, given: dict[str, str]) -> tuple[int, ...] | None:
    if "partitions" not in given:
        return None
    texts = given["partitions"].split(",")
    if not all(re.fullmatch(r"\d{1,9}", text, re.ASCII) for text in texts):
        raise ConfigError(
            f"{location}: the partitions are {given['partitions']!r}; allowed are numbers such as 0,2",
            kind="topic_location",
            remedy=_EXAMPLE,
        )
    return tuple(sorted(set(map(int, texts))))
