"""The collector to which telemetry is sent by OTLP over HTTP, and the resource that identifies the process."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final
from urllib.parse import unquote

from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource

from forebay.stream.config.sections import TelemetrySection

_ENDPOINT: Final = "OTEL_EXPORTER_OTLP_ENDPOINT"


class Signal(StrEnum):
    """A kind of telemetry; the value is the path at the collector."""

    TRACES = "traces"
    METRICS = "metrics"
    LOGS = "logs"


@dataclass(frozen=True, slots=True)
class Collector:
    """A collector and how to connect to it. endpoint: None leaves it to the SDK, which reads OTEL_EXPORTER_OTLP_*."""

    endpoint: str | None
    headers: Mapping[str, str]
    timeout_s: float

    def span_exporter(self) -> OTLPSpanExporter:
        return OTLPSpanExporter(self._url(Signal.TRACES), headers=dict(self.headers), timeout=self.timeout_s)

    def metric_exporter(self) -> OTLPMetricExporter:
        return OTLPMetricExporter(self._url(Signal.METRICS), headers=dict(self.headers), timeout=self.timeout_s)

    def log_exporter(self) -> OTLPLogExporter:
        return OTLPLogExporter(self._url(Signal.LOGS), headers=dict(self.headers), timeout=self.timeout_s)

    def _url(self, signal: Signal) -> str | None:
        return None if self.endpoint is None else f"{self.endpoint.rstrip('/')}/v1/{signal}"


def find_collector(section: TelemetrySection, signal: Signal, environ: Mapping[str, str]) -> Collector | None:
    """Return the collector for a signal; None if the signal is off or no collector is configured."""
    if not getattr(section, signal.value) or environ.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return None
    endpoint = environ.get(_ENDPOINT) or environ.get(f"OTEL_EXPORTER_OTLP_{signal.upper()}_ENDPOINT")
    if section.otlp_endpoint is None and not endpoint:
        return None
    secret = section.otlp_headers
    headers = parse_headers(secret.get_secret_value()) if secret is not None else {}
    return Collector(section.otlp_endpoint, headers, section.export_timeout_ms / 1000)


def parse_headers(text: str) -> dict[str, str]:
    """Parse comma-separated `name=value`, as in OTEL_EXPORTER_OTLP_HEADERS; values may be percent-encoded."""
    pairs = (part.partition("=") for part in text.split(",") if part.strip())
    return {name.strip(): unquote(value.strip()) for name, _, value in pairs}


def describe_process(section: TelemetrySection, *, instance: str, environ: Mapping[str, str]) -> Resource:
    """Return the resource that identifies this process, with the attributes of OTEL_RESOURCE_ATTRIBUTES."""
    name = section.service_name or environ.get("OTEL_SERVICE_NAME") or "forebay"
    return Resource.create(
        {
            "service.name": name,
            "service.version": importlib.metadata.version("forebay"),
            "service.instance.id": instance,
        }
    )
