"""Follows the topic `drift` for the metrics of the active aggregator. Alert rules about drift have a detector of their own."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Final

from forebay.schemas.errors import DataError, ForebayError
from forebay.schemas.topics import DRIFT, topic_name
from forebay.stream.aggregate.topic_follower import TopicFollower
from forebay.stream.config.sections import Settings
from forebay.stream.core.clock import Clock
from forebay.stream.drift.detector import GRACE_MS, Detector, WindowState, WindowVerdict
from forebay.stream.drift.findings import DriftFinding
from forebay.stream.drift.measures import DriftThresholds, Level, Measure
from forebay.stream.drift.wire import decode_drift
from forebay.stream.kafka.client import client_options
from forebay.stream.telemetry import catalogue as c
from forebay.stream.telemetry.metric_store import MetricStore

log = logging.getLogger("forebay.drift")

INTERVAL_S: Final = 5.0
LOOK_BACK: Final = 4
"""How many times as many windows as a finding needs are read at the start."""


class DriftMonitor:
    """Judges drift while this process is the active one.

    is_active: returns whether this process is the one that evaluates and judges.
    """

    def __init__(self, settings: Settings, *, is_active: Callable[[], bool], clock: Clock) -> None:
        drift = settings.drift
        self._options = client_options(settings.kafka)
        self._topic = topic_name(settings.topics.prefix, DRIFT.name)
        self._thresholds = DriftThresholds(drift.warn, drift.alarm, windows=drift.windows, min_rows=drift.min_rows)
        self._window_ms = drift.window_s * 1000
        self._is_active = is_active
        self._clock = clock
        self._follower: TopicFollower | None = None
        self._detector = Detector(self._thresholds)
        self.error: str | None = None

    async def run(self) -> None:
        """Follow the topic until cancelled. Errors are logged once, and never end the process."""
        try:
            while True:
                await asyncio.sleep(INTERVAL_S)
                await self.try_update()
        finally:
            await self._close()

    async def try_update(self) -> None:
        """Read new records and judge. After an error, the next call begins again."""
        try:
            await self.update()
        except ForebayError as error:
            if error.message != self.error:
                log.warning("cannot follow the drift of models: %s", error.message)
            self.error = error.message
            await self._close()
        except Exception as error:  # whatever is wrong here must not end the counting of failures
            if (message := f"{type(error).__name__}: {error}") != self.error:
                log.exception("the drift of models is not known: judging failed")
            self.error = message
            await self._close()
        else:
            self.error = None

    async def update(self) -> None:
        """Read new records and judge. Raises BrokerError."""
        if not self._is_active():
            await self._close()
            return
        now_ms = self._clock.wall_ms()
        if self._follower is None:
            since_ms = now_ms - LOOK_BACK * (self._thresholds.windows + 1) * self._window_ms
            self._detector = Detector(self._thresholds, complete_from_ms=since_ms)
            self._follower = TopicFollower(self._options, [self._topic], clock=self._clock)
            await self._follower.start(since_ms=since_ms)
        async for _partition, records in self._follower.read_new():
            for record in records:
                try:
                    self._detector.add(decode_drift(record.value))
                except DataError as error:
                    log.debug("%s: offset %d: %s", self._topic, record.offset, error.message)
        self._detector.advance(now_ms)

    async def _close(self) -> None:
        follower, self._follower = self._follower, None
        self._detector = Detector(self._thresholds)
        if follower is not None:
            await asyncio.shield(follower.stop())

    def findings(self) -> list[DriftFinding]:
        """Return the findings in effect."""
        return self._detector.findings()

    def verdicts(self) -> list[WindowVerdict]:
        """Return the last judged window of each version that is still served."""
        now_ms, latest = self._clock.wall_ms(), []
        for ref in self._detector.versions():
            judged = [one for one in self._detector.history(ref) if one.state is WindowState.JUDGED]
            if judged and now_ms - judged[-1].key.window_end <= 2 * self._window_ms + 2 * GRACE_MS:
                latest.append(judged[-1])
        return latest

    def to_dict(self) -> dict[str, Any]:
        """Return what was found as JSON values."""
        return {
            "error": self.error,
            "findings": [finding.to_dict() for finding in self.findings()],
            "windows": [verdict.to_dict() for verdict in self.verdicts()],
        }

    def record(self, store: MetricStore) -> None:
        """Set the gauges of drift."""
        psi: dict[tuple[str, ...], float] = {}
        shares: dict[tuple[str, ...], float] = {}
        rows: dict[tuple[str, ...], float] = {}
        for verdict in self.verdicts():
            version = (verdict.key.model, str(verdict.key.version))
            rows[version] = verdict.rows
            for column in verdict.columns:
                for found in column.compared:
                    labels = (*version, column.name, column.kind.value)
                    if found.measure is Measure.PSI:
                        psi[labels] = found.value
                    elif found.measure is not Measure.PSI_RECENT:
                        shares[(*labels, found.measure.value)] = found.value
        store.replace(c.DRIFT_PSI, psi)
        store.replace(c.DRIFT_SHARE, shares)
        store.replace(c.DRIFT_ROWS, rows)
        store.replace(c.DRIFT_FINDINGS, self._counts())

    def _counts(self) -> dict[tuple[str, ...], float]:
        findings = self.findings()
        versions = sorted({*self._detector.versions(), *(finding.key.ref for finding in findings)})
        return {
            (ref.name, str(ref.version), level.value): sum(
                finding.key.ref == ref and finding.level is level for finding in findings
            )
            for ref in versions
            for level in Level
        }
