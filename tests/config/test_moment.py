"""Durations on the command line."""

from __future__ import annotations

import pytest

from forebay.schemas.errors import ConfigError
from forebay.stream.config.moment import parse_duration


@pytest.mark.parametrize(("text", "ms"), [("90s", 90_000), ("10m", 600_000), (" 1.5h ", 5_400_000), ("250ms", 250)])
def test_a_duration_has_a_number_and_a_unit(text: str, ms: int) -> None:
    assert parse_duration("--every", text) == ms


@pytest.mark.parametrize("text", ["", "10", "m", "-1s", "1 m", "1w", "1e3s", "١s"])
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="--every") as caught:
        parse_duration("--every", text)
    assert caught.value.remedy is not None and "90s" in caught.value.remedy
