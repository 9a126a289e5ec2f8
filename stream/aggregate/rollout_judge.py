"""The judge of rollouts: follows revisions and outcome deltas and writes the next revision, in one process at a time."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final, Protocol

from forebay.schemas.errors import ConfigError
from forebay.schemas.topics import QUALITY, topic_name
from forebay.stream.aggregate.delta import parse_measured_delta
from forebay.stream.aggregate.rollout_alerts import RolloutAlerts
from forebay.stream.aggregate.rollout_quality import QualityTopic, RolloutQuality
from forebay.stream.aggregate.topic_follower import TopicFollower
from forebay.stream.aggregate.webhook import Notification
from forebay.stream.config.evaluator_group import evaluator_group
from forebay.stream.config.rollouts_section import RolloutsSection
from forebay.stream.config.sections import Settings
from forebay.stream.control.rollout_store import RolloutConflict
from forebay.stream.core.clock import Clock
from forebay.stream.rollouts.checks import Thresholds
from forebay.stream.rollouts.judge import Decision, Verdict, next_revision
from forebay.stream.rollouts.quality_checks import QualityLimits
from forebay.stream.rollouts.revision import Revision
from forebay.stream.rollouts.revision_log import RevisionLog
from forebay.stream.rollouts.rollout_windows import RolloutWindows
from forebay.stream.rollouts.version_stats import VersionStats

log = logging.getLogger("forebay.rollouts.judge")

LOOK_BACK_MS: Final = 3_600_000
"""How far back outcome deltas are read when a process starts to judge. A longer step counts its events again from there."""
ALERT_HISTORY_MS: Final = 30 * 86_400_000
"""How far back published alerts are read. Older rollbacks raise no alert."""

Publish = Callable[[bytes, bytes], Awaitable[None]]


class RevisionStore(Protocol):
    """The topic `rollouts` (see `control.rollout_store`)."""

    log: RevisionLog

    async def start(self) -> None: ...
    async def refresh(self) -> list[Revision]: ...
    async def propose(self, revision: Revision) -> None: ...
    async def stop(self) -> None: ...


class RolloutJudge:
    """Judges all canaries while this process is the active one.

    open_store: returns a store that is not started.
    deltas, alerts: full names of the topics.
    quality: where the quality of versions is read; None if it is not judged.
    publish: writes a record to the topic `alerts`.
    notify: receives each alert too, for the webhook.
    new_id: returns a new random id.
    """

    def __init__(
        self,
        section: RolloutsSection,
        options: Mapping[str, object],
        open_store: Callable[[], RevisionStore],
        *,
        deltas: str,
        alerts: str,
        quality: QualityTopic | None = None,
        publish: Publish,
        notify: Callable[[Notification], None] | None,
        clock: Clock,
        new_id: Callable[[], str],
    ) -> None:
        self._thresholds = thresholds_of(section)
        self._options = options
        self._open_store = open_store
        self._deltas = deltas
        self._alerts = alerts
        self._publish = publish
        self._notify = notify
        self._clock = clock
        self._new_id = new_id
        self._store: RevisionStore | None = None
        self._windows: RolloutWindows
        self._published: RolloutAlerts
        self._follower: TopicFollower | None = None
        self._quality = RolloutQuality(options, quality, clock=clock)
        self._verdicts: dict[tuple[str, int], Verdict] = {}

    @property
    def verdicts(self) -> list[Verdict]:
        """The last verdict on each canary; empty in a process that does not judge."""
        return list(self._verdicts.values())

    async def evaluate(self, *, active: bool) -> None:
        """Read what is new, judge each canary once, and carry out the verdicts. Raises BrokerError or DataError.

        active: False if another process judges.
        """
        if not active:
            await self.stop()
            return
        if self._store is None:
            await self._begin()
        assert self._store is not None
        if await self._store.refresh():
            self._windows.update()
        await self._publish_alerts(self._store)
        await self._read_deltas()
        await self._quality.read(self._windows)
        verdicts = self._windows.verdicts(now_ms=self._clock.wall_ms())
        self._log_changes(verdicts)
        self._verdicts = {(verdict.model, verdict.version): verdict for verdict in verdicts}
        for verdict in verdicts:
            if verdict.decision.changes:
                await self._carry_out(verdict, self._store)

    async def stop(self) -> None:
        """Close the clients and forget everything, which the next `evaluate` reads again."""
        store, self._store = self._store, None
        follower, self._follower = self._follower, None
        self._verdicts = {}
        for client in (follower, self._quality, store):
            if client is not None:
                await client.stop()

    # ---- reading

    async def _begin(self) -> None:
        published: list[bytes | None] = []
        history = TopicFollower(self._options, [self._alerts], clock=self._clock)
        try:
            await history.start(since_ms=self._clock.wall_ms() - ALERT_HISTORY_MS)
            async for _partition, records in history.read_new():
                published += [record.value for record in records]
        finally:
            await history.stop()
        self._published = RolloutAlerts(published)
        store = self._open_store()
        try:
            await store.start()
        except BaseException:
            await store.stop()
            raise
        self._store = store
        self._windows = RolloutWindows(store.log, self._thresholds)
        self._windows.update()
        log.info("judging the canaries of rollouts; %s", _count(store.log.models(), "model has", "models have"))

    async def _read_deltas(self) -> None:
        """Add what versions did since the last call. Nothing is read while there is no canary."""
        since_ms = self._windows.since_ms
        if since_ms is None:
            follower, self._follower = self._follower, None
            if follower is not None:
                await follower.stop()
            return
        if self._follower is None:
            self._follower = TopicFollower(self._options, [self._deltas], clock=self._clock)
            await self._follower.start(since_ms=max(since_ms, self._clock.wall_ms() - LOOK_BACK_MS))
        async for _partition, records in self._follower.read_new():
            for record in records:
                add_delta(self._windows, record.value, record.timestamp)

    # ---- acting

    async def _carry_out(self, verdict: Verdict, store: RevisionStore) -> None:
        current = store.log.current(verdict.model)
        if current is None or current.number != verdict.revision:
            return  # another verdict on the same model was carried out; the next one is based on it
        try:
            following = next_revision(current, verdict, id=self._new_id(), now_ms=self._clock.wall_ms())
            await store.propose(following)
        except ConfigError as error:
            log.warning("model %s, version %d: %s is not possible: %s", *_words(verdict), error.message)
            return
        except RolloutConflict as error:
            log.info("model %s, version %d: %s came too late: %s", *_words(verdict), error.message)
            return
        level = logging.WARNING if verdict.decision is Decision.ROLL_BACK else logging.INFO
        log.log(level, "model %s, version %d: %s, revision %d: %s", *_words(verdict), following.number, verdict.reason)
        await store.refresh()
        self._windows.update()
        await self._publish_alerts(store)

    async def _publish_alerts(self, store: RevisionStore) -> None:
        now_ms = self._clock.wall_ms()
        for alert in self._published.due(store.log, now_ms=now_ms, since_ms=now_ms - ALERT_HISTORY_MS):
            await self._publish(*alert.to_record())
            self._published.on_published(alert)
            log.warning("alert %s: %s", alert.status.value, alert.message)
            if self._notify is not None:
                self._notify(alert)

    def _log_changes(self, verdicts: Sequence[Verdict]) -> None:
        for verdict in verdicts:
            before = self._verdicts.get((verdict.model, verdict.version))
            if before is None or (before.decision, before.check) != (verdict.decision, verdict.check):
                log.info("model %s, version %d: %s: %s", *_words(verdict), verdict.reason)


def thresholds_of(section: RolloutsSection) -> Thresholds:
    """Return the limits of the configuration."""
    return Thresholds(
        window_s=section.judge_window_s,
        windows=section.judge_windows,
        min_events=section.judge_min_events,
        max_non_finite=section.max_non_finite,
        max_failure_rate=section.max_failure_rate,
        max_failure_ratio=section.max_failure_ratio,
        max_latency_ratio=section.max_latency_ratio,
        max_cost_ratio=section.max_cost_ratio,
        quality=_quality_limits(section),
    )


def _quality_limits(section: RolloutsSection) -> QualityLimits | None:
    if section.quality_metric is None:
        return None
    return QualityLimits(
        section.quality_metric,
        section.guard_rails,
        min_effect=section.min_effect,
        alpha=section.quality_alpha,
    )


def quality_topic(settings: Settings) -> QualityTopic | None:
    """Return where the quality of versions is read; None if the judge does not use it."""
    if settings.rollouts.quality_metric is None:
        return None
    return QualityTopic(topic_name(settings.topics.prefix, QUALITY.name), evaluator_group(settings))


def add_delta(windows: RolloutWindows, value: bytes | None, timestamp_ms: int) -> None:
    """Add an outcome delta. timestamp_ms: of its record. Anything else than a delta is ignored."""
    parsed = parse_measured_delta(value)
    if parsed is None:
        return
    delta, performance = parsed.delta, parsed.performance
    stats = VersionStats() if performance is None else VersionStats(performance=performance)
    if not delta.cell.of_window:
        stats.add_outcomes(delta.cell.kind, delta.count)
    windows.add(delta.model, delta.version, timestamp_ms, stats)


def _words(verdict: Verdict) -> tuple[str, int, str]:
    return verdict.model, verdict.version, verdict.decision.value.replace("_", " ")


def _count(items: Sequence[object], one: str, several: str) -> str:
    return f"{len(items)} {one if len(items) == 1 else several} revisions"
