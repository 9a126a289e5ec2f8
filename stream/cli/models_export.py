"""`forebay models export`: copy a version out of a repository."""

from __future__ import annotations

from pathlib import Path

import click

from forebay.stream.cli.examples import examples
from forebay.stream.cli.models_options import chosen_repository, repository_option
from forebay.stream.cli.options import ConfigSource, config_options, json_option
from forebay.stream.cli.output import echo, echo_json


@click.command(
    name="export",
    epilog=examples(
        ("forebay models export churn@3 churn.zip", "one file with everything"),
        ("forebay models export churn@champion ./elsewhere", "a repository with this version"),
        ("forebay models export churn@3 churn.onnx", "the model's file alone, of an ONNX model"),
    ),
)
@config_options
@click.argument("reference", metavar="NAME[@VERSION|@ALIAS]")
@click.argument("path", metavar="PATH", type=click.Path(path_type=Path))
@repository_option
@json_option
def command(source: ConfigSource, reference: str, path: Path, repository: str | None, as_json: bool) -> None:
    """Copy a verified version to PATH, which must not exist.

    PATH is a zip file if it ends with .zip, the model's file alone if it ends like that (.onnx, .safetensors), else a folder.
    Folders, and zip files when unpacked, are model repositories with this version.
    """
    chosen = chosen_repository(source, repository)
    from forebay.models.artefacts.artefact import read_version
    from forebay.models.artefacts.export import export_version
    from forebay.models.artefacts.repository import split_reference
    from forebay.stream.cli.models_render import download_bar

    name, version = split_reference(reference)
    stored = read_version(chosen, name, version)
    with download_bar() as on_progress:
        written = export_version(stored, path, on_progress)
    number = stored.manifest.version
    if as_json:
        echo_json({"name": name, "version": number, "path": str(path), "written": written})
    else:
        echo(f"{path}: {written} of {name}@{number}, verified")
