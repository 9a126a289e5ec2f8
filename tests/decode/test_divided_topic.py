"""Polls whose events end with their model are divided before they are parsed."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest

from forebay.schemas.failures import FailureKind
from forebay.stream.core.records import Record
from forebay.stream.decode import DecodedModel, Decoder
from forebay.stream.decode.divided_topic import POLLS_WITHOUT_GUESS
from tests.core.build import EPOCH, P0, FakeRecord, event
from tests.decode.test_several_models import (
    ALL_SHAPES,
    MODELS,
    PLAIN_FEATURES,
    THREE,
    TWO,
    WIDE,
    NoValidator,
    decoder,
)


class NoSharedTopics:
    def decode(self, records: Sequence[Record], values: object, topic: str) -> None:
        raise AssertionError("the poll was not divided")


def divided(models: Sequence[DecodedModel] = ALL_SHAPES) -> Decoder:
    """Return a decoder that fails if a poll of P0 is not divided by the guess at each event's model."""
    of = decoder(models)
    of._shared_topics.add(P0.topic)
    of._shared = NoSharedTopics()  # type: ignore[assignment]
    return of


@pytest.mark.parametrize("separators", [(",", ":"), (", ", ": ")])
def test_plain_events_that_end_with_their_model_need_no_validator(separators: tuple[str, str]) -> None:
    of = divided()
    of._one_model._validator = NoValidator()  # type: ignore[assignment]
    records = [
        FakeRecord(
            offset,
            json.dumps(
                {"id": f"e{offset}", "timestamp": 5, "features": features, "model": name}, separators=separators
            ).encode(),
        )
        for offset, (name, features) in enumerate(PLAIN_FEATURES)
    ]
    records += [FakeRecord(100 + i, event(f"u{i}", [1, 2, 3])) for i in range(3)]  # for the first model
    chunks = of.decode({P0: records}, EPOCH)
    assert [chunk.model.name for chunk in chunks] == [model.ref.name for model in ALL_SHAPES]
    assert chunks[0].ids == ["e0", "u0", "u1", "u2"] and chunks[-1].ids == ["e8"]
    assert sum(chunk.num_rows for chunk in chunks) == len(records)


def test_invalid_events_are_rejected_in_their_place_in_a_divided_poll() -> None:
    records = [
        FakeRecord(0, event("a", TWO, model="narrow")),
        FakeRecord(1, event("b", THREE, model="wide")),
        FakeRecord(2, event("c", TWO, model="wide")),
        FakeRecord(3, event("d", TWO, model="other")),
        FakeRecord(4, b"garbage"),
        FakeRecord(5, event("e", THREE, model="wide")),
        FakeRecord(6, event("f", TWO)),
    ]
    narrow, wide = divided(MODELS).decode({P0: records}, EPOCH)
    assert (narrow.ids, wide.ids) == (["a", "f"], ["b", "e"])
    assert [(r.index, r.kind) for r in narrow.rejections] == [
        (1, FailureKind.UNKNOWN_MODEL),
        (2, FailureKind.NOT_JSON),
    ]
    assert [(r.index, r.kind) for r in wide.rejections] == [(1, FailureKind.WRONG_LENGTH)]
    assert (narrow.next_offset, wide.next_offset) == (7, 6)


def test_a_named_poll_of_one_model_is_not_copied() -> None:
    records = [FakeRecord(offset, event(str(offset), THREE, model="wide")) for offset in range(3)]
    (chunk,) = divided(MODELS).decode({P0: records}, EPOCH)
    assert chunk.model == WIDE and chunk.records is records


def test_after_a_wrong_guess_polls_are_not_divided_for_a_while() -> None:
    of = decoder()
    misleading = b'{"model":"narrow","timestamp":1,"features":[1,2],"id":"wide"}'
    honest = [FakeRecord(0, event("a", TWO, model="narrow")), FakeRecord(1, event("b", THREE, model="wide"))]
    of._shared_topics.add(P0.topic)
    narrow, wide = of.decode({P0: [*honest, FakeRecord(2, misleading)]}, EPOCH)
    assert (narrow.ids, wide.ids) == (["a", "wide"], ["b"])
    of._one_model._validator = NoValidator()  # type: ignore[assignment]
    shared, of._shared = of._shared, NoSharedTopics()  # type: ignore[assignment]
    for _ in range(POLLS_WITHOUT_GUESS):
        with pytest.raises(AssertionError, match="not divided"):
            of.decode({P0: honest}, EPOCH)
    assert [chunk.ids for chunk in of.decode({P0: honest}, EPOCH)] == [["a"], ["b"]]
    of._shared = shared
