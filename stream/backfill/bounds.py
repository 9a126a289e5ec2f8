"""The bounds of a back-fill on the command line: beginning, end, a time, a duration before now, or offsets. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from forebay.schemas.errors import ConfigError
from forebay.schemas.topics import topic_name
from forebay.stream.config.moment import parse_moment
from forebay.stream.core.records import TopicPartition
from forebay.stream.kafka.consumer.read_bounds import ReadBound

_OFFSET: Final = re.compile(r"(?:([a-zA-Z0-9._-]+):)?(\d{1,9}):(\d{1,18})", re.ASCII)
_DATE: Final = re.compile(r"\d{4}-\d\d-\d\d")


def parse_bound(option: str, text: str, *, topics: Sequence[str], prefix: str, now_ms: int) -> ReadBound:
    """Return a bound: `beginning`, `end`, `0:120,1:80` (partition and offset), or what `parse_moment` reads; `-7d` is `7d`.

    topics: the input topics without the prefix. With several, an offset begins with the topic: `features:0:120`.

    Raises ConfigError.
    """
    text = text.strip()
    if text in ("beginning", "end"):
        return ReadBound("beginning" if text == "beginning" else "end")
    entries = [_OFFSET.fullmatch(entry.strip()) for entry in text.split(",")]
    if all(entries) and not _DATE.match(text):
        offsets: dict[TopicPartition, int] = {}
        for topic, partition, offset in (entry.groups() for entry in entries if entry is not None):
            place = TopicPartition(topic_name(prefix, _topic(option, topic, topics)), int(partition))
            if place in offsets:
                raise ConfigError(f"{option} has two offsets of partition {partition}", kind="backfill_bound")
            offsets[place] = int(offset)
        return ReadBound("offsets", offsets=offsets)
    try:
        return ReadBound("time", time_ms=parse_moment(option, text.removeprefix("-"), now_ms=now_ms))
    except ConfigError:
        raise ConfigError(
            f"{option} {text!r} is neither a time nor offsets",
            kind="backfill_bound",
            remedy="write beginning, end, a duration before now (-7d, -90m), a date and time with its offset "
            "(2026-01-31T12:00:00Z), milliseconds since 1970, or offsets (0:120,1:80: partition and offset)",
        ) from None


def _topic(option: str, topic: str | None, topics: Sequence[str]) -> str:
    if topic is None and len(topics) == 1:
        return topics[0]
    if topic is None or topic not in topics:
        what = "has an offset without its topic" if topic is None else f"has an offset of {topic!r}"
        raise ConfigError(
            f"{option} {what}, and input.topics has {', '.join(topics)}",
            kind="backfill_bound",
            remedy="write the topic first, such as features:0:120",
        )
    return topic
