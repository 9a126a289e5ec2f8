"""`forebay bench --advise`: what a wished rate needs, by a short measurement of this machine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import click

from forebay.stream.cli.bench_progress import show_progress
from forebay.stream.cli.interrupts import run_async
from forebay.stream.cli.output import echo, echo_json

if TYPE_CHECKING:
    from forebay.stream.bench.measure import Plan

UNWIND_S: Final = 60.0


def print_advice(plan: Plan, options: Mapping[str, Any], *, as_json: bool) -> None:
    """Measure one worker and print the advice for the rate of the plan. Raises ForebayError, UsageError.

    options: the fields of `Wish` that were given; None for the others.
    """
    if not plan.rate:
        raise click.UsageError("--advise needs a --rate above 0")
    from forebay.stream.bench.advice import Wish, advise
    from forebay.stream.bench.advice_measurement import Effort, measure_for_advice
    from forebay.stream.bench.advice_report import advice_to_dict, advice_to_table, helm_lines, measured_lines
    from forebay.stream.bench.host_info import describe_host
    from forebay.stream.core.clock import SystemClock
    from forebay.stream.terminal.console import print_whole

    given = {name: value for name, value in options.items() if value is not None}
    wish = Wish(plan.rate, replication_factor=max(3, plan.settings.topics.replication_factor), **given)
    with show_progress(as_json) as progress:
        measuring = measure_for_advice(plan, Effort(), clock=SystemClock(), progress=progress)
        measured = run_async(measuring, unwind_s=UNWIND_S)
    advice = advise(measured, wish)
    if as_json:
        about = {"broker": plan.broker_name, "model": plan.model_name, "machine": describe_host()}
        echo_json(advice_to_dict(measured, wish, advice, about))
        return
    echo(
        f"{plan.model_name} · {plan.broker_name} · {measured.cores} cores, shared by worker, broker and bench\n\nmeasured"
    )
    for text in measured_lines(measured):
        echo(f"  {text}")
    wished = f"{wish.rate:,.0f} events/s" + ("" if wish.p99_ms is None else f", p99 {wish.p99_ms:g} ms")
    echo(f"\nfor {wished}")
    print_whole(advice_to_table(advice))
    for problem in advice.problems:
        echo(f"problem: {problem}")
    echo("\nassumed")
    for text in advice.assumptions:
        echo(f"  {text}")
    echo("\nvalues for the Helm chart")
    for text in helm_lines(advice, wish):
        echo(f"  {text}")
