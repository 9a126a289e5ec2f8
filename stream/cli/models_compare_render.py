"""The tables of `forebay models compare`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from forebay.stream.cli.models_experiment_render import comparison_text
from forebay.stream.core.quantities import quantity
from forebay.stream.core.time_format import local_date_time
from forebay.stream.terminal.console import plain_table, print_whole, visible

if TYPE_CHECKING:
    from forebay.stream.experiments.report import Comparison
    from forebay.stream.rollouts.shadow_report import Difference, ShadowReport, VersionReport, Versions

_LONG = 60


def print_report(model: str, report: ShadowReport, quality: Sequence[Comparison] = ()) -> None:
    """Print the comparison of each two versions, and the events that differ most.

    quality: the comparisons by labels.
    """
    for number, (versions, found) in enumerate(sorted(report.versions.items())):
        if number:
            print_whole("")
        print_whole(Text(f"{model}: shadow {versions.shadow} against version {versions.primary}", style="bold"))
        print_whole(_summary(versions, found))
        for comparison in quality:
            if comparison.versions == (versions.shadow, versions.primary):
                print_whole(Text("\nby labels", style="bold"))
                for part in comparison_text(comparison)[1:]:
                    print_whole(part)
        if largest := found.largest():
            print_whole(Text("\nevents that differ most", style="bold"))
            print_whole(_largest(versions, largest))


def _summary(versions: Versions, report: VersionReport) -> Table:
    document = report.comparison.to_dict()
    agreement, failures, differences = document["agreement"], document["failures"], document["differences"]
    latency = document["latency"]
    table = Table.grid(padding=(0, 2))
    rows = [
        ("pairs", _pairs(report)),
        ("agreement", _agreement(agreement)),
        ("difference", _quantiles(differences)),
    ]
    if differences["mean"] is not None:
        rows.append(("mean difference", f"{differences['mean']:+.4g} (shadow − primary)"))
    if differences["incomparable"]:
        rows.append(("not comparable", f"{differences['incomparable']:,} pairs with different numbers of outputs"))
    rows += [
        (
            "failures",
            f"only version {versions.primary}: {failures['primary_only']:,}, only shadow "
            f"{versions.shadow}: {failures['shadow_only']:,}, both: {failures['both']:,}",
        ),
        ("latency p50", _latency(latency, "p50_ms")),
        ("latency p99", _latency(latency, "p99_ms")),
    ]
    if latency["time_ratio"] is not None:
        rows.append(("time per event", f"{latency['time_ratio']:.2f} times as long"))
    for name, value in rows:
        table.add_row(Text(name, style="dim"), Text(value))
    return table


def _pairs(report: VersionReport) -> str:
    period = f"events from {local_date_time(report.first_ms)} to {local_date_time(report.last_ms)}"
    repeated = f"; {quantity(report.repeated, 'repetition')} left out" if report.repeated else ""
    return f"{report.comparison.events:,} ({period}{repeated})"


def _agreement(agreement: dict[str, Any]) -> str:
    if agreement["share"] is None:
        return "no classes to compare"
    shares = (100 * agreement[name] for name in ("share", "low", "high"))
    return "{:.2f} % ({:.2f} to {:.2f} %), ".format(*shares) + f"{agreement['disagreed']:,} differ"


def _quantiles(differences: dict[str, Any]) -> str:
    if not differences["compared"]:
        return "nothing to compare"
    return ", ".join(f"{name} {differences[name]:.4g}" for name in ("p50", "p90", "p99", "max"))


def _latency(latency: dict[str, Any], name: str) -> str:
    primary, shadow = latency["primary"][name], latency["shadow"][name]
    if primary is None or shadow is None:
        return "unknown"
    ratio = f" ({shadow / primary:.2f} times)" if primary else ""
    return f"{primary:.2f} ms → {shadow:.2f} ms{ratio}"


def _largest(versions: Versions, largest: list[Difference]) -> Table:
    table = plain_table(
        "id", "event", f"version {versions.primary}", f"shadow {versions.shadow}", "difference", right=("difference",)
    )
    for size, pair in largest:
        source = pair.source
        cells = (pair.id, f"{source.topic}:{source.partition}@{source.offset}", pair.primary.text, pair.shadow.text)
        table.add_row(*(Text(_short(visible(cell))) for cell in cells), Text(f"{size:.4g}"))
    return table


def _short(text: str) -> str:
    return text if len(text) <= _LONG else f"{text[: _LONG - 1]}…"
