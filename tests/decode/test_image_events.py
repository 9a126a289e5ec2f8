"""Images as events of a topic: their ids, times, models and rows, among events of other formats."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import orjson
import pytest

from forebay.models.artefacts.signature import Signature
from forebay.schemas.failures import FailureKind
from forebay.stream.config.sections import InputSection
from forebay.stream.core.model_ref import ModelRef
from forebay.stream.core.records import Chunk
from forebay.stream.decode import DecodedModel, Decoder
from forebay.stream.decode.event_formats import event_formats
from tests.core.build import EPOCH, JULY, P0, FakeRecord
from tests.decode.build import TEXTS
from tests.decode.formats.images import encoded, picture

CNN = DecodedModel(ModelRef("cnn", 1), Signature((), (3, 4, 6), "multiclass", 2))
SMALL = DecodedModel(ModelRef("small", 1), Signature((), (1, 2, 2), "multiclass", 2))
TABLE = DecodedModel(ModelRef("table", 1), TEXTS)
PNG, JPEG, WEBP = (
    (("content-type", b"image/png"),),
    (("content-type", b"image/jpeg"),),
    (("content-type", b"image/webp"),),
)
IMAGE = picture(6, 4)
X_CHW = np.asarray(IMAGE).transpose(2, 0, 1).astype(np.float32)


def decode(records: Sequence[FakeRecord], models: Sequence[DecodedModel] = (CNN,), **settings: object) -> list[Chunk]:
    formats = event_formats(InputSection.model_validate(settings), prefix="")
    return Decoder(models, max_event_bytes=100_000, formats=formats).decode({P0: records}, EPOCH)


def test_images_have_ids_and_times_of_their_headers_their_key_or_their_position() -> None:
    payload = encoded(IMAGE)
    own = (("forebay-id", b"a"), ("forebay-timestamp", b"1000"), ("forebay-deadline-ms", b"2000"))
    (chunk,) = decode(
        [
            FakeRecord(5, payload, headers=(*PNG, *own), key=b"k"),
            FakeRecord(6, encoded(IMAGE, "JPEG"), headers=JPEG, key=b"k"),
            FakeRecord(8, encoded(IMAGE, "WEBP", lossless=True), headers=WEBP, timestamp=JULY + 8),
            FakeRecord(9, payload, headers=PNG, key=b"\xff"),
        ]
    )
    assert chunk.rejections == []
    assert list(chunk.ids) == ["a", "k", "features-0-8", "features-0-9"]
    assert list(chunk.timestamps) == [1000, JULY, JULY + 8, JULY]
    assert chunk.deadlines == {0: 2000}
    for row in (0, 2, 3):
        np.testing.assert_array_equal(chunk.x_BF[row], (X_CHW / np.float32(255)).ravel())


def test_images_and_arrays_of_numbers_may_alternate() -> None:
    json = orjson.dumps({"id": "j", "timestamp": JULY, "features": X_CHW.tolist()})
    raw = (("content-type", b"application/x-forebay-f32"),)
    records = [
        FakeRecord(0, json),
        FakeRecord(1, encoded(IMAGE), headers=PNG),
        FakeRecord(2, b"not an image", headers=PNG),
        FakeRecord(3, X_CHW.astype("<f4").tobytes(), headers=raw, key=b"r"),
    ]
    (chunk,) = decode(records, image_scale="none")
    assert list(chunk.ids) == ["j", "features-0-1", "r"]
    assert chunk.x_BF.tobytes() == X_CHW.tobytes() * 3
    (rejection,) = chunk.rejections
    assert (rejection.index, rejection.record, rejection.kind) == (2, records[2], FailureKind.INVALID_PAYLOAD)


def test_the_configured_format_needs_no_header() -> None:
    (chunk,) = decode([FakeRecord(0, encoded(IMAGE, "JPEG", quality=100, subsampling=0))], format="image")
    assert np.abs(chunk.x_BF[0] * 255 - X_CHW.ravel()).max() < 8
    (chunk,) = decode([FakeRecord(0, encoded(IMAGE))], formats={"features": "image"})
    assert chunk.num_rows == 1


def test_the_settings_limit_and_resize_images() -> None:
    large = encoded(picture(50, 50))
    (chunk,) = decode([FakeRecord(0, large, headers=PNG)], max_image_pixels=2499, image_resize="bilinear")
    assert [fault.kind for fault in chunk.rejections] == [FailureKind.TOO_LARGE]
    (chunk,) = decode([FakeRecord(0, large, headers=PNG)])
    assert [fault.kind for fault in chunk.rejections] == [FailureKind.WRONG_LENGTH]
    (chunk,) = decode([FakeRecord(0, large, headers=PNG)], max_image_pixels=2500, image_resize="bilinear")
    assert chunk.num_rows == 1 and 0 <= chunk.x_BF.min() < chunk.x_BF.max() <= 1


def test_a_header_names_the_model_whose_shape_an_image_has() -> None:
    small = encoded(picture(2, 2, "L"))
    chunks = decode(
        [
            FakeRecord(0, encoded(IMAGE), headers=PNG),
            FakeRecord(1, small, headers=(*PNG, ("forebay-model", b"small"))),
            FakeRecord(2, small, headers=(*PNG, ("forebay-model", b"table"))),
            FakeRecord(3, small, headers=(*PNG, ("forebay-model", b"absent"))),
        ],
        (CNN, SMALL, TABLE),
    )
    assert [(chunk.model.name, chunk.num_rows) for chunk in chunks] == [("cnn", 1), ("small", 1), ("table", 0)]
    kinds = {fault.record.offset: fault.kind for chunk in chunks for fault in chunk.rejections}
    assert kinds == {2: FailureKind.UNSUPPORTED_CONTENT_TYPE, 3: FailureKind.UNKNOWN_MODEL}


def test_the_data_of_a_cloudevent_may_be_an_image() -> None:
    headers = (("ce_specversion", b"1.0"), ("ce_id", b"c"), ("ce_time", b"2013-07-01T00:00:00Z"), *PNG)
    (chunk,) = decode([FakeRecord(0, encoded(IMAGE), headers=headers)])
    assert (list(chunk.ids), list(chunk.timestamps)) == (["c"], [JULY])


@pytest.mark.parametrize("value", [None, b""])
def test_images_without_bytes_are_rejected(value: bytes | None) -> None:
    (chunk,) = decode([FakeRecord(0, value, headers=PNG)])
    assert [fault.kind for fault in chunk.rejections] == [FailureKind.EMPTY_VALUE]
