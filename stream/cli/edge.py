"""`forebay edge`: export models to small devices, verify them there, and plan what fits."""

from __future__ import annotations

import click

from forebay.stream.cli.edge_export import command as export_command
from forebay.stream.cli.edge_inspect import command as inspect_command
from forebay.stream.cli.edge_plan import command as plan_command
from forebay.stream.cli.edge_verify import command as verify_command
from forebay.stream.cli.examples import examples
from forebay.stream.cli.subcommands import SubcommandGroup


@click.group(
    name="edge",
    cls=SubcommandGroup,
    answers={
        "deploy": "`forebay edge export` writes a folder; copy it to the device as you copy other files.",
        "run": "`python runner.py` in the exported folder predicts on the device.",
        "report": "`python report.py` in the exported folder counts and posts; the setting edge.reports accepts the posts.",
        "compress": "`forebay models compress` makes smaller versions; `forebay edge plan` says which of them fit.",
    },
    epilog=examples(
        ("forebay edge plan churn --max-memory 96MB --max-latency-ms 5", "which versions fit this machine"),
        ("forebay edge export churn@3 --to ./churn-edge", "a folder that needs onnxruntime and numpy only"),
        ("forebay edge verify ./churn-edge", "golden rows, latency and memory, against its limits"),
    ),
)
def command() -> None:
    """Run models on small devices, without Forebay and without a connection.

    A version is given as NAME@VERSION or NAME@ALIAS; NAME alone is its highest version.
    """


command.add_command(inspect_command)
command.add_command(plan_command)
command.add_command(export_command)
command.add_command(verify_command)
