"""The measurements as a picture: the only module here that imports matplotlib."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np

from schemas.errors import ConfigError, StorageError
from stream.bench.report import BenchReport
from stream.bench.stats import percentile

try:
    from matplotlib.figure import Figure
except ImportError:
    raise ConfigError(
        "--plot needs the package matplotlib, which is not installed",
        kind="bench_missing",
        remedy="pip install 'forebay[bench]'",
    ) from None

BLUE: Final = "#2f6fb0"
GREY: Final = "#8a8f98"
RED: Final = "#c0392b"


def save_plot(report: BenchReport, path: Path) -> None:
    """Throughput as bars and latency as a distribution, of what was measured. Raises StorageError, ConfigError."""
    parts = [draw for draw, given in ((_throughput, report.closed_loop), (_latency, report.open_loop)) if given]
    if not parts:
        raise ConfigError("--plot draws throughput and latency, and both were left out", kind="plot_nothing")
    figure = Figure(figsize=(5.5 * len(parts), 4.2), layout="constrained")
    for place, draw in enumerate(parts):
        draw(figure.add_subplot(1, len(parts), place + 1), report)
    figure.suptitle(f"forebay bench · {report.model} · {report.broker}", fontsize=11)
    write(figure, path)


def write(figure: Figure, path: Path) -> None:
    """Save a figure in the format that the file's name asks for. Raises StorageError, ConfigError."""
    try:
        figure.savefig(path, dpi=144)
    except OSError as error:
        raise StorageError(f"{path} cannot be written: {error.strerror or error}") from None
    except ValueError as error:  # matplotlib lists the formats
        raise ConfigError(f"{path}: {error}", kind="plot_format", remedy="name it .png, .svg or .pdf") from None


def _throughput(axes: Any, report: BenchReport) -> None:
    closed = report.closed_loop
    assert closed is not None
    values = [closed.events_per_s, closed.events_per_cpu_s]
    bars = axes.bar(["events/s", "events/CPU-s"], values, color=[BLUE, GREY], width=0.6)
    axes.bar_label(bars, [f"{value:,.0f}" for value in values])
    axes.set_title(f"closed loop, {closed.events:,} events", fontsize=10)
    axes.set_ylim(0, max(values) * 1.15)
    _plain(axes)


def _latency(axes: Any, report: BenchReport) -> None:
    opened = report.open_loop
    assert opened is not None
    ordered = sorted(opened.latencies_ms)
    # The few slowest would squeeze the others together; the title tells the maximum.
    upper = percentile(ordered, 99.9)
    axes.hist(np.clip(ordered, None, upper), bins=80, color=BLUE)
    latency = opened.latency
    for name, value in (("p50", latency.p50_ms), ("p95", latency.p95_ms), ("p99", latency.p99_ms)):
        axes.axvline(value, color=RED if name == "p99" else GREY, linewidth=1)
        axes.annotate(
            f"{name} {value:.1f}", (value, 0.98), xycoords=("data", "axes fraction"), rotation=90, ha="right", va="top"
        )
    axes.set_title(f"open loop, {opened.rate:,.0f} events/s; max {latency.max_ms:.1f} ms", fontsize=10)
    axes.set_xlabel("ms from intended send time to readable")
    axes.set_ylabel("events")
    _plain(axes)


def _plain(axes: Any) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.yaxis.set_major_formatter("{x:,.0f}")
