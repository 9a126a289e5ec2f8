"""`forebay edge plan`: which versions fit a device."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from forebay.stream.cli.edge_options import device_option, limit_options, require_onnx
from forebay.stream.cli.examples import examples
from forebay.stream.cli.models_options import chosen_repository, repository_option
from forebay.stream.cli.options import ConfigSource, config_options, json_option
from forebay.stream.cli.output import echo, echo_json

if TYPE_CHECKING:
    from forebay.models.edge.plan import PlannedVersion


@click.command(
    name="plan",
    epilog=examples(
        ("forebay edge plan digits --max-size 256KB --max-memory 96MB --max-latency-ms 5", "limits of this machine"),
        ("forebay edge plan digits flights --device device.toml", "a described device, with its limits"),
        ("forebay edge plan digits --device device.toml --rate 50 --max-power-w 0.5 --json", "for scripts"),
    ),
)
@config_options
@click.argument("references", nargs=-1, required=True, metavar="NAME[@VERSION|@ALIAS]...")
@device_option
@limit_options
@click.option(
    "--max-power-w", type=click.FloatRange(min=0, min_open=True), metavar="W", help="Limit of the average power."
)
@click.option(
    "--rate",
    type=click.FloatRange(min=0),
    default=1.0,
    show_default=True,
    metavar="N",
    help="Predictions per second, for the power.",
)
@repository_option
@json_option
def command(
    source: ConfigSource,
    references: tuple[str, ...],
    device: Path | None,
    max_size: int | None,
    max_memory: int | None,
    max_latency_ms: float | None,
    max_power_w: float | None,
    rate: float,
    repository: str | None,
    as_json: bool,
) -> int:
    """Predict the size, memory, latency and power of versions on a device, and say which fit its limits.

    Of each NAME all versions are planned, those of `forebay models compress` included. Limits come from the options, else from
    the device's file. Times are of one prediction of one row, in a process as `forebay edge export` gives it.

    What operations cost comes from the device's file if it was written there with `forebay edge inspect --measure`; otherwise
    this machine is measured, and the result is scaled. The exit status is 1 if no version fits.
    """
    require_onnx()
    chosen = chosen_repository(source, repository)
    from forebay.models.edge.limits import Limits
    from forebay.models.edge.plan import Load, best_version, power_of
    from forebay.models.edge.planning import chosen_versions, plan_versions
    from forebay.stream.cli.edge_reading import device_costs, read_device
    from forebay.stream.terminal.console import stderr_console

    profile = read_device(device)
    stated = profile.limits.limits()
    limits = Limits(
        model_bytes=max_size or stated.model_bytes,
        memory_bytes=max_memory or stated.memory_bytes,
        p99_ms=max_latency_ms or stated.p99_ms,
        power_watts=max_power_w or stated.power_watts,
    )
    versions = chosen_versions(chosen, references)
    costs, origin = device_costs(profile)
    watts, is_estimate = power_of(profile)
    with stderr_console().status("planning") as status:
        planned = plan_versions(
            versions,
            costs,
            limits=limits,
            load=Load(rate, watts),
            on_version=lambda reference: status.update(f"planning {reference}"),
        )
    best = best_version(planned)
    notes = [f"costs: {origin}"]
    power = f"{watts:g} W of a busy core" + (
        ", an estimate: state power.active_watts of the device" if is_estimate else ""
    )
    notes.append(f"power: at {rate:g} predictions per second, with {power}")
    if as_json:
        found = {"limits": limits.to_dict(), "versions": [version.to_dict() for version in planned], "notes": notes}
        echo_json({**found, "best": None if best is None else best.reference})
    else:
        _print(planned, best, notes)
    return 0 if best is not None else 1


def _print(planned: list[PlannedVersion], best: PlannedVersion | None, notes: list[str]) -> None:
    from forebay.stream.cli.edge_render import plan_table, problems
    from forebay.stream.terminal.console import print_whole

    print_whole(plan_table(planned))
    echo()
    for line in (*problems(planned), *notes):
        echo(line)
    if best is None:
        echo("no version fits; `forebay models compress` makes smaller ones")
    else:
        echo(f"next: forebay edge export {best.reference} --to ./{best.name}-edge")
