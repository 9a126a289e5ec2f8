"""`forebay edge inspect`: show this machine, or a described device."""

from __future__ import annotations

from pathlib import Path

import click

from forebay.stream.cli.edge_options import device_option, require_onnx, write_text
from forebay.stream.cli.examples import examples
from forebay.stream.cli.options import json_option
from forebay.stream.cli.output import echo, echo_json


@click.command(
    name="inspect",
    epilog=examples(
        ("forebay edge inspect", "this machine"),
        ("forebay edge inspect --measure --write device.toml", "with what operations cost here, for `plan`"),
        ("forebay edge inspect --device device.toml --json", "a described device, for scripts"),
    ),
)
@device_option
@click.option("--measure", is_flag=True, help="Measure what operations cost on this machine; takes 20 seconds.")
@click.option("--write", "path", type=click.Path(path_type=Path), metavar="FILE", help="Write the device as TOML.")
@json_option
def command(device: Path | None, measure: bool, path: Path | None, as_json: bool) -> None:
    """Show the processor, instruction sets, memory, caches, accelerators and power source of this machine.

    What cannot be read is unknown. The TOML file of --write can be edited, taken to another machine and given to
    `forebay edge plan --device`.
    """
    if measure and device is not None:
        raise click.UsageError("--measure measures this machine: run it on the device itself, without --device")
    if measure:
        require_onnx()
    import msgspec

    from forebay.stream.cli.edge_reading import measured, read_device
    from forebay.stream.cli.edge_render import device_table
    from forebay.stream.terminal.console import print_whole

    profile = read_device(device)
    if measure:
        profile = measured(profile)
    if path is not None:
        write_text(path, profile.to_toml())
    if as_json:
        echo_json(msgspec.to_builtins(profile))
        return
    print_whole(device_table(profile))
    if path is not None:
        echo(f"{path}: written", err=True)
