"""The variants that a benchmark compares: settings that differ in one point."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final, Literal

from forebay.stream.config.sections import Settings

Comparison = Literal["guarantees", "tracing", "nothing"]
TRACED_RATIO: Final = 0.01


@contextlib.contextmanager
def comparison_variants(settings: Settings, comparison: Comparison) -> Iterator[Mapping[str, Settings]]:
    """Yield the settings of each variant by name; the ratio is that of the first to the second.

    For tracing, a collector that discards everything is started, unless one is configured.
    """
    guarantee = settings.delivery.processing_guarantee
    match comparison:
        case "guarantees":
            yield {
                name.replace("_", " "): _with(settings, "delivery", processing_guarantee=name)
                for name in ("exactly_once", "at_least_once")
            }
        case "tracing":
            with _collector(settings.telemetry.otlp_endpoint) as endpoint:
                off = _with(settings, "telemetry", otlp_endpoint=None, traces=False, metrics=False, logs=False)
                on = {"otlp_endpoint": endpoint, "traces": True, "trace_sample_ratio": TRACED_RATIO}
                yield {f"traces at {TRACED_RATIO:.0%}": _with(off, "telemetry", **on), "no traces": off}
        case "nothing":
            yield {guarantee.replace("_", " "): settings}


def _with(settings: Settings, section: str, **values: object) -> Settings:
    return settings.model_copy(update={section: getattr(settings, section).model_copy(update=values)})


@contextlib.contextmanager
def _collector(endpoint: str | None) -> Iterator[str]:
    if endpoint is not None:
        yield endpoint
        return
    server = ThreadingHTTPServer(("127.0.0.1", 0), _DiscardingCollector)
    thread = threading.Thread(target=server.serve_forever, name="collector", daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _DiscardingCollector(BaseHTTPRequestHandler):
    """Responds to every POST like a collector that has accepted everything."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(200)
        self.send_header("Content-Type", "application/x-protobuf")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing: a line per request would disturb the table."""
