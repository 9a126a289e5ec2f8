"""Fixtures of this folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.aggregate.harness import AggregatorGroup
from tests.brokers.resolve import Broker
from tests.conftest import Names


@pytest.fixture
def aggregator_group(kafka: Broker, names: Names, tmp_path: Path) -> Iterator[AggregatorGroup]:
    """Aggregators and topics for one test, on a real Kafka. Aggregators that still run at the end are killed."""
    with AggregatorGroup(kafka.bootstrap, names.prefix, tmp_path) as group:
        yield group
