"""`forebay init`: write a configuration file with common settings."""

from __future__ import annotations

from pathlib import Path
from typing import TypedDict, Unpack

import click

from forebay.schemas.errors import ConfigError, StorageError
from forebay.stream.cli.examples import examples
from forebay.stream.cli.options import (
    DEFAULT_FILE,
    ConfigSource,
    bootstrap_option,
    config_options,
    json_option,
    timeout_option,
)
from forebay.stream.cli.output import echo, echo_json


class InitOptions(TypedDict):
    """The options of the command, by parameter name."""

    path: Path
    force: bool
    from_subject: str | None
    from_topic: str | None
    signature_path: Path
    limit: int
    timeout_s: float


@click.command(
    name="init",
    epilog=examples(
        ("forebay init", "write ./forebay.toml"),
        ("forebay init -o worker.toml", "write another file"),
        ("forebay init -o -", "print to standard output"),
        ("forebay init --from-topic orders", "look at some events; propose features and a mapping"),
        ("forebay init --from-topic orders --set model.name=fraud", "find the features of a registered model"),
        (
            "forebay init --from-topic orders --set schema_registry.urls=http://localhost:8081",
            "events in Avro or Protobuf",
        ),
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
@click.option("--force", is_flag=True, help="Overwrite existing files.")
@click.option(
    "--from-subject",
    metavar="NAME",
    help="Add [input.mapping] for the latest schema of this subject, and the model in the configuration that is found.",
)
@click.option(
    "--from-topic",
    metavar="TOPIC",
    help="Read the newest events of a topic, show what they hold, and propose features and [input.mapping].",
)
@click.option(
    "--signature",
    "signature_path",
    type=click.Path(path_type=Path),
    default=Path("signature.json"),
    show_default=True,
    metavar="FILE",
    help="With --from-topic: file for the features, as `forebay models register --signature` reads them.",
)
@click.option(
    "--limit",
    type=click.IntRange(1, 20_000),
    default=1_000,
    show_default=True,
    metavar="N",
    help="With --from-topic: read at most N events.",
)
@timeout_option("With --from-topic: read for at most this long.", default=15.0)
@bootstrap_option
@json_option
@config_options
def command(source: ConfigSource, bootstrap_server: str | None, as_json: bool, **options: Unpack[InitOptions]) -> None:
    """Write a configuration file with the common settings, their descriptions and default values.

    With --from-topic, the newest events of a topic are read, outside any consumer group. Their format, fields, types and values
    are shown, with what each field would become and why: id, timestamp, key, a feature, or nothing; guesses have a "?".
    The configuration gets the mapping, and the features are written to a file for registration. If a model is registered
    already, its features are searched among the fields, and what is missing is listed. The sample is then read with the
    configuration, by the decoder of a worker, and the result is shown.

    With --from-subject, the fields of a schema are proposed for the features of the model: those with the same name or an alias
    as settings, those with a similar name as comments. The registry and the model are those of the configuration that is found,
    or of the environment.
    """
    from forebay.stream.config.template import template

    if options["from_topic"] is not None:
        if options["from_subject"] is not None:
            raise click.UsageError("--from-topic and --from-subject cannot be combined")
        _from_topic(source.with_broker(bootstrap_server), options["from_topic"], options, as_json=as_json)
        return
    if as_json:
        raise click.UsageError("--json needs --from-topic")
    text = template()
    if options["from_subject"] is not None:
        from forebay.stream.cli.init_mapping import proposed_mapping

        text += "\n" + proposed_mapping(source.load().settings, options["from_subject"])
    path = options["path"]
    if str(path) == "-":
        echo(text, nl=False)
        return
    _write(path, text, force=options["force"])
    echo(f"wrote {path}; next: forebay check{_config_option(path)}")


def _from_topic(source: ConfigSource, topic: str, options: InitOptions, *, as_json: bool) -> None:
    """Look at a topic, show what is proposed, and write it."""
    from forebay.stream.cli.init_topic import Limits, inspect_topic, require_absent, signature_text
    from forebay.stream.cli.init_topic_render import inspection_document, inspection_table, next_steps
    from forebay.stream.terminal.console import print_whole, visible

    path, signature_path, force = options["path"], options["signature_path"], options["force"]
    is_printed = str(path) == "-"
    if not force and not is_printed:
        require_absent([path, signature_path])
    inspection = inspect_topic(source.load(), topic, Limits(options["limit"], options["timeout_s"]))
    if is_printed and not as_json:
        echo(inspection.text, nl=False)
        return
    if not as_json:
        print_whole(inspection_table(inspection))
    signature = signature_text(inspection)
    written: list[str] = []
    if not is_printed:
        _write(path, inspection.text, force=force)
        written.append(str(path))
        if signature is not None:
            _write(signature_path, signature, force=force)
            written.append(str(signature_path))
    if as_json:
        echo_json(inspection_document(inspection, written) | {"configuration": inspection.text})
        return
    echo(visible(f"wrote {' and '.join(written)}; next:"))
    for step in next_steps(inspection, _config_option(path), None if signature is None else str(signature_path)):
        echo(visible(f"  {step}"))


def _config_option(path: Path) -> str:
    return "" if path == Path(DEFAULT_FILE) else f" -c {path}"


def _write(path: Path, text: str, *, force: bool) -> None:
    """Write a file. Raises ConfigError if it exists and is not to be overwritten, StorageError if it cannot be written."""
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
