"""Evaluation of the alert rules about one topic that never ends the aggregator: an error is logged and counted."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Protocol

from forebay.schemas.errors import ForebayError
from forebay.stream.aggregate.alert_state import RuleKey

log = logging.getLogger("forebay.aggregate")


class RuleEvaluator(Protocol):
    """Evaluates rules, and may fail (see `AlertEvaluator`)."""

    @property
    def topic(self) -> str: ...
    def firing(self) -> Sequence[RuleKey]: ...
    async def evaluate(self, *, active: bool) -> None: ...
    async def stop(self) -> None: ...


class GuardedRules:
    """Evaluates rules. After an error the next call begins again: it reads the published alerts from the topic.

    num_errors: evaluations that failed.
    """

    def __init__(self, evaluator: RuleEvaluator) -> None:
        self._evaluator = evaluator
        self.num_errors = 0
        self._last_error = ""

    @property
    def topic(self) -> str:
        """The topic that the rules are about."""
        return self._evaluator.topic

    def firing(self) -> Sequence[RuleKey]:
        """Return what alerts fire for now."""
        return self._evaluator.firing()

    async def evaluate(self, *, active: bool) -> None:
        """Evaluate all rules once (see `AlertEvaluator.evaluate`). Raises nothing; an error is logged when it is a new one."""
        error_text = ""
        try:
            await self._evaluator.evaluate(active=active)
        except ForebayError as error:  # without the topic, for example, the other rules continue
            error_text = error.message
            if error_text != self._last_error:
                hint = f" ({error.remedy})" if error.remedy else ""
                log.warning("cannot evaluate the alert rules about %s: %s%s", self.topic, error.message, hint)
        except Exception as error:  # whatever is wrong here must end neither the counting nor the other rules
            error_text = f"{type(error).__name__}: {error}"
            if error_text != self._last_error:
                log.exception("alert rules about %s are not evaluated", self.topic)
        if error_text:
            self.num_errors += 1
            await self.stop()
        elif self._last_error:
            log.info("alert rules about %s are evaluated again", self.topic)
        self._last_error = error_text

    async def stop(self) -> None:
        """Stop reading the topic."""
        await self._evaluator.stop()
