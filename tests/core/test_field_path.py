"""Paths of fields: what is written is read back, and mistakes are explained."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.stream.core.field_path import format_field_path, parse_field_path


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("", ()),
        ("age", ("age",)),
        ("payload.user.age", ("payload", "user", "age")),
        ("rows.0", ("rows", "0")),
        ('"a.b".c', ("a.b", "c")),
        (r'"a\"b"', ('a"b',)),
    ],
)
def test_a_path_is_names_separated_by_dots(text: str, path: tuple[str, ...]) -> None:
    assert parse_field_path(text) == path


@pytest.mark.parametrize("text", [".", "a.", ".a", "a..b", '"a', '"a"b', 'a"b"', ".".join("a" * 33)])
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse_field_path(text)


@given(st.lists(st.text(min_size=1), max_size=4))
def test_a_formatted_path_is_read_back(names: list[str]) -> None:
    assert parse_field_path(format_field_path(tuple(names))) == tuple(names)
