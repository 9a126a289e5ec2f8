"""Locations of topics."""

from __future__ import annotations

import pytest

from forebay.schemas.errors import ConfigError
from forebay.stream.tables.topic_location import TopicLocation, is_topic, parse_topic_location

DAY_MS = 86_400_000
NOW_MS = 100 * DAY_MS


@pytest.mark.parametrize(
    ("location", "expected"),
    [
        ("topic://features", TopicLocation("features")),
        ("topic://a.b_c-d?from=earliest&to=now", TopicLocation("a.b_c-d")),
        ("TOPIC://features?from=-7d", TopicLocation("features", from_ms=93 * DAY_MS)),
        (
            "topic://features?from=2d&to=-36h",
            TopicLocation("features", from_ms=98 * DAY_MS, until_ms=NOW_MS - 129_600_000),
        ),
        ("topic://f?from=1970-01-02T00:00:00%2B00:00", TopicLocation("f", from_ms=DAY_MS)),
        ("topic://f?from=1970-01-02T01:00:00+01:00&to=now", TopicLocation("f", from_ms=DAY_MS)),
        ("topic://f?from=now", TopicLocation("f", from_ms=NOW_MS)),
        ("topic://f?from=86400000", TopicLocation("f", from_ms=DAY_MS)),
        (
            "topic://f?from=offset:5&to=offset:9&partitions=2,0",
            TopicLocation("f", (0, 2), from_offset=5, until_offset=9),
        ),
    ],
)
def test_a_location_is_parsed(location: str, expected: TopicLocation) -> None:
    assert is_topic(location)
    assert parse_topic_location(location, now_ms=NOW_MS) == expected


@pytest.mark.parametrize(
    ("location", "message"),
    [
        ("topic://", "does not name a topic"),
        ("topic://a/b", "does not name a topic"),
        ("topic://f?since=1d", "'since' is not known; allowed are from, to and partitions"),
        ("topic://f?from", "'from' is not known"),
        ("topic://f?from=1d&from=2d", "'from' is given twice"),
        ("topic://f?from=yesterday", "'yesterday' is not a time"),
        ("topic://f?from=1d&to=2d", "the end is not after the start"),
        ("topic://f?from=offset:5&to=offset:5", "the end is not after the start"),
        ("topic://f?partitions=0,x", "the partitions are '0,x'"),
    ],
)
def test_a_wrong_location_is_refused(location: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        parse_topic_location(location, now_ms=NOW_MS)
    assert caught.value.remedy


def test_paths_and_other_urls_are_not_topics() -> None:
    assert not is_topic("topic.csv") and not is_topic("s3://topic/a.csv")
