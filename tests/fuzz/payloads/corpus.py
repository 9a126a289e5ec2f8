"""The formats that are fuzzed, each with valid payloads of several shapes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

import numpy as np
import orjson

from forebay.models.artefacts.signature import Feature, Signature
from forebay.stream.core.model_ref import ModelRef
from forebay.stream.core.records import Record
from forebay.stream.decode import DecodedModel, Decoder
from forebay.stream.decode.models import ModelChoice
from forebay.stream.decode.validator import EventLimits, EventValidator
from tests.core.build import JULY
from tests.fuzz.payloads.schema_corpus import SCHEMA_TARGETS
from tests.fuzz.payloads.target import Sample, Target, TargetDecoder

MAX_EVENT_BYTES: Final = 60_000  # below the longest mutated payload
MAX_KEY_BYTES: Final = 90

MIXED: Final = Signature(
    (
        Feature("amount"),
        Feature("count", nullable=True),
        Feature("country", "category", ("AT", "DE", "FR"), nullable=True),
        Feature("device", "hashed", buckets=16),
        Feature("at", "timestamp", parts=("hour", "weekday"), nullable=True),
        Feature("rate"),
    ),
    (7,),
    "binary",
    1,
)
NUMBERS: Final = Signature(
    tuple(Feature(f"f{index}", nullable=index % 2 == 1) for index in range(8)), (8,), "binary", 1
)
GRID: Final = Signature((), (2, 4), "binary", 1)


def features_of(signature: Signature, seed: int) -> dict[str, Any]:
    """Return valid features by name. Nullable ones are missing now and then."""
    rng = np.random.default_rng([seed, signature.num_features])
    values: dict[str, Any] = {}
    for feature in signature.features:
        if feature.nullable and rng.random() < 0.2:
            values[feature.name] = None
        elif feature.parts:
            values[feature.name] = JULY + int(rng.integers(0, 10**10))
        elif feature.is_text:
            values[feature.name] = str(rng.choice(feature.categories or ("phone", "tablet", "")))
        else:
            values[feature.name] = float(np.float32(rng.normal(0, 100)))
    return values


def validating(model: DecodedModel) -> TargetDecoder:
    """Return a decoder of plain events, and its validator as the exact path."""
    choice = ModelChoice((model,))
    validator = EventValidator(choice, EventLimits(MAX_EVENT_BYTES, MAX_KEY_BYTES))

    def exact(record: Record, topic: str) -> tuple[str, int, bytes]:
        event = validator.validate(record, topic)
        return event.id, event.timestamp, choice.formats[0].matrix([event.row])[0].tobytes()

    decoder = Decoder((model,), max_event_bytes=MAX_EVENT_BYTES, max_key_bytes=MAX_KEY_BYTES)
    return TargetDecoder(decoder, model, exact)


def _json(name: str, signature: Signature) -> Target:
    samples = []
    for seed in range(12):
        document: dict[str, Any] = {"id": f"e-{seed}", "timestamp": JULY + seed}
        if signature.features:
            values = features_of(signature, seed)
            document["features"] = values if seed % 2 else list(values.values())
        else:
            numbers = np.random.default_rng(seed).normal(size=signature.shape)
            document["features" if seed % 3 else "input"] = (numbers if seed % 2 else numbers.ravel()).tolist()
        if seed % 4 == 3:
            document |= {"key": "k", "model": "m", "deadline_ms": JULY}
        headers = (("content-type", b"application/json; charset=utf-8"),) if seed % 3 == 2 else ()
        samples.append(Sample(orjson.dumps(document), headers))
    model = DecodedModel(ModelRef("m", 1), signature)
    return Target(name, lambda: validating(model), samples)


def _f32(name: str) -> Target:
    headers = (("content-type", b"application/x-forebay-f32"),)
    samples = [
        Sample(np.random.default_rng(seed).normal(size=8).astype("<f4").tobytes(), more)
        for seed in range(6)
        for more in (headers, (*headers, ("forebay-id", b"i"), ("forebay-timestamp", b"1372636800000")))
    ]
    model = DecodedModel(ModelRef("m", 1), NUMBERS)
    return Target(name, lambda: validating(model), samples)


TARGETS: Final[Mapping[str, Callable[[], Target]]] = MappingProxyType(
    {
        "json": lambda: _json("json", MIXED),
        "json-numbers": lambda: _json("json-numbers", NUMBERS),
        "json-nested": lambda: _json("json-nested", GRID),
        "f32": lambda: _f32("f32"),
        **SCHEMA_TARGETS,
    }
)
"""The targets by name."""
