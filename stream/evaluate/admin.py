"""The evaluator's admin API: probes and metrics."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from aiohttp import web

from forebay.schemas.topics import QUALITY, topic_name
from forebay.stream.admin.health import Verdict
from forebay.stream.admin.responses import json_response
from forebay.stream.admin.role_admin import RoleAdmin
from forebay.stream.config.evaluator_group import evaluator_group
from forebay.stream.config.sections import Settings
from forebay.stream.core.clock import Clock
from forebay.stream.core.records import PartitionLag, TopicPartition
from forebay.stream.evaluate.evaluator import Evaluator
from forebay.stream.evaluate.quality_monitor import QualityMonitor
from forebay.stream.evaluate.quality_page import STYLE, ServedPage, quality_page
from forebay.stream.kafka.client import client_options
from forebay.stream.quality.wire import LabelCounts
from forebay.stream.telemetry import catalogue as c
from forebay.stream.telemetry.lag import LagMeter
from forebay.stream.telemetry.metric_store import MetricStore
from forebay.stream.telemetry.prometheus import render_page
from forebay.stream.telemetry.quality_metrics import QualityRecorder
from forebay.stream.telemetry.resources import record_build

STALLED_AFTER_S: Final = 60.0
PAGE_REFRESH_S: Final = 30
STYLE_PATH: Final = "/page/quality.css"


@dataclass(slots=True)
class Progress:
    """The state of the process, for its probes. started: whether the group was joined."""

    started: bool = False


class EvaluatorAdmin:
    """Serves probes, metrics and the quality of models. progress: to be updated by the service."""

    def __init__(self, settings: Settings, evaluator: Evaluator, *, clock: Clock) -> None:
        self._evaluator = evaluator
        self._clock = clock
        self._stalled_after_s = STALLED_AFTER_S + settings.delivery.commit_timeout_ms / 1000
        self._store = MetricStore()
        record_build(self._store)
        self.progress = Progress()
        self._lag_meter = LagMeter()
        self._admin = RoleAdmin(
            settings,
            liveness=self.liveness,
            readiness=self.readiness,
            metrics=self._metrics,
            routes=[
                web.get("/quality", self._quality),
                web.get("/quality.html", self._quality_page),
                web.get(STYLE_PATH, self._style),
            ],
            clock=clock,
        )
        self.quality = QualityMonitor(
            client_options(settings.kafka),
            topic_name(settings.topics.prefix, QUALITY.name),
            group=evaluator_group(settings),
            span_ms=settings.evaluate.horizon_s * 1000,
            on_view=QualityRecorder(self._store, span_ms=settings.evaluate.horizon_s * 1000).record,
            clock=clock,
        )

    async def start(self) -> str | None:
        """Start to listen and return the URL; None if the admin API is disabled. Raises ConfigError."""
        return await self._admin.start()

    async def stop(self) -> None:
        """Stop listening."""
        await self._admin.stop()

    def liveness(self) -> Verdict:
        """Fail if the loop is stuck, but not because it waits for the cluster."""
        last_s = self._evaluator.last_step_s
        for_s = 0.0 if last_s is None or self._evaluator.is_reconnecting else self._clock.monotonic_s() - last_s
        stalled = for_s > self._stalled_after_s
        return Verdict(not stalled, (f"nothing has been read or committed for {for_s:.0f} s",) if stalled else ())

    def readiness(self) -> Verdict:
        """Succeed once the group is joined and what waited is in memory again."""
        joins = self._evaluator.joins
        if not self.progress.started:
            return Verdict(False, ("joining the group",))
        if (error := self._evaluator.waits_for) is not None:
            return Verdict(False, (f"{error}; {error.remedy}",), {"partitions": joins.numbers})
        if (problem := self._evaluator.waits_for_schema) is not None:
            return Verdict(False, (problem,), {"partitions": joins.numbers})
        if not joins.is_restored:
            return Verdict(False, ("reading the waiting predictions and labels again",), {"partitions": joins.numbers})
        return Verdict(True, (), {"partitions": joins.numbers})

    def record_lag(self, partition_lags: Mapping[TopicPartition, PartitionLag]) -> None:
        """Publish the consumer lag."""
        lags = self._lag_meter.measure(partition_lags, {}, now_ms=self._clock.wall_ms())
        labels = {partition: (partition.topic, str(partition.partition)) for partition in lags}
        self._store.replace(c.CONSUMER_LAG_RECORDS, {labels[key]: lag.records for key, lag in lags.items()})
        self._store.replace(c.CONSUMER_LAG, {labels[key]: lag.seconds for key, lag in lags.items()})

    async def _quality(self, _request: web.Request) -> web.Response:
        return json_response(self.quality.report().to_dict())

    async def _quality_page(self, _request: web.Request) -> web.Response:
        page = quality_page(self.quality.report(), served=ServedPage(STYLE_PATH, PAGE_REFRESH_S))
        return web.Response(text=page, content_type="text/html")

    async def _style(self, _request: web.Request) -> web.Response:
        return web.Response(text=STYLE, content_type="text/css")

    def _metrics(self, accept: str) -> tuple[bytes, str]:
        store = self._store
        store.set(c.READY, int(self.readiness().ok))
        joins, totals = self._evaluator.joins, self._evaluator.totals
        store.set(c.EVALUATE_PARTITIONS, len(joins.numbers))
        store.set(c.EVALUATE_RESTORING, joins.num_restoring)
        store.set(c.EVALUATE_WAITING_PREDICTIONS, joins.num_waiting_predictions)
        store.set(c.EVALUATE_WAITING_LABELS, joins.num_waiting_labels)
        store.replace(
            c.EVALUATE_LABEL_TIME, {(str(number),): time_ms / 1000 for number, time_ms in joins.label_times().items()}
        )
        for metric, counts in (
            (c.EVALUATE_PREDICTIONS, totals.predictions),
            (c.EVALUATE_MATCHED, totals.matched),
            (c.EVALUATE_EVICTED, totals.evicted),
        ):
            store.replace_totals(metric, {(ref.name, str(ref.version)): count for ref, count in counts.items()})
        store.replace_totals(
            c.EVALUATE_LABELS, {(name,): getattr(totals.labels, name) for name in LabelCounts.__struct_fields__}
        )
        store.replace_totals(
            c.EVALUATE_REFUSED,
            {(topic, reason.value): count for (topic, reason), count in joins.refusals.counts.items()},
        )
        store.set_total(c.EVALUATE_RECORDS, totals.records)
        store.replace_totals(c.EVALUATE_COMMITS, {("committed",): totals.commits, ("failed",): totals.failed_commits})
        return render_page(store.snapshot(), accept=accept)
