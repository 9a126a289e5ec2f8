"""`forebay init`: write a configuration file with common settings."""

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
        ("forebay init -o worker.toml", "write another file"),
        ("forebay init -o -", "print to standard output"),
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
    help="File to write; - for standard output.",
)
@click.option("--force", is_flag=True, help="Overwrite an existing file.")
def command(path: Path, force: bool) -> None:
    """Write a configuration file with the common settings, their descriptions and default values."""
    from forebay.stream.config.template import template

    if str(path) == "-":
        echo(template(), nl=False)
        return
    try:
        with path.open("w" if force else "x", encoding="utf-8") as file:
            file.write(template())
    except FileExistsError:
        raise ConfigError(
            f"{path} already exists", kind="config_exists", remedy="--force overwrites it; -o FILE writes another file"
        ) from None
    except OSError as error:
        raise StorageError(
            f"{path} cannot be written: {error.strerror or error}",
            remedy="check that the folder exists and is writable",
        ) from None
    option = "" if path == Path(DEFAULT_FILE) else f" -c {path}"
    echo(f"wrote {path}; next: forebay check{option}")
