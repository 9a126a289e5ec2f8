"""Each record is decoded for the version that its routing key chooses, whatever else is in the poll."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forebay.models.artefacts.signature import Feature, Signature
from forebay.schemas.failures import FailureKind
from forebay.stream.core.model_ref import ModelRef
from forebay.stream.core.records import Chunk, Record, Unreadable
from forebay.stream.core.rows import RowRecords, position_of
from forebay.stream.decode import DecodedModel, Decoder
from forebay.stream.decode.versioned_decoder import VersionedDecoder
from forebay.stream.pipeline.rollout_router import RolloutRouter
from forebay.stream.pipeline.served_revision import ServedRevision
from tests.core.build import EPOCH, P0, FakeRecord, event, signature, unreadable
from tests.decode.build import F32, documents_of
from tests.decode.formats.test_arrow import payload
from tests.pipeline.allocations import ByLastByte, revision

THREE, NAMED, TWO = signature(3), signature(3, task="regression", output_dim=1), signature(2)
NULLABLE = Signature(tuple(Feature(f"f{index}", nullable=True) for index in range(3)), (3,), "binary", 1)
NAMED_FEATURES = Signature(tuple(Feature(f"f{index}") for index in range(3)), (3,), "binary", 1)
OTHER = DecodedModel(ModelRef("other", 5), TWO)
VERSIONS = {1: THREE, 2: NAMED, 3: TWO, 4: NULLABLE}
"""Versions 1 and 2 have the same columns."""


def models(version: int) -> list[DecodedModel]:
    return [DecodedModel(ModelRef("m", version), VERSIONS[version]), OTHER]


def by_hand(version: int, records: list[Record]) -> list[Chunk]:
    return Decoder(models(version), max_event_bytes=1000, max_key_bytes=20).decode({P0: records}, EPOCH)


def router(served: ServedRevision, *, first: int = 1) -> tuple[VersionedDecoder, RolloutRouter]:
    decoder = VersionedDecoder(models(first), max_event_bytes=1000, max_key_bytes=20)
    for version, takes in VERSIONS.items():
        decoder.add(DecodedModel(ModelRef("m", version), takes))
    routes = RolloutRouter(decoder)
    routes.switch(served)
    return decoder, routes


def key_by_hand(record: Record, route_by: str | None) -> bytes | None:
    """Return the routing key with a parser of its own."""
    if isinstance(record, Unreadable):
        return None
    is_raw = bool(record.headers)
    try:
        found = {} if is_raw else json.loads(record.value or b"")
    except ValueError:
        found = {}
    if not isinstance(found, dict):
        found = {}

    def is_text(value: object) -> bool:
        return isinstance(value, str) or (isinstance(value, int) and not isinstance(value, bool))

    if route_by is not None and is_text(found.get(route_by)):
        return str(found[route_by]).encode()
    if record.key is not None:
        return record.key
    if is_raw:
        return dict(record.headers).get("forebay-id")
    key, event_id = found.get("key"), found.get("id")
    if not (key is None or isinstance(key, str)) or not (event_id is None or is_text(event_id)):
        return None
    chosen = event_id if key is None else key
    return None if chosen is None else str(chosen).encode()


def contents(part: Chunk) -> dict[str, Any]:
    return {
        "model": part.model,
        "records": [record.offset for record in part.records],
        "ids": list(part.ids),
        "timestamps": list(part.timestamps),
        "rows": part.x_BF.tobytes(),
        "rejections": [(r.index, r.record.offset, r.kind, r.message, r.count) for r in part.rejections],
        "sizes": (part.num_records, part.num_passed, part.num_bytes, part.next_offset),
        "keys": part.keys,
        "deadlines": part.deadlines,
    }


def test_rows_of_a_record_go_to_the_versions_of_their_keys() -> None:
    batch = pa.record_batch({"f0": [1.0, 2.0, None, None], "f1": [1.0] * 4, "f2": [2.0] * 4, "id": list("abcd")})
    headers = (("content-type", b"application/vnd.apache.arrow.stream"),)
    polled = [FakeRecord(offset, payload(batch), headers=headers) for offset in (7, 8)]
    strict, lenient = (DecodedModel(ModelRef("m", version), of) for version, of in ((1, NAMED_FEATURES), (4, NULLABLE)))
    decoder = VersionedDecoder([strict], max_event_bytes=10_000)
    decoder.add(lenient)
    routes = RolloutRouter(decoder)
    routes.switch(revision(1, 4))
    parts = {part.model.version: part for part in routes.route(decoder.decode({P0: polled}, EPOCH))}
    # Row 2, without a value, is rejected by the stable version only: its own id chooses the other one.
    valid = {version: list(map(position_of, part.records)) for version, part in parts.items()}
    assert valid == {1: [(7, 1), (8, 1)], 4: [(7, 0), (7, 2), (8, 0), (8, 2)]}
    assert [position_of(one.record) for one in parts[1].rejections] == [(7, 3), (8, 3)] and not parts[4].rejections
    assert [part.num_records for part in parts.values()] == [4, 4]
    assert all(part.next_offset == 9 and isinstance(part.records, RowRecords) for part in parts.values())


documents = documents_of(st.sampled_from(["m", "other", "nobody"])) | st.builds(
    event,
    st.text(min_size=1, max_size=3),
    st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=2, max_size=3),
)
records = st.one_of(
    st.builds(FakeRecord, st.just(0), documents, key=st.none() | st.binary(max_size=3) | st.just(b"k" * 30)),
    st.builds(FakeRecord, st.just(0), st.none() | st.binary(max_size=8), key=st.none() | st.just(b"k")),
    st.builds(
        FakeRecord,
        st.just(0),
        st.binary(min_size=12, max_size=12) | st.just(b"\0" * 8),
        key=st.none() | st.just(b"raw"),
        headers=st.sampled_from([F32, (*F32, ("forebay-id", b"7")), (*F32, ("forebay-id", b"\xff"))]),
    ),
    st.just(unreadable()),
)


def at(record: Any, offset: int) -> Record:
    if isinstance(record, Unreadable):
        return unreadable(offset - 1, offset, 2)
    return FakeRecord(offset, record.value, key=record.key, headers=record.headers)


@settings(max_examples=100)
@given(
    st.lists(records, min_size=1, max_size=20),
    st.sampled_from([(1, 2), (1, 3), (1, 2, 3), (4, 1), (2,), (3,)]),
    st.sampled_from([None, None, "extra", "id"]),
)
def test_the_chunks_are_those_that_each_version_alone_would_decode(
    polled: list[Any], versions: tuple[int, ...], route_by: str | None
) -> None:
    own = [at(record, 2 * index + 1) for index, record in enumerate(polled)]
    stable = 1 if len(versions) == 1 else versions[0]
    served = revision(*versions, stable=stable, route_by=route_by)
    decoder, routes = router(served)
    decoded = decoder.decode({P0: own}, EPOCH)
    found = sorted(map(contents, routes.route(decoded)), key=lambda part: part["model"])

    of_model = {
        record.offset: part.model.name
        for part in by_hand(1, own)
        for record in [*part.records, *(rejection.record for rejection in part.rejections)]
    }
    allocation = ByLastByte(*versions)
    by_version: dict[ModelRef, list[Record]] = {}
    for record in own:
        name = of_model[record.offset]
        key = key_by_hand(record, route_by)
        version = 5 if name == "other" else stable if key is None else allocation.version_of(key)
        by_version.setdefault(ModelRef(name, version), []).append(record)
    expected = []
    for ref, chosen in sorted(by_version.items()):
        (part,) = by_hand(ref.version if ref.name == "m" else stable, chosen)
        expected.append(contents(part))
    assert found == expected


def test_a_revision_of_one_version_passes_chunks_as_they_are() -> None:
    decoder, routes = router(revision(3))
    chunks = decoder.decode({P0: [FakeRecord(0, event(features=[1, 2]))]}, EPOCH)
    assert routes.route(chunks) is chunks and chunks[0].model == ("m", 3) and chunks[0].num_rows == 1


def test_a_promotion_replaces_the_decoder_and_a_rollback_restores_it() -> None:
    decoder, routes = router(revision(1, 3))
    poll = {P0: [FakeRecord(0, event("a", [1, 2, 3])), FakeRecord(1, event("b", [1, 2]))]}
    assert [(part.model.version, part.num_rows) for part in routes.route(decoder.decode(poll, EPOCH))] == [
        (1, 0),
        (3, 0),
    ]
    routes.switch(revision(3, number=2))
    (part,) = routes.route(decoder.decode(poll, EPOCH))
    assert (part.model.version, list(part.ids)) == (3, ["b"])
    routes.switch(revision(1, number=3))
    (part,) = routes.route(decoder.decode(poll, EPOCH))
    assert (part.model.version, list(part.ids)) == (1, ["a"])
    assert decoder.served("m") == ("m", 1)


def test_the_rows_of_a_version_with_the_same_columns_are_not_decoded_again(monkeypatch: pytest.MonkeyPatch) -> None:
    decoder, routes = router(revision(1, 2))
    monkeypatch.setattr(decoder, "decode_for", None)
    own = [FakeRecord(offset, event(str(offset))) for offset in range(4)]
    parts = routes.route(decoder.decode({P0: own}, EPOCH))
    assert [(part.model.version, list(part.ids)) for part in parts] == [(1, ["0", "2"]), (2, ["1", "3"])]


def test_messages_name_the_served_models_of_all_versions() -> None:
    decoder, routes = router(revision(3, 1, stable=1))
    (part,) = routes.route(decoder.decode({P0: [FakeRecord(0, event("b", model="nobody"))]}, EPOCH))
    (rejection,) = part.rejections
    assert (part.model.version, rejection.kind) == (3, FailureKind.UNKNOWN_MODEL)
    assert "'m' and 'other' are" in rejection.message
