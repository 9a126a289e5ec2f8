"""The report of the growth of a worker: Markdown tables, JSON and a plot. Pure, except for the plot's file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any, Final

from benchmarks.growth.points import DIMENSIONS, Point
from benchmarks.growth.subject import Result

HEADINGS: Final = (
    *("events/s", "CPU µs per event", "range", "at rest, MiB", "peak, MiB", "p50, ms", "p99, ms", "at events/s"),
    *("events per micro-batch", "per commit", "bytes of an event"),
)
Runs = Mapping[Point, Sequence[Result]]


def lines_of(runs: Runs) -> Iterator[str]:
    """Yield a Markdown table for each dimension, with medians over the rounds."""
    for name, dimension in DIMENSIONS.items():
        points = [point for point in runs if point.dimension == name and runs[point]]
        if not points:
            continue
        yield f"| {dimension.title} | " + " | ".join(HEADINGS) + " |"
        yield "|" + "---|" * (len(HEADINGS) + 1)
        for point in points:
            yield "| " + " | ".join([f"{point.value:,}", *_cells(runs[point])]) + " |"
        yield ""


def _cells(results: Sequence[Result]) -> list[str]:
    cpu_us = [result.cpu_us for result in results]
    return [
        f"{median(result.events_per_s for result in results):,.0f}",
        f"{median(cpu_us):.2f}",
        f"{min(cpu_us):.2f}–{max(cpu_us):.2f}" if len(cpu_us) > 1 else "",
        f"{median(result.rest_mib for result in results):,.0f}",
        f"{median(result.peak_mib for result in results):,.0f}",
        _median_or_empty([result.p50_ms for result in results]),
        _median_or_empty([result.p99_ms for result in results]),
        f"{results[0].rate:,.0f}" if results[0].p50_ms is not None else "",
        f"{median(result.batch_mean for result in results):,.0f}",
        f"{median(result.commit_mean for result in results):,.0f}",
        f"{results[0].event_bytes:,}",
    ]


def _median_or_empty(values: Sequence[float | None]) -> str:
    measured = [value for value in values if value is not None]
    return f"{median(measured):.1f}" if measured else ""


def to_document(runs: Runs, **about: object) -> dict[str, Any]:
    """Return the JSON document: each point with its load and all of its results."""
    return {
        **about,
        "points": [
            {
                "dimension": point.dimension,
                "value": point.value,
                "load": asdict(point.load),
                "results": [asdict(result) for result in results],
            }
            for point, results in runs.items()
            if results
        ],
    }


def save_plot(runs: Runs, title: str, path: Path) -> None:
    """Plot the events per CPU second, the peak memory and the latencies of each dimension."""
    from matplotlib.figure import Figure

    from forebay.stream.bench.plot import COLOURS, write

    names = [name for name in DIMENSIONS if any(point.dimension == name and runs[point] for point in runs)]
    figure = Figure(figsize=(3.2 * len(names), 7.5), layout="constrained")
    for column, name in enumerate(names):
        points = [point for point in runs if point.dimension == name and runs[point]]
        values = [str(f"{point.value:,}") for point in points]
        rows: tuple[tuple[str, dict[str, list[float | None]]], ...] = (
            ("events per CPU second", {"": [_median([r.events_per_cpu_s for r in runs[point]]) for point in points]}),
            (
                "MiB",
                {
                    "peak": [_median([r.peak_mib for r in runs[point]]) for point in points],
                    "at rest": [_median([r.rest_mib for r in runs[point]]) for point in points],
                },
            ),
            (
                "ms",
                {
                    "p99": [_median([r.p99_ms for r in runs[point]]) for point in points],
                    "p50": [_median([r.p50_ms for r in runs[point]]) for point in points],
                },
            ),
        )
        for row, (label, series) in enumerate(rows):
            if not any(height is not None for heights in series.values() for height in heights):
                continue  # windows have no latency
            axes: Any = figure.add_subplot(len(rows), len(names), row * len(names) + column + 1)
            for colour, (legend, heights) in zip(COLOURS, series.items(), strict=False):
                drawn = [(x, height) for x, height in zip(values, heights, strict=True) if height is not None]
                axes.plot([x for x, _ in drawn], [y for _, y in drawn], "o-", color=colour, label=legend)
            axes.set_ylim(bottom=0)
            axes.tick_params(labelsize=7)
            axes.spines[["top", "right"]].set_visible(False)
            axes.yaxis.set_major_formatter("{x:,.0f}")
            if column == 0:
                axes.set_ylabel(label, fontsize=9)
                if len(series) > 1:
                    axes.legend(frameon=False, fontsize=7)
            if row == 0:
                axes.set_title(DIMENSIONS[name].title, fontsize=9)
    figure.suptitle(title, fontsize=11)
    write(figure, path)


def _median(values: Sequence[float | None]) -> float | None:
    measured = [value for value in values if value is not None]
    return median(measured) if measured else None
