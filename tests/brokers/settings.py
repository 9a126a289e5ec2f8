"""Broker settings that make a real Kafka fast and small enough for tests."""

from __future__ import annotations

from types import MappingProxyType

# Tests override the settings that they test.
FAST_SETTINGS = MappingProxyType(
    {
        "group.initial.rebalance.delay.ms": "0",
        "group.min.session.timeout.ms": "1000",
        "offsets.topic.num.partitions": "4",
        "transaction.state.log.num.partitions": "4",
        "transaction.abort.timed.out.transaction.cleanup.interval.ms": "1000",
        # After a kill, the controller accepts the broker again when its old session has expired: 9 s by default.
        "broker.session.timeout.ms": "3000",
        "broker.heartbeat.interval.ms": "500",
        "auto.create.topics.enable": "false",
        "num.partitions": "1",
        "num.network.threads": "2",
        "num.io.threads": "4",
        "log.cleaner.enable": "false",
    }
)
