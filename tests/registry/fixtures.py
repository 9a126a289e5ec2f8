"""The fixture of all tests that use a real schema registry, a plugin listed in `tests/conftest.py`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.registry.apicurio import Apicurio


@pytest.fixture(scope="session")
def schema_registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Apicurio]:
    """Return an Apicurio that runs for the session. Tests use subjects of their own."""
    from tests.brokers.jars import Unavailable
    from tests.registry.apicurio import Apicurio

    try:
        apicurio = Apicurio(os.environ, tmp_path_factory.mktemp("apicurio"))
    except Unavailable as error:
        pytest.skip(f"no schema registry: {error}")
    try:
        apicurio.start()
        yield apicurio
    finally:
        apicurio.remove()
