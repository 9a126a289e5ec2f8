"""The telemetry of a worker: the page, what is sent to a collector, and that a slow collector does not delay the worker."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import SecretStr

from forebay.stream.authorization.policy_keeper import AccessStatus
from forebay.stream.config.sections import TelemetrySection
from forebay.stream.core.circuit_breaker import CircuitBreaker
from forebay.stream.core.clock import SystemClock
from forebay.stream.core.model_ref import ModelRef
from forebay.stream.core.records import PartitionLag, TopicPartition
from forebay.stream.pipeline.in_flight import Bounds, InFlight
from forebay.stream.pipeline.lane_status import BLOCKED_REASONS, LaneStatus
from forebay.stream.pipeline.schema_admission import SchemaWait
from forebay.stream.pipeline.stages import Breakers
from forebay.stream.schema_registry.schema import SchemaRef
from forebay.stream.telemetry.collector import Signal, describe_process, find_collector, parse_headers
from forebay.stream.telemetry.polled_gauges import PolledComponents
from forebay.stream.telemetry.telemetry import ModelOnDevice, Telemetry, WorkerIdentity
from tests.telemetry.collector import collector, total

IDENTITY = WorkerIdentity(
    models=[ModelOnDevice(ModelRef("m", 7), "cpu"), ModelOnDevice(ModelRef("wide", 2), "cuda")],
    instance="me",
    group_id="g",
    transactional=True,
    max_in_flight_events=100,
)


class Source:
    """A source that is paused in its second assignment."""

    assignments = 2
    paused = True


def never() -> bool:
    return False


def lane(model: ModelRef, blocked: str | None, breaker: CircuitBreaker) -> LaneStatus:
    """Return a lane with seven events. Two of its micro-batches wait for the device."""
    return LaneStatus(
        model,
        events=7,
        num_bytes=70,
        batches=3,
        waiting=2,
        blocked=blocked,
        topics=("features",),
        call_for_s=0.0,
        breaker=breaker,
    )


class Schemas:
    """A partition has waited for three seconds or more."""

    def waits(self) -> list[SchemaWait]:
        since_s = SystemClock().monotonic_s() - 3.5
        return [SchemaWait(TopicPartition("features", 1), 7, SchemaRef(id=5), since_s=since_s, problem="status 404")]

    def results(self) -> dict[str, int]:
        return {"found": 2, "schema_not_found": 1}


def telemetry(
    environ: dict[str, str],
    *,
    is_ready: Callable[[], bool] = never,
    blocked: str | None = "device_backlog",
    **section: Any,
) -> Telemetry:
    worker_telemetry = Telemetry(TelemetrySection(**section), IDENTITY, clock=SystemClock(), environ=environ)
    breaker = CircuitBreaker(failure_threshold=1, reset_timeout_s=60, on_change=lambda state, reason: None)
    breaker.trip(0, "for this test")
    in_flight = InFlight(Bounds(100, 1000, 10))
    in_flight.on_polled(events=5, num_bytes=50)
    worker_telemetry.attach(
        PolledComponents(
            Source(),
            in_flight,
            Breakers(breaker, {model: breaker for model, _ in IDENTITY.models}).by_name,
            totals=SimpleNamespace(rewinds=1),
            lanes_status=lambda: [lane(ModelRef("m", 7), None, breaker), lane(ModelRef("wide", 2), blocked, breaker)],
            is_ready=is_ready,
            schemas=Schemas(),
            access=AccessStatus("r2", 0, num_changes=1, num_failures=2, error="not TOML"),
            findings=lambda: {("ids", "email"): 3},
        )
    )
    return worker_telemetry


async def run_for(worker_telemetry: Telemetry, seconds: float) -> None:
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(worker_telemetry.run(), seconds)


async def test_the_page_has_the_current_values() -> None:
    worker_telemetry = telemetry({}, is_ready=lambda: True)
    worker_telemetry.record_lag({TopicPartition("features", 0): PartitionLag(3, 10)})
    page, content_type = worker_telemetry.page(accept="application/openmetrics-text")
    lines = page.decode().splitlines()
    assert content_type.startswith("application/openmetrics-text")
    for line in (
        "forebay_ready 1.0",
        "forebay_paused 1.0",
        "forebay_in_flight_events 5.0",
        "forebay_in_flight_bytes 50.0",
        "forebay_in_flight_limit 100.0",
        'forebay_breaker_state{breaker="model:m"} 2.0',
        'forebay_breaker_state{breaker="model:wide"} 2.0',
        'forebay_breaker_state{breaker="cluster"} 2.0',
        "forebay_rebalances_total 2.0",
        "forebay_rewinds_total 1.0",
        'forebay_schema_lookups_total{result="found"} 2.0',
        "forebay_access_stale 1.0",
        'forebay_access_reloads_total{result="replaced"} 1.0',
        'forebay_access_reloads_total{result="refused"} 2.0',
        'forebay_schema_lookups_total{result="schema_not_found"} 1.0',
        'forebay_privacy_findings_total{detector="email",place="ids"} 3.0',
        "forebay_assigned_partitions 1.0",
        'forebay_consumer_lag_records{partition="0",topic="features"} 7.0',
        'forebay_model_info{device="cpu",model="m",version="7"} 1.0',
        'forebay_model_info{device="cuda",model="wide",version="2"} 1.0',
        'forebay_events_total{model="m",outcome="predicted",version="7"} 0.0',
        'forebay_events_total{model="wide",outcome="predicted",version="2"} 0.0',
        'forebay_lane_in_flight_events{model="wide",version="2"} 7.0',
        'forebay_lane_waiting_batches{model="wide",version="2"} 2.0',
    ):
        assert line in lines
    (wait,) = [line for line in lines if line.startswith('forebay_schema_wait_seconds{partition="1",topic="features"}')]
    assert 3 <= float(wait.rsplit(" ", 1)[1]) < 60
    await worker_telemetry.close()


@pytest.mark.parametrize("blocked", [*BLOCKED_REASONS, None])
async def test_a_lane_is_blocked_for_one_reason_or_none(blocked: str | None) -> None:
    worker_telemetry = telemetry({}, blocked=blocked)
    worker_telemetry.page()
    lines = worker_telemetry.page()[0].decode().splitlines()
    for reason in BLOCKED_REASONS:
        assert f'forebay_lane_blocked{{model="m",reason="{reason}",version="7"}} 0.0' in lines
        value = float(reason == blocked)
        assert f'forebay_lane_blocked{{model="wide",reason="{reason}",version="2"}} {value}' in lines
    await worker_telemetry.close()


def test_the_breaker_of_an_only_model_has_no_model_in_its_name() -> None:
    breaker = CircuitBreaker(failure_threshold=1, reset_timeout_s=60, on_change=lambda state, reason: None)
    assert list(Breakers(breaker, {ModelRef("m", 7): breaker}).by_name()) == ["model", "cluster"]


async def test_readiness_is_evaluated_whenever_it_is_reported() -> None:
    verdicts = [True, False]
    with collector() as fake:
        worker_telemetry = telemetry({}, is_ready=lambda: verdicts.pop(0), otlp_endpoint=fake.endpoint, traces=False)
        assert b"\nforebay_ready 1.0\n" in worker_telemetry.page()[0]
        await worker_telemetry.close()
        (metrics,) = fake.metrics().values()
        assert total(metrics["forebay.ready"]) == 0


async def test_remaining_metrics_are_sent_at_the_end() -> None:
    with collector() as fake:
        worker_telemetry = telemetry({}, otlp_endpoint=fake.endpoint, traces=False)
        await worker_telemetry.close()
        (metrics,) = fake.metrics().values()
        assert total(metrics["forebay.in_flight.limit"]) == 100


async def test_a_collector_that_does_not_answer_does_not_delay_the_worker() -> None:
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen()
        endpoint = f"http://127.0.0.1:{deaf.getsockname()[1]}"
        worker_telemetry = telemetry({}, otlp_endpoint=endpoint, logs=True, export_timeout_ms=60_000)
        try:
            logging.getLogger("forebay.test").warning("a line")
            await run_for(worker_telemetry, 0.1)
            async with asyncio.timeout(30):  # half of what the exporter would wait
                await worker_telemetry.close()
        finally:
            logging.getLogger("opentelemetry").setLevel(logging.NOTSET)


@pytest.mark.parametrize(
    ("section", "environ", "sent"),
    [
        ({}, {}, set()),
        ({"otlp_endpoint": "http://c:4318"}, {}, {"traces", "metrics"}),
        ({"otlp_endpoint": "http://c:4318", "traces": False, "logs": True}, {}, {"metrics", "logs"}),
        ({}, {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"}, {"traces", "metrics"}),
        ({"otlp_endpoint": "http://c:4318"}, {"OTEL_SDK_DISABLED": "true"}, set()),
        ({}, {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://c:4318/v1/traces"}, {"traces"}),
    ],
)
def test_the_configuration_selects_the_signals(
    section: dict[str, Any], environ: dict[str, str], sent: set[str]
) -> None:
    signals = {
        signal.value for signal in Signal if find_collector(TelemetrySection(**section), signal, environ) is not None
    }
    assert signals == sent


def test_headers_have_opentelemetrys_form_and_are_hidden() -> None:
    assert parse_headers("authorization=Bearer%20a=b, x-scope = 1,") == {"authorization": "Bearer a=b", "x-scope": "1"}
    section = TelemetrySection(otlp_endpoint="http://c:4318", otlp_headers=SecretStr("a=geheim"))
    assert "geheim" not in repr(section)


def test_the_service_name_is_that_of_the_configuration_or_else_of_the_environment() -> None:
    def name(section: TelemetrySection, **environ: str) -> object:
        return describe_process(section, instance="i", environ=environ).attributes["service.name"]

    assert name(TelemetrySection()) == "forebay"
    assert name(TelemetrySection(), OTEL_SERVICE_NAME="theirs") == "theirs"
    assert name(TelemetrySection(service_name="ours"), OTEL_SERVICE_NAME="theirs") == "ours"
