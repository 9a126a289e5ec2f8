"""`forebay init`: write a configuration file with common settings."""

from __future__ import annotations

from pathlib import Path

import click

from forebay.schemas.errors import ConfigError, StorageError
from forebay.stream.cli.examples import examples
from forebay.stream.cli.options import DEFAULT_FILE, ConfigSource, config_options
from forebay.stream.cli.output import echo


@click.command(
    name="init",
    epilog=examples(
        ("forebay init", "write ./forebay.toml"),
        ("forebay init -o worker.toml", "write another file"),
        ("forebay init -o -", "print to standard output"),
        ("forebay init --from-subject features-value -o worker.toml", "with a proposed mapping from a schema's fields"),
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
@click.option(
    "--from-subject",
    metavar="NAME",
    help="Add [input.mapping] for the latest schema of this subject, and the model in the configuration that is found.",
)
@config_options
def command(source: ConfigSource, path: Path, force: bool, from_subject: str | None) -> None:
    """Write a configuration file with the common settings, their descriptions and default values.

    With --from-subject, the fields of a schema are proposed for the features of the model: those with the same name or an alias
    as settings, those with a similar name as comments. The registry and the model are those of the configuration that is found,
    or of the environment.
    """
    from forebay.stream.config.template import template

    text = template()
    if from_subject is not None:
        from forebay.stream.cli.init_mapping import proposed_mapping

        text += "\n" + proposed_mapping(source.load().settings, from_subject)
    if str(path) == "-":
        echo(text, nl=False)
        return
    try:
        with path.open("w" if force else "x", encoding="utf-8") as file:
            file.write(text)
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
