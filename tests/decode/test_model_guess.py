"""Polls are divided by the model that the end of each event names."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.stream.core.records import Record
from forebay.stream.decode.model_guess import MAX_MODELS, ModelGuess
from tests.core.build import FakeRecord


def named(name: str) -> bytes:
    return json.dumps({"id": "a", "timestamp": 1, "features": [1.5], "model": name}).encode()


UNNAMED = b'{"id":"a","timestamp":1,"features":[0.25,1]}'


def divided(names: Sequence[str], values: Sequence[bytes | None], unnamed: int = 0) -> list[tuple[int, list[int]]]:
    records: list[Record] = [FakeRecord(offset, value) for offset, value in enumerate(values)]
    shares = ModelGuess(names).divide(values, records, unnamed=unnamed)
    assert shares is not None
    for share in shares:
        assert [record.value for record in share.records] == list(share.values)
    return [(share.number, [record.offset for record in share.records]) for share in shares]


@pytest.mark.parametrize(
    "names",
    [
        ("wide", "narrow"),
        ("m", "xm", "a-much-longer-name"),
        ("m1", "m2", "m3"),
        ("ab", "cb", "ca"),
        ("fraud-eu", "fraud-us", "churn-eu", "churn-us"),
        tuple(f"model-{number}" for number in range(MAX_MODELS)),
    ],
)
def test_each_event_goes_to_the_model_that_it_names(names: tuple[str, ...]) -> None:
    values = [value for name in names for value in (named(name), UNNAMED, named(name))]
    last = len(names) - 1
    shares = dict(divided(names, values, unnamed=last))
    assert list(shares) == list(range(len(names)))
    for number in range(last):
        assert shares[number] == [3 * number, 3 * number + 2]
    assert shares[last] == sorted([3 * last, 3 * last + 2, *range(1, len(values), 3)])


def test_names_that_the_end_does_not_tell_apart_are_not_guessed() -> None:
    names = ("m", "churn-classifier", "fraud-classifier")
    assert divided(names, [named("fraud-classifier"), named("m"), named("churn-classifier")]) == [(0, [0, 1, 2])]


def test_a_poll_of_one_model_is_not_copied() -> None:
    values, records = [named("wide")] * 3, [FakeRecord(offset, named("wide")) for offset in range(3)]
    shares = ModelGuess(["narrow", "wide"]).divide(values, records, unnamed=0)
    assert shares is not None and len(shares) == 1
    share = shares[0]
    assert share.number == 1 and share.values is values and share.records is records


@pytest.mark.parametrize("short", [None, b"", b"{}"])
def test_a_poll_with_a_value_without_an_end_is_not_divided(short: bytes | None) -> None:
    values = [named("wide"), short]
    assert (
        ModelGuess(["narrow", "wide"]).divide(values, [FakeRecord(i, v) for i, v in enumerate(values)], unnamed=0)
        is None
    )


@given(
    st.lists(st.text("abm-1", min_size=1, max_size=6), min_size=2, max_size=5, unique=True),
    st.lists(st.binary(min_size=9) | st.sampled_from("abm").map(named), max_size=9),
    st.integers(0, 1),
)
def test_every_event_is_in_one_share(names: list[str], values: list[bytes], unnamed: int) -> None:
    shares = divided(names, values, unnamed)
    assert sorted(offset for _, offsets in shares for offset in offsets) == list(range(len(values)))
    assert all(offsets == sorted(offsets) for _, offsets in shares)
    assert [number for number, _ in shares] == sorted({number for number, _ in shares})
