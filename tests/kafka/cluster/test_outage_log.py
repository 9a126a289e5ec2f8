"""What an outage leaves in the log: its beginning and its end, and none of the client's lines between."""

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
    found = [record.message for record in caplog.records]
    caplog.clear()
    return found


def test_an_outage_of_all_brokers_is_two_lines(caplog: pytest.LogCaptureFixture, client_log: logging.Logger) -> None:
    clock = ManualClock()
    outage = OutageLog(clock=clock, client_log=client_log)
    outage.answered(BROKERS)
    assert messages(caplog) == []
    for _ in range(60):
        outage.silent("connection refused")
        clock.advance(1)
    assert messages(caplog) == [
        "no broker answers since 2013-07-01T00:00:00.000Z, trying again until one does: connection refused"
    ]
    assert client_log.level == logging.CRITICAL
    outage.answered(BROKERS)
    outage.answered(BROKERS)
    assert messages(caplog) == ["the cluster answers again, after 60 s (since 2013-07-01T00:00:00.000Z)"]
    assert client_log.level == logging.ERROR


def test_a_long_outage_is_mentioned_again_from_time_to_time(
    caplog: pytest.LogCaptureFixture, client_log: logging.Logger
) -> None:
    clock = ManualClock()
    outage = OutageLog(clock=clock, client_log=client_log)
    for _ in range(2 * round(REMIND_S) + 1):
        outage.silent("refused")
        clock.advance(1)
    assert messages(caplog)[1:] == [
        "no broker answers since 2013-07-01T00:00:00.000Z, for 300 s: refused",
        "no broker answers since 2013-07-01T00:00:00.000Z, for 600 s: refused",
    ]


def test_one_broker_of_three_that_goes_away_and_comes_back(
    caplog: pytest.LogCaptureFixture, client_log: logging.Logger
) -> None:
    clock = ManualClock()
    outage = OutageLog(clock=clock, client_log=client_log)
    outage.answered(BROKERS)
    for _ in range(3):
        outage.answered({1: "one:9092", 3: "three:9092"})
        clock.advance(10)
    assert messages(caplog) == ["broker 2 (two:9092) has left the cluster; 2 are there"]
    assert client_log.level == logging.CRITICAL
    outage.answered(BROKERS)
    assert messages(caplog) == ["broker 2 (two:9092) is back, after 30 s (since 2013-07-01T00:00:00.000Z)"]
    assert client_log.level == logging.ERROR


def test_whoever_asks_for_the_clients_lines_gets_them(client_log: logging.Logger) -> None:
    client_log.setLevel(logging.DEBUG)
    outage = OutageLog(clock=ManualClock(), client_log=client_log)
    outage.silent("refused")
    assert client_log.level == logging.DEBUG


def test_at_the_end_the_client_may_log_again(client_log: logging.Logger) -> None:
    outage = OutageLog(clock=ManualClock(), client_log=client_log)
    outage.silent("refused")
    outage.stop()
    assert client_log.level == logging.ERROR


def test_a_broker_that_was_removed_keeps_nothing_back_for_ever(
    caplog: pytest.LogCaptureFixture, client_log: logging.Logger
) -> None:
    clock = ManualClock()
    outage = OutageLog(clock=clock, client_log=client_log)
    outage.answered(BROKERS)
    for _ in range(3):
        outage.answered({1: "one:9092", 3: "three:9092"})
        clock.advance(FORGET_S)
    assert len(messages(caplog)) == 1 and client_log.level == logging.ERROR
