"""The quality that the evaluator publishes while the demo runs, and its comparison with the demo's own figures."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from forebay.schemas.topics import QUALITY, topic_name
from forebay.stream.aggregate.topic_follower import TopicFollower
from forebay.stream.config.evaluator_group import evaluator_group
from forebay.stream.config.sections import Settings
from forebay.stream.core.cancellation import raise_if_cancelled
from forebay.stream.core.clock import Clock
from forebay.stream.kafka.client import client_options
from forebay.stream.quality.metrics import metrics
from forebay.stream.quality.view import QualityView

TIMEOUT_S: Final = 30.0
POLL_S: Final = 0.3


@dataclass(frozen=True, slots=True)
class EvaluatedVersion:
    """The quality of a model version so far. roc_auc: None while only one class has occurred."""

    model: str
    version: int
    predictions: int
    matched: int
    accuracy: float
    roc_auc: float | None
    log_loss: float

    def line(self) -> str:
        """Return the figures as text."""
        auc = "–" if self.roc_auc is None else f"{self.roc_auc:.3f}"
        right = f"{self.accuracy:.1%} of {self.matched:,} labels right"
        return f"v{self.version}: {right}, ROC AUC {auc}, log loss {self.log_loss:.3f}"


def evaluated_versions(view: QualityView) -> tuple[EvaluatedVersion, ...]:
    """Return the quality of each version that has labels, over all windows."""
    found = []
    for subject in view.subjects():
        total = None if subject.slice else view.total(subject.model, subject.version)
        if total is None:
            continue
        measured = metrics(total)
        if measured.accuracy is not None and measured.log_loss is not None:
            found.append(
                EvaluatedVersion(
                    model=subject.model,
                    version=subject.version,
                    predictions=measured.predictions,
                    matched=measured.matched,
                    accuracy=measured.accuracy,
                    roc_auc=measured.roc_auc,
                    log_loss=measured.log_loss,
                )
            )
    return tuple(found)


class QualityFollower:
    """Follows the topic of the evaluator. latest: the quality of each version so far."""

    def __init__(self, settings: Settings, *, clock: Clock) -> None:
        topic = topic_name(settings.topics.prefix, QUALITY.name)
        self._follower = TopicFollower(client_options(settings.kafka), [topic], clock=clock)
        self._view = QualityView(group=evaluator_group(settings))
        self._clock = clock
        self.latest: tuple[EvaluatedVersion, ...] = ()

    async def start(self) -> None:
        """Connect. Raises BrokerError."""
        await self._follower.start()

    async def stop(self) -> None:
        """Close the client."""
        await self._follower.stop()

    async def follow(self) -> None:
        """Read what is published, until cancelled. Raises BrokerError."""
        while True:
            await self.read()
            await asyncio.sleep(POLL_S)

    async def read(self) -> None:
        """Read what was published since the last call."""
        async for _partition, records in self._follower.read_new():
            for record in records:
                self._view.read(record.value)
            await asyncio.sleep(0)
        self.latest = evaluated_versions(self._view)

    async def wait_for(self, matched: int, *, check: Callable[[], None]) -> None:
        """Read until that many predictions have their label, or for TIMEOUT_S.

        check: raises an error if waiting is pointless, such as after the evaluator has ended.
        """
        deadline_s = self._clock.monotonic_s() + TIMEOUT_S
        while sum(version.matched for version in self.latest) < matched and self._clock.monotonic_s() < deadline_s:
            raise_if_cancelled()  # after an interrupt
            check()
            await self.read()
            await asyncio.sleep(POLL_S / 3)
