"""`forebay init`: a small configuration file to begin with."""

from __future__ import annotations

from pathlib import Path

import click

from forebay.schemas.errors import ConfigError, StorageError
from forebay.stream.cli.examples import examples
from forebay.stream.cli.options import DEFAULT_FILE
from forebay.stream.cli.output import echo


@click.command(
    name="init",
    epilog=examples(
        ("forebay init", "write ./forebay.toml"),
        ("forebay init -o worker.toml", "elsewhere"),
        ("forebay init -o -", "only print it"),
    ),
)
@click.option(
    "-o",
    "--output",
    "path",
    type=click.Path(path_type=Path, allow_dash=True),
    default=Path(DEFAULT_FILE),
    show_default=True,
    metavar="FILE",
    help="Where to write it; - is standard output.",
)
@click.option("--force", is_flag=True, help="Overwrite the file if it is there.")
def command(path: Path, force: bool) -> None:
    """Write a small commented configuration file that holds the defaults."""
    from forebay.stream.config.template import template

    if str(path) == "-":
        echo(template(), nl=False)
        return
    try:
        with path.open("w" if force else "x", encoding="utf-8") as file:
            file.write(template())
    except FileExistsError:
        raise ConfigError(
            f"{path} is already there", kind="config_exists", remedy="--force overwrites it; -o FILE writes elsewhere"
        ) from None
    except OSError as error:
        raise StorageError(
            f"{path} cannot be written: {error.strerror or error}", remedy="see the folder and its permissions"
        ) from None
    option = "" if path == Path(DEFAULT_FILE) else f" -c {path}"
    echo(f"wrote {path}; next: forebay check{option}")
