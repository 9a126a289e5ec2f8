"""`forebay edge verify`: verify an exported folder on this machine."""

from __future__ import annotations

from pathlib import Path

import click

from forebay.stream.cli.examples import examples
from forebay.stream.cli.options import json_option
from forebay.stream.cli.output import echo, echo_json


@click.command(
    name="verify",
    epilog=examples(
        ("forebay edge verify ./churn-edge", "on this machine"),
        ("forebay edge verify ./churn-edge --json | jq .p99_ms", "for scripts"),
        ("python churn-edge/verify.py", "the same on a device without Forebay"),
    ),
)
@click.argument("folder", type=click.Path(path_type=Path), metavar="FOLDER")
@json_option
def command(folder: Path, as_json: bool) -> int:
    """Verify an exported folder: checksums, golden rows, latency and peak memory, against the limits that it states.

    It runs verify.py of the folder in a process of its own, if the programs in the folder are those of this version of
    Forebay. The exit status is 1 if something is not as it should be.
    """
    from forebay.models.edge.verification import verify_folder

    found = verify_folder(folder)
    if as_json:
        echo_json(found.document)
        return 0 if found.ok else 1
    for line in found.lines():
        echo(line)
    return 0 if found.ok else 1
