"""The table of `forebay models compress`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.text import Text

from forebay.stream.core.quantities import quantity
from forebay.stream.terminal.console import DIM, GREEN, RED, YELLOW, plain_table, visible

if TYPE_CHECKING:
    from forebay.models.compression.compress import CompressionReport, Outcome
    from forebay.models.compression.measured import Measured
    from forebay.models.measurement.timing import PairedTiming
    from forebay.stream.bench.compressed_models import WorkerRate

_KB = 1_000
_MB = 1_000_000
_COLOURS = {"faster": GREEN, "slower": RED, "the same": DIM}


def compression_text(report: CompressionReport, place: str, rates: tuple[WorkerRate, ...]) -> RenderableType:
    """Return the table of all models, their notes, and the limit that binds."""
    original = report.original
    sizes = [timing.batch_size for timing in original.timings]
    columns = [f"{size:,} row{'s' if size > 1 else ''}" for size in sizes]
    table = plain_table(
        "model",
        "KB",
        original.loss.metric.replace("_", " "),
        "loss",
        *columns,
        "MB",
        "verdict",
        right=("KB", "MB", *columns),
    )
    best, front = report.best, report.pareto_labels()
    table.add_row(*_cells(original, original, original.label in front), Text("measured against itself", DIM))
    for outcome in report.outcomes:
        verdict = _verdict(outcome, is_best=outcome is best)
        if outcome.measured is None:
            table.add_row(visible(outcome.label), *[""] * (len(columns) + 4), verdict)
        else:
            table.add_row(*_cells(outcome.measured, original, outcome.label in front), verdict)
    rows = report.rows
    facts = (
        f"{place}: {quantity(rows['held_out'], 'held-out row')}, {quantity(rows['training'], 'training row')}; speed-ups "
        f"are ratios of CPU time, in turn, with 95 % intervals; * no other model is better in loss, size and time (at "
        f"{report.goals.batch_size:,} rows)"
    )
    parts: list[RenderableType] = [Text(visible(facts), DIM), table, *_notes(report)]
    if report.binding is not None:
        word = "binding limit" if best is not None else "closest to all limits"
        parts.append(Text(visible(f"{word}: {report.binding.option}: {report.binding.text}"), YELLOW))
    parts += [Text(visible(rate.text)) for rate in rates]
    return Group(*parts)


def _cells(measured: Measured, original: Measured, is_on_front: bool) -> list[Text]:
    loss = measured.loss
    worst = loss.worst_slice
    test = "" if loss.test is None or measured is original else f" p={loss.test.p_value:.2g}"
    slice_text = "" if worst is None or measured is original else f"\nworst {worst.loss:+.3f} {worst.name}"
    losses = (
        ""
        if measured is original
        else f"{loss.loss.value:+.4f} ({loss.loss.low:+.3f}…{loss.loss.high:+.3f}){test}{slice_text}"
    )
    share = measured.num_bytes / original.num_bytes
    memory = "–" if measured.memory is None else f"{measured.memory.model / _MB:.1f}"
    return [
        Text(visible(measured.label) + (" *" if is_on_front else "")),
        Text(f"{measured.num_bytes / _KB:,.1f}\n{share:.2f}×"),
        Text(f"{loss.other:.4f}"),
        Text(visible(losses)),
        *[_speed(timing) for timing in measured.timings],
        Text(memory),
    ]


def _speed(timing: PairedTiming) -> Text:
    speed = timing.speed_up
    text = f"{speed.value:.2f}×\n{speed.low:.2f}–{speed.high:.2f}"
    return Text(text, _COLOURS[timing.verdict])


def _verdict(outcome: Outcome, *, is_best: bool) -> Text:
    if is_best:
        return Text(f"best: {outcome.verdict}", GREEN)
    if outcome.may_be_registered:
        return Text(outcome.verdict)
    return Text(visible(f"refused: {outcome.verdict}"), RED)


def _notes(report: CompressionReport) -> list[Text]:
    found: dict[str, None] = {}
    for outcome in report.outcomes:
        if outcome.measured is not None:
            for note in outcome.measured.subject.notes:
                found.setdefault(f"{outcome.label}: {note}", None)
    found.setdefault(f"energy: {report.energy}", None)
    return [Text(visible(f"  {note}"), DIM) for note in found]
