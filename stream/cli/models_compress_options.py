"""The options of `forebay models compress` that set keys of its recipe."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])
Option = Callable[[F], F]


def _all(function: F, options: list[Any]) -> F:
    for option in reversed(options):
        function = option(function)
    return function


def _numbers(_: click.Context, __: click.Parameter, value: str | None) -> tuple[int, ...] | None:
    """Return whole numbers from 1, separated by commas."""
    if value is None:
        return None
    try:
        numbers = tuple(int(part) for part in value.split(","))
    except ValueError:
        numbers = ()
    if not numbers or min(numbers) < 1:
        raise click.BadParameter(f"{value!r} is not a list of whole numbers from 1, such as 64,32")
    return numbers


class _Ratio(click.ParamType):
    """A share that also enables its method: the two keys of the recipe are set together."""

    name = "share"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            ratio = float(value)
        except ValueError:
            ratio = 0.0
        if not 0 < ratio < 1:
            self.fail(f"{value!r} is not a number above 0 and below 1", param, ctx)
        return ratio


def _enable(**keys: Any) -> Callable[[click.Context, click.Parameter, Any], Any]:
    """Return a callback that sets further keys of the recipe if the option is given."""

    def callback(context: click.Context, _: click.Parameter, value: Any) -> Any:
        if value not in (None, False, ()):
            for name, key in keys.items():
                context.params[name] = key(value) if callable(key) else key
        return value

    return callback


def method_options(function: F) -> F:
    """Add the options that choose methods."""
    return _all(
        function,
        [
            click.option(
                "--prune",
                "pruning_ratio",
                type=_Ratio(),
                metavar="SHARE",
                callback=_enable(enable_pruning=True),
                help="Let this share of the neurons and channels leave, and train what is left.",
            ),
            click.option(
                "--unstructured",
                "pruning",
                flag_value="unstructured",
                help="With --prune: set weights to zero instead. Only a compressed file gets smaller.",
            ),
            click.option(
                "--quantize",
                "quantise",
                type=click.Choice(["int8", "int8-dynamic", "int4"]),
                callback=_enable(
                    enable_quantization=True,
                    quantization_bits=lambda value: 4 if value == "int4" else 8,
                    quantization=lambda value: "dynamic" if value == "int8-dynamic" else "static",
                ),
                help="int8: weights and values, by the ranges of training rows. int8-dynamic: by those of each call. int4: "
                "weights only.",
            ),
            click.option(
                "--distill",
                "enable_distillation",
                is_flag=True,
                help="Train a smaller net on the model's answers and the labels.",
            ),
            click.option(
                "--student",
                "student_hidden_dims",
                callback=_numbers,
                metavar="N,N,…",
                help="With --distill: the hidden layers. [default: half of the model's own]",
            ),
            click.option(
                "--temperature",
                type=click.FloatRange(min=0, min_open=True),
                metavar="NUMBER",
                help="With --distill. [default: 2]",
            ),
            click.option("--trees", type=_Ratio(), metavar="SHARE", help="Trees: keep this share of them."),
            click.option(
                "--depth", "max_depth", type=click.IntRange(min=1), metavar="N", help="Trees: at most N splits deep."
            ),
            click.option(
                "--thresholds",
                "threshold_bits",
                type=click.IntRange(2, 12),
                metavar="BITS",
                help="Trees: 2^BITS - 1 different thresholds for each column.",
            ),
            click.option("--search", is_flag=True, help="Try many methods and combinations that suit the model."),
        ],
    )


def limit_options(function: F) -> F:
    """Add the options that set limits."""
    number = click.FloatRange(min=0, min_open=True)
    return _all(
        function,
        [
            click.option(
                "--max-loss",
                type=float,
                metavar="NUMBER",
                help="Of accuracy; for a regression, relative increase of the error. [default: 0.005]",
            ),
            click.option(
                "--certain", is_flag=True, help="The upper end of the loss's 95 % interval must be within --max-loss."
            ),
            click.option("--max-slice-loss", type=float, metavar="NUMBER", help="Of any slice with 30 rows or more."),
            click.option(
                "--slice",
                "slices",
                multiple=True,
                metavar="FEATURE",
                help="Slice by this feature too, and not by label only; may be repeated.",
            ),
            click.option(
                "--min-speed-up", type=number, metavar="NUMBER", help="The lower end of its 95 % interval counts."
            ),
            click.option("--max-size", metavar="SIZE", help="Of the model's files, such as 200KB."),
            click.option(
                "--max-memory", metavar="SIZE", help="By which a process grows that loads and runs the model."
            ),
            click.option("--max-latency-ms", type=number, metavar="MS", help="99th percentile of a call."),
            click.option("--max-energy", type=number, metavar="MJ", help="Millijoules for 1,000 rows."),
        ],
    )


def measurement_options(function: F) -> F:
    """Add the options of the measurement."""
    return _all(
        function,
        [
            click.option(
                "--batch-sizes",
                callback=_numbers,
                metavar="N,N,…",
                help="Rows of the calls that are timed. [default: 1,64,512]",
            ),
            click.option(
                "--goal-batch-size",
                type=click.IntRange(min=1),
                metavar="N",
                help="The one of the limits on time. [default: the largest]",
            ),
            click.option(
                "--rounds", type=click.IntRange(min=2), metavar="N", help="Rounds of each timing. [default: 15]"
            ),
            click.option("--memory/--no-memory", default=None, help="Measure the peak memory. [default: measure it]"),
            click.option("--epochs", type=click.IntRange(min=1), metavar="N", help="Of each training. [default: 30]"),
            click.option("--seed", type=click.IntRange(min=0), metavar="N", help="Of trainings. [default: 0]"),
        ],
    )
