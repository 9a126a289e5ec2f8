"""The report of `forebay bench --advise`: the arithmetic line by line, and values for the Helm chart."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

from rich.table import Table

from forebay.stream.bench.advice import Advice, Measured, Wish, helm_values
from forebay.stream.terminal.console import plain_table


def advice_to_dict(measured: Measured, wish: Wish, advice: Advice, about: Mapping[str, object]) -> dict[str, Any]:
    """Return the report as JSON values. An infinite time is null."""
    document = asdict(advice)
    document["drain_minutes"] = None if math.isinf(advice.drain_minutes) else advice.drain_minutes
    return {
        **about,
        "wish": asdict(wish),
        "measured": asdict(measured),
        "advice": document,
        "helm_values": helm_values(advice, wish),
    }


def advice_to_table(advice: Advice) -> Table:
    """Return the arithmetic as a table."""
    table = plain_table("", "value", "arithmetic", right={"value"})
    for line in advice.lines:
        table.add_row(line.name, line.value, line.how)
    return table


def measured_lines(measured: Measured) -> Iterator[str]:
    """Yield what was measured, a line each."""
    cost = measured.cost
    yield (
        f"CPU time of a micro-batch of n events, with its share of fetches and commits: S(n) = {cost.a_us:,.0f} µs + "
        f"{cost.b_us:.2f} µs · n, off by at most {cost.error:.0%}"
    )
    yield f"calls of the model on {measured.device}: {measured.model_us:.2f} µs of an event"
    yield (
        f"memory of a process: {measured.rest_mib:,.0f} MiB at rest, at most {measured.peak_mib:,.0f} MiB while draining, "
        f"with up to {measured.peak_in_flight_mib:,.0f} MiB of events in flight"
    )
    if measured.window_bytes is not None:
        yield f"memory of an open window: {measured.window_bytes:,.0f} bytes, with the memory of the backlog"
    if measured.p99_ms is not None and measured.commit_ms is not None:
        yield (
            f"latency at {measured.latency_rate:,.0f} events/s: p50 {measured.p50_ms:.1f} ms, p99 {measured.p99_ms:.1f} ms; "
            f"half of the commits took over {measured.commit_ms:.1f} ms"
        )
    yield f"records: events of {measured.event_bytes:,.0f} bytes, predictions of {measured.prediction_bytes:,.0f}"


def helm_lines(advice: Advice, wish: Wish) -> Iterator[str]:
    """Yield the values of the Helm chart as YAML."""
    yield from _yaml(helm_values(advice, wish), "")


def _yaml(values: Mapping[str, Any], indent: str) -> Iterator[str]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield f"{indent}{key}:"
            yield from _yaml(value, indent + "  ")
        else:
            yield f"{indent}{key}: {value}"
