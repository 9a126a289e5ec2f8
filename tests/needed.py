"""Programs that tests need and fetch by themselves: without one its tests are skipped; with CI=true that is a failure."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TypeVar

import pytest

from tests.brokers.jars import Unavailable

Found = TypeVar("Found")


def needed(fetch: Callable[[], Found]) -> Found:
    """What `fetch` gives, which raises Unavailable where the program is not to be had."""
    try:
        return fetch()
    except Unavailable as error:
        if os.environ.get("CI", "").lower() == "true":
            pytest.fail(f"with CI=true this is a failure: {error}", pytrace=False)
        pytest.skip(str(error))
