"""Records of the topic `quality`."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from jsonschema import Draft202012Validator

from forebay.schemas.errors import DataError
from forebay.schemas.quality import quality
from forebay.stream.quality.keys import QualityKey
from forebay.stream.quality.wire import (
    LabelCounts,
    LabelProgress,
    QualityParts,
    decode_quality,
    encode_parts,
    encode_quality,
)
from tests.quality.samples import binary, of_task

KEY = QualityKey("churn", 3, 1_800_000_000_000, "country=DE")


class Blocks:
    def to_dict(self) -> dict[str, Any]:
        return {"n": 3}


def test_a_record_is_read_as_it_was_written() -> None:
    sums = binary(100, 1).sums()
    key, value = encode_quality(KEY, sums, blocks=Blocks(), window_s=3600, group="g", worker="host-1")
    delta = decode_quality(value)
    assert key == b"churn|3|1800000000000|country=DE"
    assert (delta.key, delta.window_end, delta.worker) == (KEY, 1_800_003_600_000, "host-1")
    assert delta.sums is not None
    assert delta.sums.to_dict() == sums.to_dict()
    assert (delta.blocks, delta.labels, delta.progress) == ({"n": 3}, None, None)


def test_counts_of_labels_are_read_as_they_were_written() -> None:
    labels = LabelCounts(labels=10, used=7, repeated=1, corrected=1, refused=1, early=2)
    progress = LabelProgress(horizon_ms=86_400_000, until_ms={0: 5, 3: 7})
    key = QualityKey("churn", 0, 0)
    delta = decode_quality(
        encode_parts(key, QualityParts(labels=labels, progress=progress), window_s=1, group="g", worker="w")[1]
    )
    assert (delta.labels, delta.progress, delta.sums) == (labels, progress, None)


def test_counts_and_progress_of_parts_are_merged() -> None:
    labels = LabelCounts(labels=1)
    labels.merge(LabelCounts(labels=2, early=-1))
    assert (labels, labels.is_empty, LabelCounts().is_empty) == (LabelCounts(labels=3, early=-1), False, True)
    progress = LabelProgress(horizon_ms=5, until_ms={0: 9})
    progress.merge(LabelProgress(horizon_ms=6, until_ms={0: 4, 1: 2}))
    assert progress == LabelProgress(horizon_ms=6, until_ms={0: 9, 1: 2})
    assert LabelProgress(horizon_ms=1).until_ms == {}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 2}, "format is 2; this release reads format 1"),
        ({"version": "3"}, r"at `\$.version`"),
        ({"window_end": 5}, "window_end 5 is not after the start"),
        ({"sums": {}}, "missing required field"),
    ],
)
def test_other_records_are_refused(change: dict[str, Any], message: str) -> None:
    document = orjson.loads(encode_quality(KEY, binary(3, 1).sums(), window_s=3600, group="g", worker="w")[1])
    with pytest.raises(DataError, match=message):
        decode_quality(orjson.dumps({**document, **change}))


@pytest.mark.parametrize("task", ["binary", "classes", "many_classes", "regression"])
def test_records_satisfy_their_schema(task: str) -> None:
    sample = of_task(task, 50, seed=1)
    sums = sample.sums()
    sample.add_to(sums, sign=-1)
    sample.rows(slice(0, 9)).add_to(sums, sign=-1)
    parts = QualityParts(
        sums=sums, labels=LabelCounts(labels=1), progress=LabelProgress(horizon_ms=5, until_ms={0: 1}), blocks=Blocks()
    )
    document = orjson.loads(encode_parts(KEY, parts, window_s=3600, group="g", worker="w")[1])
    assert list(Draft202012Validator(quality()).iter_errors(document)) == []


@pytest.mark.parametrize("value", [None, b"", b"[]", b"{", b"\xff", b"[" * 100_000])
def test_bytes_that_are_not_a_record_are_refused(value: bytes | None) -> None:
    with pytest.raises(DataError, match="not a quality record"):
        decode_quality(value)
