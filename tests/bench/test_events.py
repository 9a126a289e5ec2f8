"""The benchmark's events are valid, and the same each time."""

from __future__ import annotations

import orjson
import pytest

from forebay.models.artefacts.signature import Feature, Signature
from forebay.stream.bench.events import AlternatingEvents, EventGenerator, number_of

SIGNATURE = Signature((Feature("delay"), Feature("carrier", "category", ("UA", "AA", 'é"\\'))), (2,), "multiclass", 2)


def test_events_fit_the_signature() -> None:
    generator = EventGenerator(SIGNATURE)
    carriers = set()
    for number in range(2_000):
        event = orjson.loads(generator.value(number, 1_790_000_000_000))
        assert set(event) == {"id", "timestamp", "features"}
        assert event["timestamp"] == 1_790_000_000_000
        delay, carrier = event["features"]
        assert isinstance(delay, float)
        carriers.add(carrier)
    assert carriers == {"UA", "AA", 'é"\\'}


def test_hashed_features_are_texts() -> None:
    generator = EventGenerator(Signature((Feature("a", "hashed", buckets=3), Feature("b")), (2,), "binary", 1))
    texts = {orjson.loads(generator.value(number, 0))["features"][0] for number in range(1_000)}
    assert len(texts) > 300 and all(isinstance(text, str) for text in texts)


def test_events_fit_a_signature_without_named_features() -> None:
    event = orjson.loads(EventGenerator(Signature((), (1, 4, 4), "multiclass", 3)).value(0, 0))
    assert len(event["features"]) == 16


def test_events_of_several_models_alternate_and_name_their_model() -> None:
    signatures = {"wide": SIGNATURE, "narrow": Signature((), (1,), "multiclass", 2)}
    events = AlternatingEvents([EventGenerator(signature, model=name) for name, signature in signatures.items()])
    decoded = [orjson.loads(events.value(number, 0)) for number in range(4)]
    assert [(event["model"], len(event["features"])) for event in decoded] == [("wide", 2), ("narrow", 1)] * 2
    assert [number_of(orjson.dumps({"id": event["id"]})) for event in decoded] == [0, 1, 2, 3]
    assert events.key(3) == EventGenerator(SIGNATURE).key(3)


def test_events_are_the_same_in_every_run() -> None:
    first, second = EventGenerator(SIGNATURE), EventGenerator(SIGNATURE)
    assert [first.value(number, 0) for number in range(50)] == [second.value(number, 0) for number in range(50)]
    assert first.key(7) == second.key(7) == first.key(1_007)


def test_the_number_of_an_event_is_read_from_its_prediction() -> None:
    event = orjson.loads(EventGenerator(SIGNATURE).value(12_345, 0))
    assert number_of(orjson.dumps({"id": event["id"], "prediction": [0.5, 0.5]})) == 12_345
    with pytest.raises(ValueError):
        number_of(b'{"id":"another"}')
