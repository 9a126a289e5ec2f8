"""The filter of Faust's log lines."""

from __future__ import annotations

import logging

import pytest
from mode import Service

from forebay.stream.aggregate.faust_logging import quiet_faust
from forebay.stream.aggregate.table import StateTable
from forebay.stream.aggregate.transport import AggregatorApp, Consumer, ConsumerThread, Producer

COMPLAINT = "Thread keepalive is not responding..."
EVERYTHING = [COMPLAINT, "it broke", "by the way"]


class LoggedAsTheThread(Service):
    logger = ConsumerThread.logger


@pytest.fixture(autouse=True)
def _as_before() -> object:
    loggers = [logging.getLogger(name) for name in ("faust", "mode", "forebay.aggregate.faust")]
    before = [(logger, logger.level, list(logger.filters)) for logger in loggers]
    yield
    for logger, level, filters in before:
        logger.setLevel(level)
        logger.filters[:] = filters


@pytest.mark.parametrize(
    ("levels", "seen"),
    [("info", ["it broke"]), ("debug", EVERYTHING), ("info,forebay.aggregate.faust=debug", EVERYTHING)],
)
def test_the_log_line_after_a_frozen_process_is_dropped(
    levels: str, seen: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    quiet_faust(levels)
    # As a service logs: with its own name before the message.
    log = LoggedAsTheThread().log
    log.error(COMPLAINT)
    log.error("it broke")
    log.info("by the way")
    assert [record.getMessage().split("]: ")[1] for record in caplog.records] == seen


def test_classes_derived_from_faust_log_under_one_name() -> None:
    for service in (AggregatorApp, Consumer, ConsumerThread, Producer, StateTable):
        assert service.logger.name == "forebay.aggregate.faust"
