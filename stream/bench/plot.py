"""Plots of the measurements. The only module of this folder that imports matplotlib."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from forebay.schemas.errors import ConfigError, StorageError
from forebay.stream.bench.open_loop import OpenLoop
from forebay.stream.bench.report import BenchReport
from forebay.stream.core.extras import install_hint
from forebay.stream.core.percentile import percentile

if TYPE_CHECKING:
    from forebay.models.compression.compress import CompressionReport

try:
    from matplotlib.figure import Figure
except ImportError:
    raise ConfigError(
        "--plot needs the package matplotlib, which is not installed",
        kind="bench_missing",
        remedy=install_hint("bench"),
    ) from None

COLOURS: Final = ("#2f6fb0", "#8a8f98")


def save_plot(reports: Sequence[BenchReport], path: Path) -> None:
    """Plot throughput as bars and latency as a histogram, from each variant's last report.

    Raises StorageError, ConfigError.
    """
    last = {report.variant: report for report in reports}
    measured = list(last.values())
    first = measured[0]
    panels = [draw for draw, result in ((_throughput, first.closed_loop), (_latency, first.open_loop)) if result]
    if not panels:
        raise ConfigError("--plot draws throughput and latency, and both tests were skipped", kind="plot_nothing")
    figure = Figure(figsize=(5.5 * len(panels), 4.2), layout="constrained")
    for index, draw in enumerate(panels):
        draw(figure.add_subplot(1, len(panels), index + 1), measured)
    figure.suptitle(f"forebay bench · {measured[0].model} · {measured[0].broker}", fontsize=11)
    write(figure, path)


def save_compression_plot(report: CompressionReport, path: Path) -> None:
    """Plot the loss of each model against its speed-up; circles grow with the size. Raises StorageError, ConfigError."""
    figure = Figure(figsize=(7, 4.8), layout="constrained")
    axes: Any = figure.add_subplot()
    front, rows = report.pareto_labels(), report.goals.batch_size
    measured = [outcome.measured for outcome in report.outcomes if outcome.measured is not None]
    for model in (report.original, *measured):
        speed, loss = model.at(rows).speed_up, model.loss.loss
        colour = COLOURS[0] if model.label in front else COLOURS[1]
        spread = [[max(0.0, speed.value - speed.low)], [max(0.0, speed.high - speed.value)]]
        axes.errorbar([speed.value], [loss.value], xerr=spread, fmt="none", ecolor=colour, linewidth=1)
        area = 40 + 360 * model.num_bytes / report.original.num_bytes
        axes.scatter([speed.value], [loss.value], s=area, color=colour, alpha=0.6)
        axes.annotate(model.label, (speed.value, loss.value), fontsize=8, xytext=(5, 5), textcoords="offset points")
    if report.goals.max_loss is not None:
        axes.axhline(report.goals.max_loss, color="#b03a2e", linewidth=1, linestyle="--", label="--max-loss")
        axes.legend(frameon=False, fontsize=8)
    axes.set_xlabel(f"speed-up at {rows:,} rows, with its 95 % interval")
    axes.set_ylabel(f"loss of {report.original.loss.metric.replace('_', ' ')}")
    axes.set_title("size is the area; blue: no other model is better in all three", fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)
    write(figure, path)


def write(figure: Figure, path: Path) -> None:
    """Save a figure in the format of the file name's extension. Raises StorageError, ConfigError."""
    try:
        figure.savefig(path, dpi=144)
    except OSError as error:
        raise StorageError(f"{path} cannot be written: {error.strerror or error}") from None
    except ValueError as error:  # matplotlib lists the formats
        raise ConfigError(f"{path}: {error}", kind="plot_format", remedy="name it .png, .svg or .pdf") from None


def _throughput(axes: Any, reports: Sequence[BenchReport]) -> None:
    width = 0.8 / len(reports)
    highest = 0.0
    for number, report in enumerate(reports):
        assert report.closed_loop is not None
        values = [report.closed_loop.events_per_s, report.closed_loop.events_per_cpu_s]
        bars = axes.bar([x + number * width for x in (0, 1)], values, width, color=COLOURS[number])
        axes.bar_label(bars, [f"{value:,.0f}" for value in values], fontsize=8)
        bars.set_label(report.variant)
        highest = max(highest, *values)
    middle = (len(reports) - 1) * width / 2
    axes.set_xticks([middle, 1 + middle], ["events/s", "events/CPU-s"])
    axes.set_title("closed loop: draining a filled topic", fontsize=10)
    axes.set_ylim(0, highest * 1.25)
    axes.legend(frameon=False, fontsize=8, loc="upper right")
    _plain(axes)


def _latency(axes: Any, reports: Sequence[BenchReport]) -> None:
    # Clip the few slowest events, which would compress the rest of the plot; the legend shows the maximum.
    upper = max(percentile(sorted(_open_loop(report).latencies_ms), 99.9) for report in reports)
    for number, report in enumerate(reports):
        loop = _open_loop(report)
        latency = loop.latency
        label = f"{report.variant}: p50 {latency.p50_ms:.1f}, p99 {latency.p99_ms:.1f}, max {latency.max_ms:.0f} ms"
        clipped = np.clip(loop.latencies_ms, None, upper)
        axes.hist(clipped, bins=80, range=(0, upper), color=COLOURS[number], alpha=0.6, label=label)
        axes.axvline(latency.p50_ms, color=COLOURS[number], linewidth=1)
        axes.axvline(latency.p99_ms, color=COLOURS[number], linewidth=1, linestyle="--")
    axes.set_title(f"open loop, {_open_loop(reports[0]).rate:,.0f} events/s", fontsize=10)
    axes.set_xlabel("ms from intended send time to readable")
    axes.set_ylabel("events")
    axes.legend(frameon=False, fontsize=8, loc="center right")
    _plain(axes)


def _open_loop(report: BenchReport) -> OpenLoop:
    assert report.open_loop is not None
    return report.open_loop


def _plain(axes: Any) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.yaxis.set_major_formatter("{x:,.0f}")
