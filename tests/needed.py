"""Programs that tests need and download: if one is unavailable, its tests are skipped, or fail with CI=true."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TypeVar

import pytest

from tests.brokers.jars import Unavailable

Found = TypeVar("Found")


def needed(fetch: Callable[[], Found]) -> Found:
    """Return the result of `fetch`, which raises Unavailable if the program cannot be found or downloaded."""
    try:
        return fetch()
    except Unavailable as error:
        if os.environ.get("CI", "").lower() == "true":
            pytest.fail(f"with CI=true this is a failure: {error}", pytrace=False)
        pytest.skip(str(error))
