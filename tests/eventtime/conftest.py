"""Fixtures of this folder: its workers run against a real Kafka."""

from __future__ import annotations

import pytest

from tests.brokers.resolve import Broker


@pytest.fixture
def broker(kafka: Broker) -> Broker:
    """A real Kafka only: the tests of this folder are about what the real broker does."""
    return kafka
