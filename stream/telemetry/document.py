"""docs/metrics.md out of the catalogue: `python -m stream.telemetry.document > docs/metrics.md`."""

from __future__ import annotations

import sys
from typing import Final

from stream.telemetry import catalogue as c

_HEAD: Final = """\
# Metrics

Generated from [stream/telemetry/catalogue.py](../stream/telemetry/catalogue.py) by `python -m stream.telemetry.document`.
What they are for, and how they get where: [observability.md](observability.md).

Prometheus' names stand first, OpenTelemetry's below them. Values are cumulative since the worker started. Events count when
their outcome is committed. Labels have few values: outcomes, stages and kinds are closed lists, models and topics come from the
configuration, partitions from the assignment.
"""


def render_metrics() -> str:
    """The whole document, in Markdown."""
    lines = [_HEAD]
    for title, metrics in (
        ("Counters", [metric for metric in c.METRICS if isinstance(metric, c.Counter)]),
        ("Gauges", [metric for metric in c.METRICS if isinstance(metric, c.Gauge)]),
        ("Histograms", [metric for metric in c.METRICS if isinstance(metric, c.Histogram)]),
    ):
        lines += [f"## {title}", "", "| metric | labels | meaning |", "|---|---|---|"]
        lines += [_row(metric) for metric in metrics]
        lines.append("")
    return "\n".join(lines)


def _row(metric: c.Metric) -> str:
    labels = ", ".join(f"`{label}`" for label in metric.labels)
    buckets = f" Buckets: {_bounds(metric.bounds)}." if isinstance(metric, c.Histogram) else ""
    unit = f", unit `{metric.unit}`"
    return f"| `{metric.prometheus_name}`<br>`{metric.name}`{unit} | {labels} | {metric.description}.{buckets} |"


def _bounds(bounds: tuple[float, ...]) -> str:
    return ", ".join(f"{bound:g}" for bound in bounds)


if __name__ == "__main__":
    sys.stdout.write(render_metrics())
