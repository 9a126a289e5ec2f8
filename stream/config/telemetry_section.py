"""Settings of the log, and of the export of traces, metrics and log lines."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, SecretStr

from forebay.stream.config.section import Section
from forebay.stream.config.values import LogLevels, Text, WebUrl


class LogSection(Section):
    """The log on standard error."""

    level: LogLevels = Field(
        default="info", description="Lowest severity that is logged. The environment variable FOREBAY_LOG sets it too."
    )
    format: Literal["auto", "text", "json"] = Field(
        default="auto", description="auto: text on a terminal, JSON lines elsewhere."
    )


class TelemetrySection(Section):
    """Export of traces, metrics and log lines by OTLP. The Prometheus metrics of the admin API do not depend on it."""

    service_name: Text | None = Field(
        default=None,
        description="The service name that the collector shows. Default: OTEL_SERVICE_NAME, or forebay.",
    )
    otlp_endpoint: WebUrl | None = Field(
        default=None,
        repr=False,
        description="URL of the collector (OTLP over HTTP), such as http://localhost:4318. Default: "
        "OTEL_EXPORTER_OTLP_ENDPOINT. If neither is set, nothing is sent.",
    )
    otlp_headers: SecretStr | None = Field(
        default=None, description="HTTP headers for the collector, such as a login: name=value, separated by commas."
    )
    traces: bool = Field(default=True, description="Send traces, if there is a collector.")
    trace_sample_ratio: float = Field(
        default=0.01,
        ge=0,
        le=1,
        description="Share of the micro-batches without a sampled event that are traced. Those with a sampled event "
        "always are.",
    )
    metrics: bool = Field(default=True, description="Send metrics, if there is a collector.")
    metrics_interval_ms: int = Field(
        default=15_000, ge=1_000, le=3_600_000, description="Time between two exports of metrics."
    )
    logs: bool = Field(default=False, description="Send log lines, if there is a collector.")
    export_timeout_ms: int = Field(
        default=10_000,
        ge=100,
        le=600_000,
        description="Time limit for one export. Data that the collector does not accept in time is dropped.",
    )
