"""The settings of what people and machines watch the worker by: admin HTTP, telemetry, log. As `sections` has the others."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, SecretStr

from stream.config.section import DAY_MS, GIB, Section
from stream.config.values import Host, Path, Text, WebUrl


class AdminSection(Section):
    """HTTP beside the worker: probes, metrics, status, the live page."""

    enabled: bool = Field(default=True, description="whether to serve it")
    host: Host = Field(
        default="127.0.0.1", description="address to listen on; 0.0.0.0: all, and then better with a token"
    )
    port: int = Field(default=8080, ge=0, le=65_535, description="0: any that is free")
    port_retries: int = Field(
        default=20, ge=0, le=1_000, description="where the port is taken, so many after it are tried; 0: only that one"
    )
    advertised_url: WebUrl | None = Field(
        default=None,
        description="where others reach it, such as https://pod.example:8080; default: from host and port, and of "
        "0.0.0.0 the address that leads to the cluster",
    )
    token: SecretStr | None = Field(
        default=None,
        description="who has it (Authorization: Bearer ...) may see and do more than probe; better given as "
        "FOREBAY_ADMIN__TOKEN than in a file",
    )
    tls_cert_file: Path | None = Field(default=None, description="HTTPS: the certificate (PEM), with its chain")
    tls_key_file: Path | None = Field(default=None, description="HTTPS: its key (PEM)")
    max_body_bytes: int = Field(default=1_048_576, ge=1_024, le=GIB, description="a larger request is refused")
    request_timeout_ms: int = Field(default=5_000, ge=10, le=600_000, description="for one request")
    stuck_after_ms: int = Field(
        default=120_000,
        ge=20_000,
        le=DAY_MS,
        description="/healthz fails where work stands still so long although cluster and model are well",
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


class LogSection(Section):
    """What the worker says on standard error."""

    level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="the least severe that is logged"
    )
    format: Literal["auto", "text", "json"] = Field(
        default="auto", description="auto is text on a terminal and JSON lines elsewhere"
    )
