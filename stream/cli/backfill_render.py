"""What `forebay backfill` shows: the plan, the progress with an estimate of the end, and the summary."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Final, Protocol

from forebay.stream.cli.output import echo
from forebay.stream.core.quantities import quantity

if TYPE_CHECKING:
    from forebay.stream.backfill.completion import Completion
    from forebay.stream.backfill.outcomes import Outcomes
    from forebay.stream.backfill.run import BackfillPlan

LINE_EVERY_S: Final = 10.0
"""Time between two lines of progress where there is no terminal."""

OnProgress = Callable[["Completion"], None]


class BackfillDisplay(Protocol):
    """Shows a back-fill to a person or a program."""

    def show_plan(self, plan: BackfillPlan, *, dry_run: bool) -> None: ...
    def progress(self, plan: BackfillPlan) -> contextlib.AbstractContextManager[OnProgress]: ...
    def show_end(self, plan: BackfillPlan, state: Completion, outcomes: Outcomes, pace: Pace | None) -> None: ...
    def show_interrupted(self, plan: BackfillPlan) -> None: ...


class Pace:
    """The pace of a back-fill since this command has begun. now_s: returns the monotonic time."""

    def __init__(self, done: int, *, now_s: Callable[[], float] = time.monotonic) -> None:
        self._began_with = done
        self._now_s = now_s
        self._began_s = now_s()

    @property
    def seconds(self) -> float:
        """The seconds since the beginning."""
        return self._now_s() - self._began_s

    def per_second(self, done: int) -> float:
        """Return how many offsets were committed in a second."""
        return (done - self._began_with) / max(self.seconds, 1e-9)

    def left_s(self, state: Completion) -> float | None:
        """Return the estimate of the seconds that are left; None before there is progress."""
        rate = self.per_second(state.done)
        return (state.total - state.done) / rate if rate > 0 else None


def open_display(as_json: bool, *, pace: Callable[[int], Pace] = Pace) -> BackfillDisplay:
    """Return the display for a person, or for a program."""
    return _JsonLines(pace) if as_json else _Text(pace)


class _JsonLines:
    """Writes a JSON document in a line for each step."""

    def __init__(self, pace: Callable[[int], Pace]) -> None:
        self._pace = pace

    def show_plan(self, plan: BackfillPlan, *, dry_run: bool) -> None:
        self._write(
            "plan",
            plan,
            dry_run=dry_run,
            is_new=plan.is_new,
            group=plan.run.group_id,
            outputs=plan.run.outputs,
            models=[{"name": ref.name, "version": ref.version} for ref in plan.models],
            partitions=[
                {
                    "topic": place.topic,
                    "partition": place.partition,
                    "start": part.frozen.start,
                    "end": part.frozen.end,
                    "committed": part.committed.offset,
                }
                for place, part in sorted(plan.progress.items())
            ],
        )

    @contextlib.contextmanager
    def progress(self, plan: BackfillPlan) -> Iterator[OnProgress]:
        pace: Pace | None = None
        shown_s = 0.0

        def show(state: Completion) -> None:
            nonlocal pace, shown_s
            pace = pace or self._pace(state.done)
            if state.is_complete or pace.seconds >= shown_s:
                shown_s = pace.seconds + 1.0
                left_s, rate = pace.left_s(state), pace.per_second(state.done)
                self._write(
                    "progress",
                    plan,
                    done=state.done,
                    total=state.total,
                    per_second=round(rate, 1),
                    left_s=None if left_s is None else round(left_s, 1),
                )

        yield show

    def show_end(self, plan: BackfillPlan, state: Completion, outcomes: Outcomes, pace: Pace | None) -> None:
        self._write(
            "complete",
            plan,
            was_complete=pace is None,
            events=outcomes.num_events,
            predictions=outcomes.num_predictions,
            outcomes={outcome.value: count for outcome, count in sorted(outcomes.totals.outcomes.items())},
            failures=dict(sorted(outcomes.kinds.items())),
            partitions_with_open_windows=state.open_windows,
            seconds=None if pace is None else round(pace.seconds, 3),
            per_second=None if pace is None else round(pace.per_second(state.done), 1),
        )

    def show_interrupted(self, plan: BackfillPlan) -> None:
        self._write("interrupted", plan)

    def _write(self, step: str, plan: BackfillPlan, **fields: Any) -> None:
        import orjson

        echo(orjson.dumps({"step": step, "run_id": plan.run.run_id, **fields}).decode())


class _Text:
    """Writes tables and sentences, and a bar on a terminal."""

    def __init__(self, pace: Callable[[int], Pace]) -> None:
        self._pace = pace

    def show_plan(self, plan: BackfillPlan, *, dry_run: bool) -> None:
        from forebay.stream.terminal.console import plain_table, print_whole

        table = plain_table("partition", "from", "to", "committed", "left", right=("from", "to", "committed", "left"))
        for place, part in sorted(plan.progress.items()):
            table.add_row(
                f"{place.topic}-{place.partition}",
                f"{part.frozen.start:,}",
                f"{part.frozen.end:,}",
                f"{max(0, part.committed.offset - part.frozen.start):,}",
                f"{part.remaining:,}",
            )
        print_whole(table)
        left = sum(part.remaining for part in plan.progress.values())
        if not left and not plan.is_new:
            return
        what = "would begin" if dry_run else "begins"
        echo(
            f"back-fill {plan.run.run_id} {what if plan.is_new else 'continues'}: at most {quantity(left, 'record')}, "
            f"predicted by {', '.join(f'{ref.name}@{ref.version}' for ref in plan.models)}"
        )
        echo(f"results go to {plan.run.outputs}predictions and other topics of this prefix; group {plan.run.group_id}")

    @contextlib.contextmanager
    def progress(self, plan: BackfillPlan) -> Iterator[OnProgress]:
        from forebay.stream.cli.dlq_reading import bar
        from forebay.stream.terminal.console import stderr_console

        if stderr_console().is_terminal:
            with bar(f"back-fill {plan.run.run_id}", quiet=False) as show_bar:
                yield lambda state: show_bar(state.done, state.total)
            return
        pace: Pace | None = None
        shown_s = LINE_EVERY_S

        def show(state: Completion) -> None:
            nonlocal pace, shown_s
            pace = pace or self._pace(state.done)
            if pace.seconds >= shown_s:
                shown_s = pace.seconds + LINE_EVERY_S
                left_s = pace.left_s(state)
                left = "" if left_s is None else f", about {left_s:,.0f} s left"
                echo(
                    f"{state.done:,} of {state.total:,} offsets, {pace.per_second(state.done):,.0f} a second{left}",
                    err=True,
                )

        yield show

    def show_end(self, plan: BackfillPlan, state: Completion, outcomes: Outcomes, pace: Pace | None) -> None:
        if pace is None:
            echo(f"back-fill {plan.run.run_id} is finished already: {outcomes.totals}")
        else:
            echo(f"back-fill {plan.run.run_id} is complete: {outcomes.totals}")
            echo(f"in {pace.seconds:,.1f} s, {pace.per_second(state.done):,.0f} offsets a second")
        for kind, count in outcomes.kinds.most_common():
            echo(f"  {kind}: {count:,}")
        if state.open_windows:
            echo(
                f"windows are still open in {quantity(state.open_windows, 'partition')}: their events are read, and they "
                "are not emitted (--close-windows emits them)"
            )

    def show_interrupted(self, plan: BackfillPlan) -> None:
        echo(f"interrupted: `forebay backfill --run-id {plan.run.run_id}` continues", err=True)
