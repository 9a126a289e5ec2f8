"""The compared variants differ in one setting."""

from __future__ import annotations

import urllib.request

from forebay.stream.bench.comparisons import comparison_variants
from forebay.stream.config.sections import Settings, TelemetrySection

SETTINGS = Settings(telemetry=TelemetrySection(otlp_endpoint="http://collector:4318", logs=True))


def test_both_guarantees_are_variants() -> None:
    with comparison_variants(SETTINGS, "guarantees") as variants:
        assert {name: one.delivery.processing_guarantee for name, one in variants.items()} == {
            "exactly once": "exactly_once",
            "at least once": "at_least_once",
        }
        assert all(one.telemetry == SETTINGS.telemetry for one in variants.values())


def test_comparing_nothing_yields_the_configuration() -> None:
    with comparison_variants(SETTINGS, "nothing") as variants:
        assert variants == {"exactly once": SETTINGS}


def test_tracing_is_compared_on_a_collector_that_discards_everything() -> None:
    with comparison_variants(Settings(), "tracing") as variants:
        (on_name, on), (_, off) = variants.items()
        assert on_name == "traces at 1%" and on.telemetry.traces and on.telemetry.trace_sample_ratio == 0.01
        assert not off.telemetry.traces and off.telemetry.otlp_endpoint is None
        changed = {"otlp_endpoint", "traces", "trace_sample_ratio"}
        kept = set(TelemetrySection.model_fields) - changed
        assert on.telemetry.model_dump(include=kept) == off.telemetry.model_dump(include=kept)
        request = urllib.request.Request(f"{on.telemetry.otlp_endpoint}/v1/traces", data=b"x" * 1000, method="POST")
        with urllib.request.urlopen(request, timeout=10) as answer:
            assert answer.status == 200


def test_a_configured_collector_is_used() -> None:
    with comparison_variants(SETTINGS, "tracing") as variants:
        assert variants["traces at 1%"].telemetry.otlp_endpoint == "http://collector:4318"
        assert not variants["traces at 1%"].telemetry.logs
