"""The labels of the flights: their times, and that they are published when the events have reached them."""

from __future__ import annotations

from collections.abc import Sequence

import orjson

from forebay.stream.demo.flights import Flight
from forebay.stream.demo.labels import labels_of, publish_labels
from tests.core.build import ManualClock

HOUR_MS = 3_600_000


def flight(number: int, *, scheduled_ms: int = 0, distance: int = 900, arr_delay: int | None = 0) -> Flight:
    return Flight(
        id=f"f{number}",
        key=f"UA{number}",
        scheduled_ms=scheduled_ms,
        month=7,
        carrier="UA",
        origin="EWR",
        dest="SFO",
        day_of_week="Mon",
        hour=1,
        minute=0,
        distance=distance,
        dep_delay=0,
        plane_year=None,
        arr_delay=arr_delay,
    )


def test_labels_are_in_the_order_of_arrival_with_the_keys_of_their_events() -> None:
    labels = labels_of([flight(1, arr_delay=16), flight(2, distance=450), flight(3, arr_delay=None)])
    assert list(labels.keys) == [b"UA2", b"UA1"]
    assert [orjson.loads(value) for value in labels.values] == [
        {"id": "f2", "label": False, "timestamp": 100 * 60_000},
        {"id": "f1", "label": True, "timestamp": 176 * 60_000},
    ]


async def test_a_label_waits_until_the_events_have_reached_its_time() -> None:
    labels = labels_of([flight(number, scheduled_ms=number * HOUR_MS) for number in range(4)])
    times: list[int | None] = [0, 2 * HOUR_MS + 1, 4 * HOUR_MS, None]
    published: list[tuple[int | None, str]] = []

    class Sink:
        num_delivered = 0

        async def send(self, keys: Sequence[bytes | None], values: Sequence[bytes], **_: object) -> None:
            published.extend((times[0], orjson.loads(value)["id"]) for value in values)

        async def flush(self) -> None:
            published.append((None, "flushed"))

    def event_time_ms() -> int | None:
        if looked:
            times.pop(0)
        looked.append(True)
        return times[0]

    looked: list[bool] = []
    await publish_labels(labels, Sink(), event_time_ms=event_time_ms, clock=ManualClock(), sleep_s=0)
    third_look = 4 * HOUR_MS
    assert published == [(third_look, "f0"), (third_look, "f1"), (None, "f2"), (None, "f3"), (None, "flushed")]
