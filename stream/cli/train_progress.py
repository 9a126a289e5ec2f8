"""Show the progress of a training: a bar with loss and rate on a terminal, a line for each epoch elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Final

from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from forebay.stream.terminal.console import stderr_console

if TYPE_CHECKING:
    from forebay.models.training.loop import StepReport
    from forebay.models.training.recipe import Recipe
    from forebay.models.training.training_state import EpochRecord, TrainingState
    from forebay.models.training.tuning import Trial

_REFRESH_S: Final = 0.2


class TrainingProgress:
    """An observer of the training loop. monotonic_s: the clock."""

    def __init__(self, recipe: Recipe, monotonic_s: Callable[[], float], *, quiet: bool) -> None:
        self._epochs = recipe.training.epochs
        self._batch_size = recipe.training.batch_size
        self._monotonic_s = monotonic_s
        self._quiet = quiet
        self._console = stderr_console()
        self._bar = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TextColumn("{task.fields[detail]}", markup=False),
            TimeElapsedColumn(),
            console=self._console,
            transient=True,
            disable=quiet or not self._console.is_terminal,
        )
        self._task = self._bar.add_task("starting", total=None, detail="")
        self._shown_s = self._started_s = monotonic_s()
        self._steps = 0
        self._shown_steps = 0

    def __enter__(self) -> TrainingProgress:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def on_stage(self, name: str) -> None:
        """Show a stage without a known length."""
        self._bar.update(self._task, description=name, total=None, detail="")
        self._shown_s = self._started_s = self._monotonic_s()

    def on_trial(self, trial: Trial | None, number: int, trials: int) -> None:
        """Show the number of a trial that starts, and write a line for one that has ended."""
        if trial is None:
            self._bar.update(self._task, description=f"trial {number} of {trials}", total=trials, completed=number - 1)
        elif not self._quiet and self._bar.disable:
            loss = trial.problem or f"validation loss {trial.validation_loss:.5g}"
            self._console.print(f"trial {number} of {trials}: {loss}", markup=False, highlight=False)

    def on_step(self, state: TrainingState, report: Callable[[], StepReport]) -> None:
        """Update the bar, a few times a second."""
        self._steps += 1
        now_s = self._monotonic_s()
        if self._bar.disable or now_s - self._shown_s < _REFRESH_S:
            return
        done = report()
        rate = (self._steps - self._shown_steps) * self._batch_size / (now_s - self._shown_s)
        self._shown_s, self._shown_steps = now_s, self._steps
        best = f", best {state.best_loss:.5g}" if state.best_epoch else ""
        self._bar.update(
            self._task,
            description=f"epoch {done.epoch} of {self._epochs}",
            total=1.0,
            completed=done.fraction(self._epochs),
            detail=f"loss {done.loss:.5g}{best}, {rate:,.0f} rows/s",
        )

    def on_epoch(self, state: TrainingState, record: EpochRecord) -> None:
        """Write a line, except where a bar is shown or nothing is wanted."""
        if self._quiet or not self._bar.disable:
            return
        mark = " (best)" if record.epoch == state.best_epoch else ""
        self._console.print(
            f"epoch {record.epoch}: training loss {record.training_loss:.5g}, "
            f"validation loss {record.validation_loss:.5g}{mark}",
            markup=False,
            highlight=False,
        )
