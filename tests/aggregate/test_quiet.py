"""What of Faust's log lines is seen."""

from __future__ import annotations

import logging

import pytest
from mode import Service

from forebay.stream.aggregate.quiet import quieten
from forebay.stream.aggregate.transport import ConsumerThread

COMPLAINT = "Thread keepalive is not responding..."


class LoggedAsTheThread(Service):
    __module__ = ConsumerThread.__module__


@pytest.fixture(autouse=True)
def _as_before() -> object:
    loggers = [
        logging.getLogger(name)
        for name in ("faust", "mode", "forebay.stream.aggregate.transport", "forebay.stream.aggregate.table")
    ]
    before = [(logger, logger.level, list(logger.filters)) for logger in loggers]
    yield
    for logger, level, filters in before:
        logger.setLevel(level)
        logger.filters[:] = filters


@pytest.mark.parametrize(("levels", "seen"), [("info", ["it broke"]), ("debug", [COMPLAINT, "it broke", "by the way"])])
def test_a_process_that_was_frozen_does_not_complain(
    levels: str, seen: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    quieten(levels)
    # As a service logs: with its own name before the message.
    log = LoggedAsTheThread().log
    log.error(COMPLAINT)
    log.error("it broke")
    log.info("by the way")
    assert [record.getMessage().split("]: ")[1] for record in caplog.records] == seen
