"""`forebay check`: check that a worker could run, and print each finding."""

from __future__ import annotations

import logging
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from forebay.schemas.errors import ConfigError
from forebay.stream.cli.examples import examples
from forebay.stream.cli.interrupts import run_async
from forebay.stream.cli.options import ConfigSource, bootstrap_option, config_options, json_option, timeout_option
from forebay.stream.cli.output import echo_json
from forebay.stream.core.quantities import quantity

if TYPE_CHECKING:
    from rich.console import Console

    from forebay.stream.preflight import Check, OnCheck

NAME_WIDTH: Final = 13
INDENT: Final = " " * (NAME_WIDTH + 3)
MARKS: Final = {
    "ok": ("✓", "green"),
    "warning": ("!", "yellow"),
    "failed": ("✗", "bold red"),
    "unknown": ("?", "yellow"),
    "skipped": ("-", "dim"),
}
"""By the values of `Status`."""


@click.command(
    name="check",
    epilog=examples(
        ("forebay check", "with ./forebay.toml or the defaults"),
        ("forebay check -c worker.toml", "with another configuration file"),
        ("forebay check --bootstrap-server kafka:9092", "against another cluster"),
        ("forebay check --sample event.avro", "which fields of an event become features"),
        ("forebay check --json", "for scripts"),
    ),
)
@config_options
@bootstrap_option
@timeout_option("Time limit for the cluster in each step.", default=5.0)
@click.option(
    "--sample",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="The value of one record, to show which of its fields become features. [default: the schema <topic>-value]",
)
@json_option
def command(
    source: ConfigSource, bootstrap_server: str | None, timeout_s: float, sample: Path | None, as_json: bool
) -> int:
    """Check everything that workers and the aggregator need: configuration, admin API, cluster, topics, models.

    Includes permissions, and the schema registry if one is configured.

    Does not read or write records, and does not create topics. The exit status is 1 if a check fails.
    """
    from forebay.stream.preflight import Status
    from forebay.stream.terminal.console import GREEN, RED, YELLOW, stdout_console

    # The printed checks say what the client logs while it cannot connect.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    console = stdout_console()
    checks: list[Check] = []

    def on_check(check: Check) -> None:
        checks.append(check)
        if not as_json:
            _print(check, console)

    check_all(source.with_broker(bootstrap_server), timeout_s, on_check, sample=sample)
    failed, warned = (sum(check.status is status for check in checks) for status in (Status.FAILED, Status.WARNING))
    if as_json:
        document = {"ok": not failed, "checks": [asdict(check) for check in checks]}
        echo_json(document)
    elif failed:
        console.print(f"\n{failed} of {len(checks)} checks failed", style=RED)
    elif warned:
        console.print(f"\n`forebay run` starts a worker; {warned} of {len(checks)} checks have warnings", style=YELLOW)
    else:
        console.print("\nall checks passed: `forebay run` starts a worker", style=GREEN)
    return 1 if failed else 0


def check_all(source: ConfigSource, timeout_s: float, on_check: OnCheck, *, sample: Path | None) -> None:
    from forebay.stream.cli.check_trust import check_trust
    from forebay.stream.config.load import DEFAULT, FROM_MODELS
    from forebay.stream.preflight import (
        AFTER_BROKER,
        Check,
        Status,
        check_admin,
        check_alert_rules,
        check_cluster,
        check_models,
        check_schema_registry,
    )
    from forebay.stream.worker.window_plan import window_plan

    try:
        loaded = source.load()
    except ConfigError as error:
        on_check(
            Check("configuration", Status.FAILED, detail=error.message, remedy=error.remedy, problems=error.problems)
        )
        for name in ("admin", "broker", *AFTER_BROKER, "model"):
            on_check(Check(name, Status.SKIPPED, "skipped because the configuration has errors"))
        return
    num_set = sum(origin not in (DEFAULT, FROM_MODELS) for origin in loaded.origins.values())
    on_check(
        Check(
            "configuration",
            Status.OK,
            f"{loaded.path or 'no file'}; {quantity(num_set, 'setting')} set, the others have their defaults",
        )
    )
    on_check(check_admin(loaded.settings))
    for check in check_trust(loaded.settings):
        on_check(check)
    if loaded.settings.aggregate.alerts:
        on_check(check_alert_rules(loaded.settings))
    run_async(check_cluster(loaded.settings, timeout_s=timeout_s, on_check=on_check))
    registry = run_async(check_schema_registry(loaded.settings.schema_registry))
    if registry is not None:
        on_check(registry)
    from forebay.stream.cli.check_mapping import check_formats, check_mappings

    if (formats := check_formats(loaded.settings)) is not None:
        on_check(formats)
    elif sample is not None or (registry is not None and registry.status is not Status.FAILED):
        from forebay.stream.cli.check_outputs import check_outputs

        if (outputs := check_outputs(loaded.settings)) is not None:
            on_check(outputs)
        for check in check_mappings(loaded.settings, sample):
            on_check(check)
    for check in check_models(loaded.settings, window_plan):
        on_check(check)


def _print(check: Check, console: Console) -> None:
    from rich.text import Text

    from forebay.stream.terminal.console import YELLOW, visible

    mark, style = MARKS[check.status]
    text = Text.assemble((f"{mark} ", style), f"{check.name:<{NAME_WIDTH}} {visible(check.detail)}")
    for problem in check.problems:
        text.append(f"\n{INDENT}- {visible(problem)}")
    if check.remedy:
        text.append(f"\n{INDENT}")
        text.append("hint: ", style=YELLOW)
        text.append(visible(check.remedy))
    console.print(text)
