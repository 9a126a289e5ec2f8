"""The status and the metrics of a worker have one source for the lag, and one for readiness."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any, cast

from forebay.stream.admin.status_observer import StatusObserver
from forebay.stream.admin.view import WorkerComponents, WorkerView
from forebay.stream.config.sections import Settings, TelemetrySection
from forebay.stream.core.circuit_breaker import CircuitBreaker
from forebay.stream.core.group import Member
from forebay.stream.core.model_ref import ModelRef
from forebay.stream.core.records import Epoch, PartitionLag, TopicPartition
from forebay.stream.kafka.consumer.lag_poller import LagPoller
from forebay.stream.pipeline.in_flight import Bounds, InFlight
from forebay.stream.pipeline.observer import NullObserver
from forebay.stream.pipeline.pipeline import Pipeline
from forebay.stream.pipeline.stages import Breakers
from forebay.stream.telemetry.polled_gauges import PolledComponents
from forebay.stream.telemetry.telemetry import ModelOnDevice, Telemetry, WorkerIdentity
from tests.core.build import MODEL, P0, P1, ManualClock

IDENTITY = WorkerIdentity(
    models=[ModelOnDevice(ModelRef("m", 7), "cpu")],
    instance="me",
    group_id="g",
    transactional=True,
    max_in_flight_events=100,
)


class Source:
    """A source whose partitions a test decides."""

    assignments = 1
    paused = False

    def __init__(self) -> None:
        self.epoch: Epoch | None = Epoch(1, "member", None, 1)
        self.joined = True
        self.lags: dict[TopicPartition, PartitionLag] = {}
        self.polls = 0

    async def partition_lags(self) -> Mapping[TopicPartition, PartitionLag]:
        self.polls += 1
        return dict(self.lags)

    async def ask_cluster(self) -> None:
        pass

    async def members(self) -> Sequence[Member]:
        return ()


class Worker:
    """The parts of a worker that the status and the metrics are made of."""

    def __init__(self) -> None:
        clock = ManualClock()
        self.clock, self.source, in_flight = clock, Source(), InFlight(Bounds(100, 1000, 10))
        breakers = Breakers(_breaker(), {MODEL: _breaker()})
        self.pipeline = Pipeline(
            in_flight, breakers, NullObserver(), revoke_timeout_s=1.0, max_poll_records=10, clock=clock
        )
        self.telemetry = Telemetry(TelemetrySection(), IDENTITY, clock=clock, environ={})
        self.lag = LagPoller(self.source, self.telemetry.record_lag, clock=clock)
        model = SimpleNamespace(name="m", version=7, signature=SimpleNamespace(window=None))
        device = SimpleNamespace(running_for_s=lambda: 0.0)
        status_observer = StatusObserver(clock=clock)
        components = WorkerComponents(
            model=cast(Any, model),
            pipeline=self.pipeline,
            breakers=breakers,
            device=cast(Any, device),
            source=self.source,
            lag=self.lag,
            status_observer=status_observer,
        )
        self.view = WorkerView(Settings(), components, worker="me", clock=clock)
        self.view.polled.warm = True
        self.breakers = breakers
        self.telemetry.attach(
            PolledComponents(
                self.source,
                in_flight,
                breakers.by_name(),
                totals=self.pipeline.totals,
                lanes_status=lambda: [],
                is_ready=lambda: self.view.readiness().ok,
            )
        )

    def metric(self, start: str) -> list[str]:
        page, _ = self.telemetry.page()
        return [line for line in page.decode().splitlines() if line.startswith(start)]


def _breaker() -> CircuitBreaker:
    return CircuitBreaker(failure_threshold=1, reset_timeout_s=60, on_change=lambda state, reason: None)


async def test_the_status_and_the_metrics_report_the_same_poll() -> None:
    worker = Worker()
    worker.source.lags = {P0: PartitionLag(3, 10), P1: PartitionLag(4, 4)}
    await worker.lag.poll()
    worker.source.lags = {P0: PartitionLag(9, 99)}  # unknown to both before the next poll
    status = worker.view.status(since=None)
    assert (status["lag"], status["health"]["cluster_answered_ago_s"]) == (7, 0)
    assert [(row["position"], row["end"], row["lag"]) for row in status["partitions"]] == [(3, 10, 7), (4, 4, 0)]
    assert worker.metric("forebay_consumer_lag_records{") == [
        'forebay_consumer_lag_records{partition="0",topic="features"} 7.0',
        'forebay_consumer_lag_records{partition="1",topic="features"} 0.0',
    ]
    assert worker.source.polls == 1


async def test_the_status_and_the_metrics_report_the_same_readiness() -> None:
    worker = Worker()

    def reported() -> tuple[bool, list[str]]:
        return worker.view.status(since=None)["health"]["ready"], worker.metric("forebay_ready ")

    assert reported() == (True, ["forebay_ready 1.0"])
    worker.source.epoch = None  # a rebalance has begun
    assert reported() == (False, ["forebay_ready 0.0"])
    worker.source.epoch = Epoch(2, "member", None, 2)
    assert reported() == (True, ["forebay_ready 1.0"])
    worker.pipeline.stop()
    assert reported() == (False, ["forebay_ready 0.0"])


async def test_the_status_and_the_metrics_name_the_same_breakers() -> None:
    worker = Worker()
    worker.breakers.models[MODEL].trip(worker.clock.monotonic_s(), "for this test")
    states = {name: breaker["state"] for name, breaker in worker.view.status(since=None)["breakers"].items()}
    assert states == {"model": "open", "cluster": "closed"}
    assert worker.metric("forebay_breaker_state{") == [
        'forebay_breaker_state{breaker="model"} 2.0',
        'forebay_breaker_state{breaker="cluster"} 0.0',
    ]
