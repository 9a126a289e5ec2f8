"""`forebay config`: print the settings in force."""

from __future__ import annotations

import click

from forebay.stream.cli.examples import examples
from forebay.stream.cli.options import ConfigSource, config_options, json_option
from forebay.stream.cli.output import echo, echo_json


@click.command(
    name="config",
    epilog=examples(
        ("forebay config", "all settings, with the origin of each"),
        ("forebay config --changed", "only settings that are set, not defaults"),
        ("forebay config --set batch.max_batch_size=64", "with a setting from the command line"),
        ("forebay config --json", "also allowed values and descriptions"),
    ),
)
@config_options
@click.option("--changed", is_flag=True, help="Print only settings from the file, the environment or the command line.")
@json_option
def command(source: ConfigSource, changed: bool, as_json: bool) -> None:
    """Print the settings in force and the origin of each, with secrets hidden.

    Later sources override earlier ones: defaults, file, environment (FOREBAY_SECTION__KEY), command line.
    """
    from forebay.stream.config.render import render_json, render_toml

    loaded = source.load()
    if as_json:
        echo_json(render_json(loaded, only_changed=changed))
    else:
        echo(render_toml(loaded, only_changed=changed), nl=False)
