"""Ten thousand strings of personal data through a whole worker: none is in what it writes or shows."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import aiohttp
import orjson
import pytest

from forebay.stream.core.outputs import Headers
from tests.brokers.resolve import Broker
from tests.privacy.planted import PERSONS
from tests.telemetry.collector import collector
from tests.worker.echo import POISON, personal_text
from tests.worker.harness import WorkerGroup, kinds

NUM_EVENTS: Final = 2_400
NUM_ERRORS: Final = 400
PLACES: Final = 4
"""Of each event: id, key, header and feature. Messages of errors have the other strings: 10,000 in all."""
FEATURES: Final = [
    {"name": "first"},
    {"name": "number"},
    {"name": "note", "dtype": "hashed", "buckets": 16},
    {"name": "group", "dtype": "category", "categories": ["a", "b"], "other": True},
]
_LABEL: Final = re.compile(r"(?:tel|card|BSN|pesel:) |cc:")
_WIDTH: Final = 8


@pytest.fixture
def broker(embedded_broker: Broker) -> Broker:
    """The embedded broker only: what is written does not depend on the broker."""
    return embedded_broker


def leaks(shown: str, texts: Iterable[str]) -> list[str]:
    """Return the strings that are in a long text, as they are or as JSON escapes them, without the words before them."""
    by_start: dict[str, set[str]] = defaultdict(set)
    for text in texts:
        bare = _LABEL.sub("", text)
        for form in (bare, json.dumps(bare)[1:-1]):
            by_start[form[:_WIDTH]].add(form)
    found = set()
    for start in range(len(shown) - _WIDTH + 1):
        for form in by_start.get(shown[start : start + _WIDTH], ()):
            if shown.startswith(form, start):
                found.add(form)
    return sorted(found)


def events() -> tuple[list[bytes], list[bytes | None], list[Headers]]:
    """Return values, keys and headers: on some events the model fails, and some are rejected."""
    values, keys, headers = [], [], []
    for number in range(NUM_EVENTS):
        event_id, key, header, note = (personal_text(NUM_ERRORS + PLACES * number + place) for place in range(PLACES))
        features: dict[str, object] = {"first": 1.0, "number": number, "note": note, "group": note}
        if number < NUM_ERRORS:
            features["first"] = POISON
        elif number % 20 == 19:
            features["number"] = note  # the wrong type
        document = {"id": event_id, "timestamp": 1_372_636_800_000, "features": features}
        is_garbage = number >= NUM_ERRORS and number % 20 == 18
        values.append(b"{" + orjson.dumps(document) if is_garbage else orjson.dumps(document))
        keys.append(key.encode())
        headers.append([("note", header.encode())])
    return values, keys, headers


async def test_none_of_ten_thousand_strings_is_written_or_shown(worker_group: WorkerGroup, tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("\n".join(PERSONS))
    privacy = {"enabled": True, "dead_letters": "mask", "names_file": str(tmp_path / "names.txt")}
    await worker_group.create(partitions=1)
    values, keys, headers = events()
    await worker_group.send([values], [keys], headers=[headers])
    shown: dict[str, str] = {}
    with collector() as fake:
        worker = worker_group.start(
            models=[{"name": "echo", "mode": "personal", "features": FEATURES, "repository": "none"}],
            privacy=privacy,
            telemetry={"otlp_endpoint": fake.endpoint, "trace_sample_ratio": 1.0, "metrics_interval_ms": 1000},
            batch={"max_batch_size": 512},
            log={"format": "json"},
        )
        await worker.ready()
        await worker_group.settled()
        async with aiohttp.ClientSession() as session:
            for path in ("/", "/status", "/models", "/metrics"):
                async with session.get(f"{worker.url}{path}") as response:
                    assert response.status == 200, path
                    shown[path] = await response.text()
        assert await worker.stop() == 0, worker.log
        for path in ("/v1/traces", "/v1/metrics", "/v1/logs"):
            shown[path] = "\n".join(map(str, fake.requests(path)))
    shown["log"] = worker.log
    for topic in worker_group.output_topics:
        records = await worker_group.outputs(topic)
        parts = [
            part
            for record in records
            for part in (
                record.key,
                record.value,
                *(x for name, value in record.headers for x in (name.encode(), value)),
            )
        ]
        shown[topic] = b"\n".join(part or b"" for part in parts).decode()
        if topic == "dead-letters":
            failed = kinds(records)
        elif topic == "predictions":
            num_predictions = len(records)
    assert failed == {"model_error": NUM_ERRORS, "not_json": 100, "wrong_type": 100}
    assert num_predictions + sum(failed.values()) == NUM_EVENTS
    assert "[email]" in shown["predictions"] and "[email]" in shown["dead-letters"]
    assert (
        "forebay_privacy_findings_total" in shown["/metrics"] and "found personal data in what is written" in worker.log
    )
    assert "forebay.batch.queue_time" in shown["/v1/traces"] and "echo" in shown["/status"]
    texts = [personal_text(number) for number in range(NUM_ERRORS + PLACES * NUM_EVENTS)]
    assert len(texts) == 10_000
    assert {name: leaks(text, texts)[:5] for name, text in shown.items()} == {name: [] for name in shown}


def test_a_leak_would_be_found() -> None:
    texts = [personal_text(number) for number in range(10_000)]
    for number in range(0, 10_000, 501):
        assert leaks(f"x {personal_text(number)}, y", texts), personal_text(number)
