"""The line in the log about personal data that was found."""

from __future__ import annotations

import logging

import pytest

from forebay.stream.worker.findings_log import INTERVAL_S, FindingsLog
from tests.core.build import ManualClock


def test_new_findings_are_reported_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    clock = ManualClock()
    findings = FindingsLog(clock)

    def lines(found: dict[tuple[str, str], int]) -> list[str]:
        caplog.clear()
        with caplog.at_level(logging.INFO, "forebay.privacy"):
            findings.report(found)
        return caplog.messages

    assert lines({}) == []
    assert lines({("ids", "email"): 2}) == ["found personal data in what is written: email in ids (2)"]
    assert lines({("ids", "email"): 3}) == [], "within the minute"
    clock.advance(INTERVAL_S)
    now = {("ids", "email"): 5, ("keys", "ip"): 1}
    assert lines(now) == ["found personal data in what is written: email in ids (3), ip in keys (1)"]
    clock.advance(INTERVAL_S)
    assert lines(now) == [], "nothing new"
