"""The fixture of all tests that run worker processes, a plugin listed in `tests/conftest.py`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.brokers.resolve import Broker
from tests.conftest import Names

if TYPE_CHECKING:
    from tests.worker.harness import WorkerGroup


@pytest.fixture
def worker_group(broker: Broker, names: Names, tmp_path: Path) -> Iterator[WorkerGroup]:
    """Return a group of workers and topics for one test, on `broker`. Workers that still run at the end are killed.

    `broker` is the embedded broker and a real Kafka in turn. A folder or a module whose tests need one particular broker
    overrides the fixture `broker`.
    """
    from tests.worker.harness import WorkerGroup  # it imports the worker, which few test runs need

    with WorkerGroup(broker.bootstrap, names.prefix, tmp_path) as group:
        yield group
