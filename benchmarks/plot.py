"""Plot the results of a comparison."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from forebay.stream.bench.plot import COLOURS, write


def save_plot(summary: Mapping[str, Mapping[str, Any]], title: str, path: Path) -> None:
    """Plot the events per second and per CPU second of each contestant: medians and the range over the rounds."""
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    for place, (key, heading) in enumerate((("events_per_s", "events/s"), ("events_per_cpu_s", "events/CPU-s"))):
        axes: Any = figure.add_subplot(1, 2, place + 1)
        names = list(summary)
        medians = [summary[name][key]["median"] for name in names]
        below = [summary[name][key]["median"] - summary[name][key]["min"] for name in names]
        above = [summary[name][key]["max"] - summary[name][key]["median"] for name in names]
        colours = [COLOURS[0] if name == "forebay" else COLOURS[1] for name in names]
        bars = axes.bar(names, medians, color=colours, yerr=[below, above], capsize=4, width=0.65)
        axes.bar_label(bars, [f"{value:,.0f}" for value in medians], label_type="center", color="white", fontsize=7)
        axes.set_title(heading, fontsize=10)
        axes.set_xticks(range(len(names)), names, rotation=25, ha="right", fontsize=8)
        axes.spines[["top", "right"]].set_visible(False)
        axes.yaxis.set_major_formatter("{x:,.0f}")
    figure.suptitle(title, fontsize=11)
    write(figure, path)
