"""The recipes of docs/formats.md: each mapping in it reads the events beside it, and others are rejected as it says."""

from __future__ import annotations

import re
import struct
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson
import pytest

from forebay.models.artefacts.signature import Feature, Signature
from forebay.schemas.failures import FailureKind
from forebay.stream.config.sections import InputSection
from forebay.stream.core.model_ref import ModelRef
from forebay.stream.core.records import Chunk
from forebay.stream.decode import DecodedModel, Decoder
from forebay.stream.decode.duplicates import DuplicateFilter
from forebay.stream.decode.event_formats import event_formats
from forebay.stream.decode.seen_ids import DuplicateWindow
from forebay.stream.decode.versioned_decoder import VersionedDecoder
from tests.core.build import EPOCH, JULY, MODEL, P0, FakeRecord

PAGE = Path(__file__).resolve().parents[3] / "docs" / "formats.md"
SIGNATURE = Signature(
    (Feature("amount"), Feature("country", "category", ("CH", "DE")), Feature("age", nullable=True)), (3,), "binary", 1
)
EXPECTED = [[12.5, 0.0, 40.0]]


def recipes() -> dict[str, tuple[str, str]]:
    """Return the settings and the event of each recipe, by its heading."""
    found = {}
    (chapter,) = (part for part in re.split(r"\n## ", PAGE.read_text()) if part.startswith("Where the parts"))
    for section in re.split(r"\n### ", chapter)[1:]:
        heading = section.splitlines()[0]
        blocks = dict(re.findall(r"```(toml|json)\n(.*?)```", section, re.DOTALL))
        if blocks.keys() == {"toml", "json"}:
            found[heading] = blocks["toml"], blocks["json"]
    return found


def decoder(settings: dict[str, Any], models: Sequence[DecodedModel] = (DecodedModel(MODEL, SIGNATURE),)) -> Decoder:
    section = InputSection(**settings)
    return Decoder(models, max_event_bytes=10_000, formats=event_formats(section, prefix=""))


def decode(settings: dict[str, Any], *values: bytes | None, headers: Sequence[tuple[str, bytes]] = ()) -> Chunk:
    records = [FakeRecord(offset, value, key=b"k7", headers=headers) for offset, value in enumerate(values)]
    (chunk,) = decoder(settings).decode({P0: records}, EPOCH)
    return chunk


@pytest.mark.parametrize("name", recipes())
def test_each_recipe_reads_its_event(name: str) -> None:
    settings, event = recipes()[name]
    chunk = decode(tomllib.loads(settings)["input"], orjson.dumps(orjson.loads(event)))
    assert [rejection.message for rejection in chunk.rejections] == []
    assert chunk.x_BF.tolist() == EXPECTED
    assert list(chunk.ids) == ["4711"] and list(chunk.timestamps) == [JULY]


def test_the_page_has_the_recipes_of_the_usual_producers() -> None:
    assert {"Any JSON", "Debezium", "Kafka Connect"} == set(recipes())


def test_deletes_of_debezium_are_rejected() -> None:
    settings, event = recipes()["Debezium"]
    create = orjson.loads(event)
    delete = {**create, "op": "d", "before": create["after"], "after": None}
    chunk = decode(tomllib.loads(settings)["input"], orjson.dumps(create), orjson.dumps(delete), None)
    kinds = [rejection.kind for rejection in chunk.rejections]
    assert kinds == [FailureKind.MISSING_FIELD, FailureKind.EMPTY_VALUE]
    assert chunk.x_BF.tolist() == EXPECTED


FLAT = {"input": {"mapping": {"id": "field:no", "timestamp": "record", "features": ""}}}


def flat(number: int, **more: object) -> bytes:
    return orjson.dumps({"no": number, "amount": 1.5, "country": "DE", **more})


def test_duplicates_are_found_by_mapped_ids() -> None:
    chunk = decode(FLAT["input"], flat(1), flat(2), flat(1))
    (filtered,) = DuplicateFilter(DuplicateWindow(10)).filter([chunk])
    assert list(filtered.ids) == ["1", "2"]
    assert [(rejection.index, rejection.kind) for rejection in filtered.rejections] == [(2, FailureKind.DUPLICATE)]


def test_a_field_or_a_header_names_one_of_several_models() -> None:
    other = DecodedModel(ModelRef("other", 1), Signature((Feature("amount"),), (1,), "binary", 1))
    mapping = {"mapping": {**FLAT["input"]["mapping"], "model": "field:model"}}
    records = [
        FakeRecord(0, flat(0)),
        FakeRecord(1, flat(1, model="other")),
        FakeRecord(2, flat(2), headers=(("forebay-model", b"other"),)),
        FakeRecord(3, flat(3, model="nobody")),
    ]
    first, second = decoder(mapping, [DecodedModel(MODEL, SIGNATURE), other]).decode({P0: records}, EPOCH)
    assert list(first.ids) == ["0"] and list(second.ids) == ["1", "2"] and second.x_BF.shape == (2, 1)
    assert [rejection.kind for rejection in first.rejections] == [FailureKind.UNKNOWN_MODEL]


def test_a_rollout_decodes_mapped_events_for_each_version() -> None:
    formats = event_formats(InputSection(**FLAT["input"]), prefix="")
    versioned = VersionedDecoder([DecodedModel(MODEL, SIGNATURE)], max_event_bytes=1_000, formats=formats)
    second = ModelRef(MODEL.name, 2)
    versioned.add(DecodedModel(second, Signature((Feature("amount"),), (1,), "binary", 1)))
    records = [FakeRecord(0, flat(0)), FakeRecord(1, orjson.dumps({"no": 1, "amount": 3}))]
    (chunk,) = versioned.decode({P0: records}, EPOCH)
    assert list(chunk.ids) == ["0"] and chunk.x_BF.shape == (1, 3)
    (chunk,) = versioned.decode_for(second, P0, records, EPOCH)
    assert list(chunk.ids) == ["0", "1"] and chunk.x_BF.tolist() == [[1.5], [3.0]]
    versioned.serve(second)
    (chunk,) = versioned.decode({P0: records}, EPOCH)
    assert chunk.model == second and list(chunk.ids) == ["0", "1"]


def test_raw_float32_is_the_format_of_a_topic_by_configuration() -> None:
    unnamed = [DecodedModel(MODEL, Signature((), (3,), "binary", 1))]
    settings = {"format": "f32"}
    records = [
        FakeRecord(0, struct.pack("<3f", 0, 1, 2), key=b"a"),  # begins with byte 0, as framing does
        FakeRecord(1, struct.pack("<3f", 3, 4, float("inf")), key=b"b"),
        FakeRecord(2, b"{}", key=b"c"),
    ]
    (chunk,) = decoder(settings, unnamed).decode({P0: records}, EPOCH)
    assert list(chunk.ids) == ["a"] and chunk.x_BF.tolist() == [[0, 1, 2]]
    assert [rejection.kind for rejection in chunk.rejections] == [FailureKind.NOT_FINITE, FailureKind.WRONG_LENGTH]
    (chunk,) = decoder(settings, unnamed).decode({P0: records[:1]}, EPOCH)
    assert list(chunk.ids) == ["a"]


def test_the_page_shows_features_as_base64() -> None:
    (section,) = (part for part in re.split(r"\n## ", PAGE.read_text()) if part.startswith("Features as base64"))
    (event,) = re.findall(r"```json\n(.*?)```", section, re.DOTALL)
    chunk = decode({}, event.encode())
    assert chunk.x_BF.tolist() == EXPECTED
