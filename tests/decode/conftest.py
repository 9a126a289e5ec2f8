"""Decoding with the compiled part and without."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from forebay.stream import native


@pytest.fixture(scope="module", params=["compiled", "twin"])
def reader(request: pytest.FixtureRequest) -> Iterator[None]:
    """Let all tests of a module run twice: with the compiled reader of events and with its twin in Python."""
    if request.param == "compiled" and native.json_rows is None:
        pytest.skip("the compiled part is not built")
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "twin":
            patch.setattr(native, "json_rows", None)
        yield
