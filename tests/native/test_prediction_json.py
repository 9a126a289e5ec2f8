"""The compiled writer of predictions and its twin write the same bytes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forebay.stream import native
from forebay.stream.core.records import BatchResult, Chunk, MicroBatch
from forebay.stream.output.encoder import PredictionEncoder
from tests.core.build import chunk, finish
from tests.output.test_binary_encoder import results

pytestmark = pytest.mark.skipif(native.prediction_json is None, reason="the compiled part is not built")

LABELS = ("no", 'yes "ü"')
_FLOATS = st.floats(width=32)


def encode(
    result: BatchResult, events: Chunk, rows: list[int] | None, *, num_classes: int, compiled: bool
) -> list[bytes]:
    encoder = PredictionEncoder(model='mödel "1"', version=3, labels=LABELS[:num_classes], num_classes=num_classes)
    with pytest.MonkeyPatch.context() as patch:
        if not compiled:
            patch.setattr(native, "prediction_json", None)
        return encoder.encode(result, events, 1, rows)


@settings(max_examples=200)
@given(results(), st.booleans(), st.data())
def test_the_bytes_are_the_same(drawn: tuple[BatchResult, Chunk, int], only_some: bool, data: st.DataObject) -> None:
    result, events, num_classes = drawn
    count, outputs = result.values_BO.shape
    values = data.draw(st.lists(_FLOATS, min_size=count * outputs, max_size=count * outputs))
    result = replace(result, values_BO=np.array(values, np.float32).reshape(count, outputs), decisions_B=None)
    if data.draw(st.booleans()):
        events = replace(events, ids=[f"event-{row}" for row in range(len(events.ids))])
    rows = list(range(len(events.ids)))[1:] if only_some else None
    ours, twin = (
        encode(result, events, rows, num_classes=num_classes, compiled=compiled) for compiled in (True, False)
    )
    assert ours == twin and all(isinstance(value, bytes) for value in ours)


def test_a_model_with_classes_may_give_no_confidences() -> None:
    events = chunk([5, 6])
    result = replace(finish(MicroBatch(0, (chunk([4]), events), "size", 0.0)), classes_B=None, confidences_B=None)
    values = [encode(result, events, [0], num_classes=2, compiled=compiled) for compiled in (True, False)]
    assert values[0] == values[1] and orjson.loads(values[0][0])["class"] is None


def template() -> Any:
    assert native.prediction_json is not None
    return native.prediction_json.Template(b'","model":"m","version":1,"prediction":[', [b',"source":'], b'{"offset":')


def test_a_document_holds_each_part_once() -> None:
    (value,) = template().documents(["ä"], [2**63 - 1], [-(2**63)], [0], b"[[0.5,1]]", b"[0.25]")
    assert value.decode() == (
        '{"id":"ä","model":"m","version":1,"prediction":[0.5,1],"confidence":0.25,'
        '"source":{"offset":9223372036854775807,"timestamp":-9223372036854775808}}'
    )


@pytest.mark.parametrize("text", ['"', "\\", "\n", "\x00", 'ok"', "\x1f"])
def test_ids_that_json_escapes_are_left_to_the_twin(text: str) -> None:
    assert template().documents(["a", text], [1, 2], [1, 2], [0, 0], b"[[1],[2]]", None) is None


def test_columns_that_do_not_fit_together_are_refused() -> None:
    good: list[Any] = [["a", "b"], [1, 2], [1, 2], [0, 0], b"[[1],[2]]", b"[1,2]"]
    assert template().documents(*good) is not None
    for place, bad in (
        (1, [1]),
        (2, []),
        (3, [0]),
        (3, [0, 1]),
        (3, [0, -1]),
        (4, b"[[1]]"),
        (4, b""),
        (5, b"[1]"),
        (5, b""),
    ):
        columns = [*good]
        columns[place] = bad
        with pytest.raises((ValueError, IndexError)):
            template().documents(*columns)
    for place, bad in ((0, [1, 2]), (1, ["x", "y"]), (1, [2**63, 1]), (4, "x"), (4, None)):
        columns = [*good]
        columns[place] = bad
        with pytest.raises((TypeError, OverflowError)):
            template().documents(*columns)
