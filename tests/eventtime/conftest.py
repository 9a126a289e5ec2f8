"""Fixtures of this folder, whose workers run on a real Kafka."""

from __future__ import annotations

import pytest

from tests.brokers.resolve import Broker


@pytest.fixture
def broker(kafka: Broker) -> Broker:
    """Use only a real Kafka: the tests in this folder check what the real broker does."""
    return kafka
