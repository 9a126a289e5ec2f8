"""The status and the metrics of a worker have one source for the lag, and one for readiness."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

import numpy as np

from forebay.schemas.failures import FailureKind
from forebay.stream.admin.member_metadata import WorkerMetadata
from forebay.stream.admin.responses import encode_json
from forebay.stream.admin.served_model import ServedModel, ServedModels, WindowLane
from forebay.stream.admin.status_observer import StatusObserver
from forebay.stream.admin.view import WorkerComponents, WorkerView
from forebay.stream.admin.worker_status import decode_status
from forebay.stream.config.sections import Settings, TelemetrySection
from forebay.stream.config.window_section import WindowSection
from forebay.stream.core.circuit_breaker import CircuitBreaker
from forebay.stream.core.group import Member
from forebay.stream.core.model_ref import ModelRef
from forebay.stream.core.records import BatchResult, Epoch, MicroBatch, PartitionLag, TopicPartition, WindowStatus
from forebay.stream.kafka.consumer.lag_poller import LagPoller
from forebay.stream.output.ledger import Ledger
from forebay.stream.pipeline.in_flight import Bounds, InFlight
from forebay.stream.pipeline.lane_status import LaneStatus
from forebay.stream.pipeline.observer import CommitTimes, NullObserver
from forebay.stream.pipeline.pipeline import Pipeline
from forebay.stream.pipeline.stages import Breakers
from forebay.stream.rollouts.revision import Canary, Shadow, StepPolicy
from forebay.stream.rollouts.rollout_status import RolloutStatus
from forebay.stream.telemetry.polled_gauges import PolledComponents
from forebay.stream.telemetry.telemetry import ModelOnDevice, Telemetry, WorkerIdentity
from tests.core.build import JULY, MODEL, P0, P1, ManualClock, chunk, finish, signature
from tests.eventtime.build import plan
from tests.rollouts.build import MODEL as ROLLOUT_MODEL
from tests.rollouts.build import configured

WIDE = ModelRef("wide", 2)
IDENTITY = WorkerIdentity(
    models=[ModelOnDevice(MODEL, "cpu"), ModelOnDevice(WIDE, "cuda")],
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

    def __init__(self, *models: ModelRef) -> None:
        clock = ManualClock()
        self.clock, self.source, in_flight = clock, Source(), InFlight(Bounds(100, 1000, 10))
        models = models or (MODEL,)
        breakers = Breakers(_breaker(), {model: _breaker() for model in models})
        self.lanes = {model: lane(model, breakers.models[model]) for model in models}
        self.pipeline = Pipeline(
            in_flight, breakers, NullObserver(), revoke_timeout_s=1.0, max_poll_records=10, clock=clock
        )
        self.telemetry = Telemetry(TelemetrySection(), IDENTITY, clock=clock, environ={})
        self.lag = LagPoller(self.source, self.telemetry.record_lag, clock=clock)
        self.status_observer = StatusObserver(models, clock=clock)
        self.rollouts: list[RolloutStatus] = []
        self.models = ServedModels(served(model, breakers.models[model]) for model in models)
        components = WorkerComponents(
            models=self.models,
            lanes_status=self.lanes_status,
            pipeline=self.pipeline,
            breakers=breakers,
            source=self.source,
            lag=self.lag,
            status_observer=self.status_observer,
            rollouts=lambda: self.rollouts,
        )
        self.view = WorkerView(Settings(), components, worker="me", clock=clock)
        self.view.polled.warm = True
        self.breakers = breakers
        self.telemetry.attach(
            PolledComponents(
                self.source,
                in_flight,
                breakers.by_name,
                totals=self.pipeline.totals,
                lanes_status=self.lanes_status,
                is_ready=lambda: self.view.readiness().ok,
                rollouts=lambda: self.rollouts,
            )
        )

    def lanes_status(self) -> list[LaneStatus]:
        return list(self.lanes.values())

    def metric(self, start: str) -> list[str]:
        page, _ = self.telemetry.page()
        return [line for line in page.decode().splitlines() if line.startswith(start)]


def lane(model: ModelRef, breaker: CircuitBreaker) -> LaneStatus:
    """Return a lane with nothing in flight."""
    return LaneStatus(
        model,
        events=0,
        num_bytes=0,
        batches=0,
        waiting=0,
        blocked=None,
        topics=(f"for-{model.name}",),
        call_for_s=0.0,
        breaker=breaker,
    )


def served(model: ModelRef, breaker: CircuitBreaker) -> ServedModel:
    """Return a model; `wide` takes windows. Nothing is run here, so it has neither an executor nor an encoder."""
    settings = Settings().models_to_serve()[0]
    statuses = {P0: WindowStatus(5, 70, None, None), P1: WindowStatus(1, 3, None, None)}
    is_wide = model == WIDE
    return ServedModel(
        model,
        signature(4 if is_wide else 3),
        device="cuda" if is_wide else "cpu",
        settings=replace(settings, window=WindowSection(kind="tumbling", size_ms=1000)) if is_wide else settings,
        executor=cast(Any, None),
        breaker=breaker,
        encoder=cast(Any, None),
        windows=WindowLane(plan(), lambda: statuses) if is_wide else None,
    )


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


# ---- several models


def commit(worker: Worker, batches: Sequence[BatchResult], **predicted: int) -> None:
    """Commit batches and the predictions of models, by name; one more event of `wide` fails."""
    ledger = Ledger()
    for model in (MODEL, WIDE):
        ledger.of(model).add_predictions(P0, np.full(predicted[model.name], JULY - 50))
    ledger.of(WIDE).add_failure(P0, FailureKind.MODEL_ERROR, JULY - 5000, event_id=None, message="bad")
    worker.status_observer.on_committed(batches, ledger, CommitTimes(*range(6)))


def result(model: ModelRef, seq: int, offsets: Sequence[int], *, is_last_part: bool = True) -> BatchResult:
    batch = MicroBatch(seq, (chunk(offsets, model=model),), "size", 0.0)
    return replace(finish(batch), is_last_part=is_last_part)


def test_the_status_reports_each_model() -> None:
    worker = Worker(MODEL, WIDE)
    worker.breakers.models[WIDE].trip(worker.clock.monotonic_s(), "for this test")
    worker.lanes[WIDE] = worker.lanes[WIDE]._replace(events=9, waiting=2, blocked="breaker_open", call_for_s=1.25)
    commit(worker, [result(MODEL, 0, range(20)), result(WIDE, 0, range(5))], m=20, wide=4)
    worker.clock.advance(1)
    status = worker.view.status(since=None)
    assert status["model"] == {"name": "m", "version": 1}
    assert status["window"]["kind"] == "none" and status["in_flight"]["model_call_for_s"] == 1.25
    assert list(status["breakers"]) == ["model:m", "model:wide", "cluster"]
    first, second = status["models"]
    assert (first["name"], first["version"], first["topics"], first["device"]) == ("m", 1, ["for-m"], "cpu")
    assert (first["blocked"], first["breaker"]["state"]) == (None, "closed")
    assert first["totals"] == {"outcomes": {"predicted": 20}, "kinds": {}}
    assert (first["now"]["events_per_s"], first["now"]["batch_mean"]) == (2.0, 20)
    assert (second["name"], second["version"], second["topics"], second["device"]) == ("wide", 2, ["for-wide"], "cuda")
    assert (second["blocked"], second["breaker"]["state"]) == ("breaker_open", "open")
    assert second["in_flight"] == {
        "events": 9,
        "bytes": 0,
        "batches": 0,
        "waiting_batches": 2,
        "model_call_for_s": 1.25,
    }
    assert (second["window"]["kind"], second["window"]["open_windows"], second["window"]["buffered_rows"]) == (
        "tumbling",
        6,
        73,
    )
    assert second["totals"] == {"outcomes": {"predicted": 4, "failed": 1}, "kinds": {"model_error": 1}}
    assert (second["now"]["events_per_s"], second["now"]["failed_per_s"]) == (0.5, 0.1)
    assert first["now"]["latency_p99_ms"] < 100 < second["now"]["latency_p99_ms"]
    assert (status["now"]["events_per_s"], status["now"]["batch_mean"]) == (2.5, 12.5), "of the worker"


def test_a_batch_that_is_committed_in_parts_counts_once() -> None:
    worker = Worker(MODEL, WIDE)
    commit(worker, [result(MODEL, 3, range(6), is_last_part=False)], m=6, wide=0)
    commit(worker, [result(WIDE, 3, range(2)), result(MODEL, 3, range(4))], m=4, wide=1)
    worker.clock.advance(1)
    first, second = worker.view.status(since=None)["models"]
    assert (first["now"]["batch_mean"], first["now"]["batch_max"]) == (10, 10)
    assert (second["now"]["batch_mean"], second["now"]["batch_max"]) == (2, 2)
    commit(worker, [result(MODEL, 4, range(6), is_last_part=False)], m=6, wide=0)
    worker.status_observer.on_purged()  # a rewind: sequence numbers are used again
    commit(worker, [result(MODEL, 4, range(2))], m=2, wide=0)
    worker.clock.advance(1)
    assert worker.view.status(since=None)["models"][0]["now"]["batch_mean"] == 6, "batches of 10 and 2"


def test_the_entry_of_an_only_model_agrees_with_the_worker() -> None:
    worker = Worker()
    worker.status_observer.on_committed([result(MODEL, 0, range(3))], _ledger_of_one(3), CommitTimes(*range(6)))
    worker.clock.advance(1)
    status = worker.view.status(since=None)
    (only,) = status["models"]
    assert only["now"] == status["now"] and only["now"]["events_per_s"] == 0.3
    assert only["window"] == status["window"] and only["breaker"] == status["breakers"]["model"]
    assert only["totals"]["outcomes"] == {"predicted": 3}


def _ledger_of_one(count: int) -> Ledger:
    ledger = Ledger()
    ledger.of(MODEL).add_predictions(P0, np.full(count, JULY))
    return ledger


def test_all_models_are_listed_with_their_signatures() -> None:
    models = Worker(MODEL, WIDE).view.models()
    assert [(model["name"], model["version"], model["device"]) for model in models] == [
        ("m", 1, "cpu"),
        ("wide", 2, "cuda"),
    ]
    assert [model["signature"] for model in models] == [signature(3).to_dict(), signature(4).to_dict()]


def test_the_members_of_the_group_are_listed_with_all_of_their_models() -> None:
    worker = Worker(MODEL, WIDE)
    metadata = WorkerMetadata(worker="other", url=None, models=(WIDE, MODEL), release="1")
    worker.view.polled.members = [
        Member(member_id="m1", client_id="c", host="h", user_data=metadata.encode(), partitions=(P0,))
    ]
    (member,) = worker.view.status(since=None)["group"]["members"]
    assert member["model"] == {"name": "wide", "version": 2}
    assert member["models"] == [{"name": "wide", "version": 2}, {"name": "m", "version": 1}]


def test_a_version_that_is_added_while_the_worker_runs_is_listed_and_measured_until_it_is_removed() -> None:
    worker, canary = Worker(), ModelRef(MODEL.name, MODEL.version + 1)
    breaker = worker.breakers.models[canary] = _breaker()
    worker.lanes[canary] = lane(canary, breaker)
    worker.models.add(served(canary, breaker))
    worker.status_observer.add_model(canary)
    worker.telemetry.add_model(ModelOnDevice(canary, "cpu"))
    document = worker.view.status(since=None)
    assert [model["version"] for model in document["models"]] == [MODEL.version, canary.version]
    assert document["model"]["version"] == MODEL.version
    assert list(document["breakers"]) == [f"model:m:{MODEL.version}", f"model:m:{canary.version}", "cluster"]
    assert [model["version"] for model in worker.view.models()] == [MODEL.version, canary.version]
    assert len(worker.metric("forebay_model_info")) == 3
    assert len(worker.metric("forebay_breaker_state")) == 3
    worker.models.set_stable(canary)
    assert worker.view.status(since=None)["model"]["version"] == canary.version
    for part in (worker.models.remove, worker.status_observer.remove_model, worker.telemetry.remove_model):
        part(MODEL)
    del worker.breakers.models[MODEL], worker.lanes[MODEL]
    document = worker.view.status(since=None)
    assert [model["version"] for model in document["models"]] == [canary.version]
    assert list(document["breakers"]) == ["model", "cluster"]
    assert len(worker.metric("forebay_breaker_state")) == 2


def test_rollouts_are_reported_if_they_are_enabled() -> None:
    worker = Worker()
    assert "rollouts" not in worker.view.status(since=None) and worker.metric("forebay_rollout") == []
    steps = StepPolicy((5.0, 25.0), every_s=600.0, min_events=1000)
    revision = replace(
        configured(3),
        number=12,
        canaries=(Canary(4, ((0, 2500),)),),
        shadows=(Shadow(5, 0.5), Shadow(6, 1.0)),
        steps=steps,
        step=1,
        reason="a better recall",
    )
    worker.rollouts = [
        RolloutStatus(
            revision,
            13,
            since_ms=JULY,
            loading=7,
            resident=(3, 4),
            comparisons={5: {"rows": 400, "agreement": 0.9925, "state": "running"}},
        )
    ]
    document = worker.view.status(since=None)
    (rollout,) = document["rollouts"]
    assert rollout["canaries"] == [{"version": 4, "weight": 25.0}]
    assert rollout["shadows"] == [
        {"version": 5, "sample": 0.5, "rows": 400, "agreement": 0.9925, "state": "running"},
        {"version": 6, "sample": 1.0, "rows": 0, "agreement": None},
    ]
    assert rollout["steps"] == {"weights": [5.0, 25.0], "every_s": 600.0, "min_events": 1000}
    assert (rollout["author"], rollout["reason"]) == ("configuration", "a better recall")
    read = decode_status(encode_json(document))  # as commands read it
    assert read is not None
    assert [(state.accepted, state.applied, state.loading, state.resident) for state in read.rollouts] == [
        (13, 12, 7, (3, 4))
    ]
    assert f'forebay_rollout_share_ratio{{model="{ROLLOUT_MODEL}",role="canary",version="4"}} 0.25' in worker.metric(
        "forebay_rollout_share"
    )
