"""The result of a training as text."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from forebay.stream.terminal.console import DIM, GREEN, YELLOW, plain_table, visible

if TYPE_CHECKING:
    from forebay.models.training.run import TrainingOutcome
    from forebay.models.training.tuning import Trial


def outcome_text(outcome: TrainingOutcome, report: Path) -> Text:
    """Return what was trained, how good it is, and what to do next."""
    text = Text()
    data, fitted, section = outcome.data, outcome.fitted, outcome.recipe.registration
    for warning in data.warnings:
        text.append("warning ", YELLOW).append(f"{visible(warning)}\n")
    for note in data.notes:
        text.append(f"note {visible(note)}\n", DIM)
    unit = "epoch" if outcome.recipe.model.is_net else "round"
    parts = ", ".join(f"{len(rows):,} {name}" for name, rows in data.split.parts().items() if len(rows))
    text.append(f"{outcome.recipe.model.architecture}, {data.signature.task}: {parts} rows\n")
    if fitted.end == "interrupted":
        text.append("interrupted: ", YELLOW).append(f"kept the best {unit} so far\n")
    text.append(f"best {unit} {fitted.best} of {len(fitted.history)} (ended: {fitted.end})\n")
    for part, metrics in outcome.metrics.items():
        shown = ", ".join(f"{name.replace('_', ' ')} {value:.4g}" for name, value in metrics.items() if name != "rows")
        text.append(f"{part}: {shown}\n")
    done = outcome.registration
    if done is None:
        text.append("not registered\n")
    else:
        text.append("✓ ", GREEN).append(f"{done.name}@{done.version}", "bold")
        text.append(f"  {visible(section.repository.rstrip('/'))}/{done.name}/{done.version}\n")
        text.append(f"  backend {done.backend}, content sha256 {outcome.content_sha256[:16]}\n", DIM)
    text.append(f"report: {visible(str(report))}\n")
    if done is not None:
        text.append(
            f"next: forebay check --set model.repository={visible(section.repository)} "
            f"--set model.name={done.name} --set model.version={done.version}"
        )
    return text


def trials_table(trials: list[Trial]) -> Table:
    """Return the trials of a search, the best first."""
    names = list(trials[0].values)
    table = plain_table("trial", *(name.partition(".")[2] for name in names), "validation loss", "", right=("trial",))
    infinite = float("inf")
    for trial in sorted(trials, key=lambda one: infinite if one.validation_loss is None else one.validation_loss):
        loss = "failed" if trial.validation_loss is None else f"{trial.validation_loss:.5g}"
        values = [str(list(value) if isinstance(value, tuple) else value) for value in trial.values.values()]
        table.add_row(str(trial.number), *values, loss, visible(trial.problem))
    return table
