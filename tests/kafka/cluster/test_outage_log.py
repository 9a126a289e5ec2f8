"""The log lines of an outage: its beginning and its end, and none of the client's lines in between."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from forebay.stream.kafka.cluster.outage_log import FORGET_S, REMIND_S, OutageLog
from tests.core.build import ManualClock

BROKERS = {1: "one:9092", 2: "two:9092", 3: "three:9092"}


@pytest.fixture
def client_log() -> Iterator[logging.Logger]:
    logger = logging.getLogger("tests.client")
    logger.setLevel(logging.ERROR)
    yield logger
    logger.setLevel(logging.NOTSET)


def messages(caplog: pytest.LogCaptureFixture) -> list[str]:
    lines = [record.message for record in caplog.records]
    caplog.clear()
    return lines


def test_an_outage_of_all_brokers_is_two_lines(caplog: pytest.LogCaptureFixture, client_log: logging.Logger) -> None:
    clock = ManualClock()
    outage = OutageLog(clock=clock, client_log=client_log)
    outage.on_answer(BROKERS)
    assert messages(caplog) == []
    for _ in range(60):
        outage.on_silence("connection refused")
        clock.advance(1)
    assert messages(caplog) == [
        "no broker answers since 2013-07-01T00:00:00.000Z, trying again until one does: connection refused"
    ]
    assert client_log.level == logging.CRITICAL
    outage.on_answer(BROKERS)
    outage.on_answer(BROKERS)
    assert messages(caplog) == ["the cluster answers again, after 60 s (since 2013-07-01T00:00:00.000Z)"]
    assert client_log.level == logging.ERROR


def test_a_long_outage_is_logged_again_at_intervals(
    caplog: pytest.LogCaptureFixture, client_log: logging.Logger
) -> None:
    clock = ManualClock()
    outage = OutageLog(clock=clock, client_log=client_log)
    for _ in range(2 * round(REMIND_S) + 1):
        outage.on_silence("refused")
        clock.advance(1)
    assert messages(caplog)[1:] == [
        "no broker answers since 2013-07-01T00:00:00.000Z, for 300 s: refused",
        "no broker answers since 2013-07-01T00:00:00.000Z, for 600 s: refused",
    ]


def test_a_broker_that_leaves_and_returns_is_logged(
    caplog: pytest.LogCaptureFixture, client_log: logging.Logger
) -> None:
    clock = ManualClock()
    outage = OutageLog(clock=clock, client_log=client_log)
    outage.on_answer(BROKERS)
    for _ in range(3):
        outage.on_answer({1: "one:9092", 3: "three:9092"})
        clock.advance(10)
    assert messages(caplog) == ["broker 2 (two:9092) has left the cluster; 2 remain"]
    assert client_log.level == logging.CRITICAL
    outage.on_answer(BROKERS)
    assert messages(caplog) == ["broker 2 (two:9092) is back, after 30 s (since 2013-07-01T00:00:00.000Z)"]
    assert client_log.level == logging.ERROR


def test_at_level_debug_the_clients_lines_are_logged(client_log: logging.Logger) -> None:
    client_log.setLevel(logging.DEBUG)
    outage = OutageLog(clock=ManualClock(), client_log=client_log)
    outage.on_silence("refused")
    assert client_log.level == logging.DEBUG


def test_stop_restores_the_clients_log_level(client_log: logging.Logger) -> None:
    outage = OutageLog(clock=ManualClock(), client_log=client_log)
    outage.on_silence("refused")
    outage.stop()
    assert client_log.level == logging.ERROR


def test_a_removed_broker_ends_the_outage_after_a_while(
    caplog: pytest.LogCaptureFixture, client_log: logging.Logger
) -> None:
    clock = ManualClock()
    outage = OutageLog(clock=clock, client_log=client_log)
    outage.on_answer(BROKERS)
    for _ in range(3):
        outage.on_answer({1: "one:9092", 3: "three:9092"})
        clock.advance(FORGET_S)
    assert len(messages(caplog)) == 1 and client_log.level == logging.ERROR
