"""The settings of log lines, metrics and traces."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, SecretStr

from stream.config.section import Section
from stream.config.values import LogLevels, Text, WebUrl


class LogSection(Section):
    """What the worker says on standard error."""

    level: LogLevels = Field(
        default="info", description="the least severe that is logged; FOREBAY_LOG is another name for it"
    )
    format: Literal["auto", "text", "json"] = Field(
        default="auto", description="auto is text on a terminal and JSON lines elsewhere"
    )


class TelemetrySection(Section):
    """Where traces, metrics and log lines go by OTLP. The Prometheus page of the admin server needs nothing of this."""

    service_name: Text | None = Field(
        default=None,
        description="the name under which a collector sees the worker; without it OTEL_SERVICE_NAME, or forebay",
    )
    otlp_endpoint: WebUrl | None = Field(
        default=None,
        description="collector to send to (OTLP over HTTP), such as http://localhost:4318; without it that of "
        "OTEL_EXPORTER_OTLP_ENDPOINT, and without either nothing is sent",
    )
    otlp_headers: SecretStr | None = Field(
        default=None, description="headers for the collector, such as a login: name=value, with commas between"
    )
    traces: bool = Field(default=True, description="whether traces are sent, where there is a collector")
    trace_sample_ratio: float = Field(
        default=0.01,
        ge=0,
        le=1,
        description="of micro-batches without a sampled event so many are traced; others always",
    )
    metrics: bool = Field(default=True, description="whether metrics are sent, where there is a collector")
    metrics_interval_ms: int = Field(default=15_000, ge=1_000, le=3_600_000, description="between two such sendings")
    logs: bool = Field(default=False, description="whether log lines are sent, where there is a collector")
    export_timeout_ms: int = Field(
        default=10_000, ge=100, le=600_000, description="for one sending; what the collector does not take is dropped"
    )
