"""Codes in place of values."""

from __future__ import annotations

from forebay.stream.evaluate.interning import Interner, SliceSets


def test_values_beyond_the_limit_share_a_code() -> None:
    interner = Interner(["", "others"], max_values=3)
    assert [interner.code(name) for name in ("", "a", "b", "a", "c", "others")] == [0, 2, 1, 2, 1, 1]
    assert interner.values == ["", "others", "a"]


def test_sets_of_slices_have_a_table_of_their_texts() -> None:
    slices = SliceSets()
    codes = slices.codes([["a=1", "b=2"], [], ["a=1"], ["a=1", "b=2"]], 4)
    assert codes.tolist() == [1, 0, 2, 1]
    names = [[slices.texts.values[text] for text in row if text >= 0] for row in slices.table()[codes].tolist()]
    assert names == [["a=1", "b=2"], [], ["a=1"], ["a=1", "b=2"]]
    assert slices.codes(None, 2).tolist() == [0, 0]


def test_sets_of_slices_beyond_the_limit_are_empty() -> None:
    slices = SliceSets(max_sets=3)
    codes = slices.codes([["a=1"], ["a=2"], ["a=3"], ["a=1"]], 4)
    assert codes.tolist() == [1, 2, 0, 1]
    assert slices.table().shape == (3, 1)
