"""A fake collector that receives OTLP over HTTP, and decodes and stores the requests."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest, ExportLogsServiceResponse
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span

_TYPES: dict[str, tuple[Any, Any]] = {
    "/v1/traces": (ExportTraceServiceRequest, ExportTraceServiceResponse),
    "/v1/metrics": (ExportMetricsServiceRequest, ExportMetricsServiceResponse),
    "/v1/logs": (ExportLogsServiceRequest, ExportLogsServiceResponse),
}


class ReceivedSpan:
    """A span with its sender (`service.instance.id`)."""

    def __init__(self, span: Span, instance: str) -> None:
        self.span = span
        self.instance = instance
        self.attributes = attributes_of(span.attributes)

    @property
    def name(self) -> str:
        return self.span.name

    @property
    def ids(self) -> tuple[str, str]:
        return self.span.trace_id.hex(), self.span.span_id.hex()

    @property
    def links(self) -> set[tuple[str, str]]:
        return {(link.trace_id.hex(), link.span_id.hex()) for link in self.span.links}


class FakeCollector:
    """Stores the requests that it receives. headers: of every request."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._requests: list[tuple[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.port = 0

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def take(self, path: str, body: bytes, headers: dict[str, str]) -> bytes:
        request_type, response_type = _TYPES[path]
        request = request_type.FromString(body)
        with self._lock:
            self._requests.append((path, request))
            self.headers.append(headers)
        return bytes(response_type().SerializeToString())

    def requests(self, path: str) -> list[Any]:
        with self._lock:
            return [request for request_path, request in self._requests if request_path == path]

    def spans(self) -> list[ReceivedSpan]:
        return [
            ReceivedSpan(span, attributes_of(resource.resource.attributes)["service.instance.id"])
            for request in self.requests("/v1/traces")
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]

    def metrics(self) -> dict[str, dict[str, Any]]:
        """Return the last values of each metric as protobuf, by instance of the sender."""
        last: dict[str, dict[str, Any]] = {}
        for request in self.requests("/v1/metrics"):
            for resource in request.resource_metrics:
                instance = attributes_of(resource.resource.attributes)["service.instance.id"]
                for scope in resource.scope_metrics:
                    last[instance] = {metric.name: metric for metric in scope.metrics}
        return last

    def log_records(self) -> list[Any]:
        return [
            record
            for request in self.requests("/v1/logs")
            for resource in request.resource_logs
            for scope in resource.scope_logs
            for record in scope.log_records
        ]


@contextmanager
def collector() -> Iterator[FakeCollector]:
    fake = FakeCollector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            response = fake.take(self.path, body, {name.lower(): value for name, value in self.headers.items()})
            self.send_response(200)
            self.send_header("content-type", "application/x-protobuf")
            self.send_header("content-length", str(len(response)))
            self.end_headers()
            self.wfile.write(response)

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    fake.port = server.server_port
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield fake
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def attributes_of(pairs: Any) -> dict[str, Any]:
    """Return OTLP attributes as plain values."""

    def plain(value: AnyValue) -> Any:
        which = value.WhichOneof("value")
        return None if which is None else getattr(value, which)

    return {pair.key: plain(pair.value) for pair in pairs}


def points(metric: Any) -> dict[tuple[tuple[str, str], ...], Any]:
    """Return the points of a metric by their attributes; none if the metric was not sent."""
    if metric is None:
        return {}
    data = getattr(metric, metric.WhichOneof("data"))
    return {tuple(sorted(attributes_of(point.attributes).items())): point for point in data.data_points}


def total(metric: Any, **where: str) -> float:
    """Return the sum of the values of a counter or gauge that have these attributes."""
    return sum(
        point.as_int if point.WhichOneof("value") == "as_int" else point.as_double
        for labels, point in points(metric).items()
        if all(dict(labels)[name] == value for name, value in where.items())
    )
