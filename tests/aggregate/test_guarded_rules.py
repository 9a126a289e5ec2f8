"""An error of the rules about one topic ends neither the aggregator nor other rules."""

from __future__ import annotations

import logging

import pytest

from forebay.schemas.errors import BrokerError
from forebay.stream.aggregate.alert_state import RuleKey
from forebay.stream.aggregate.guarded_rules import GuardedRules


class Evaluator:
    """Raises the given errors, one in each evaluation; None for none. calls: what was called."""

    topic = "quality"

    def __init__(self, *errors: Exception | None) -> None:
        self._errors = list(errors)
        self.calls: list[str] = []

    def firing(self) -> list[RuleKey]:
        return [RuleKey("worse", "fraud")]

    async def evaluate(self, *, active: bool) -> None:
        self.calls.append(f"evaluate {active}")
        error = self._errors.pop(0)
        if error is not None:
            raise error

    async def stop(self) -> None:
        self.calls.append("stop")


async def test_errors_are_logged_when_they_are_new_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    gone = BrokerError("no topic quality", remedy="create it")
    evaluator = Evaluator(None, gone, gone, KeyError("x"), KeyError("x"), None, KeyError("x"))
    rules = GuardedRules(evaluator)
    for _ in range(7):
        await rules.evaluate(active=True)
    assert rules.num_errors == 5
    assert evaluator.calls == [
        *["evaluate True"] * 2,
        "stop",
        *["evaluate True", "stop"] * 3,
        *["evaluate True"] * 2,
        "stop",
    ]
    assert [(record.levelno, record.exc_info is not None) for record in caplog.records] == [
        (logging.WARNING, False),
        (logging.ERROR, True),
        (logging.INFO, False),
        (logging.ERROR, True),
    ]
    assert "cannot evaluate the alert rules about quality: no topic quality (create it)" in caplog.text
    assert (rules.topic, rules.firing()) == ("quality", [RuleKey("worse", "fraud")])
