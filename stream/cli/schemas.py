"""`forebay schemas`: print the formats of the topics as JSON Schema, examples, or an AsyncAPI document.

Its subcommands read and register schemas in a schema registry.
"""

from __future__ import annotations

import json

import click

from forebay.stream.cli.examples import examples
from forebay.stream.cli.options import ConfigSource, config_options
from forebay.stream.cli.output import echo
from forebay.stream.cli.schemas_registry import list_command, register_command, show_command
from forebay.stream.cli.subcommands import SubcommandGroup

_NAMES = (
    "event",
    "event-f32",
    "prediction",
    "dead-letter",
    "late-event",
    "rollout",
    "rollout-switch",
    "shadow-prediction",
    "label",
    "quality",
    "drift",
    "audit",
    "outcome-delta",
    "error-aggregate",
    "alert",
    "aggregator-changelog",
)


class SchemasGroup(SubcommandGroup):
    """Takes the names of Forebay's own schemas in the place of subcommands."""

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        return _print_command(cmd_name) if cmd_name in _NAMES else super().get_command(ctx, cmd_name)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] in _NAMES:
            return args[0], self.get_command(ctx, args[0]), args[1:]
        return super().resolve_command(ctx, args)


def _print_command(name: str) -> click.Command:
    """Return the command that prints one of Forebay's own schemas."""

    @click.command(name=name, hidden=True)
    @config_options
    @_examples_option
    @_asyncapi_option
    @click.pass_context
    def print_schema(context: click.Context, source: ConfigSource, show_examples: bool, asyncapi: bool) -> None:
        """Print the format of a record, as JSON Schema (2020-12)."""
        del source  # accepted as before NAME
        _print(name, show_examples=show_examples or context.obj["examples"], asyncapi=asyncapi)

    return print_schema


_examples_option = click.option(
    "--examples", "show_examples", is_flag=True, help="Print examples instead of the schema, as JSON lines."
)
_asyncapi_option = click.option(
    "--asyncapi", is_flag=True, help="Print an AsyncAPI 3.0 document with all topics, as JSON."
)


@click.group(
    name="schemas",
    cls=SchemasGroup,
    invoke_without_command=True,
    subcommand_metavar="[NAME | COMMAND] ...",
    epilog=examples(
        ("forebay schemas", "list Forebay's own schemas"),
        ("forebay schemas event", "the JSON Schema of an event"),
        ("forebay schemas event --examples", "valid and invalid events, one per line"),
        ("forebay schemas --asyncapi > asyncapi.json", "all schemas, with the configured topics"),
        ("forebay schemas list", "the subjects of the schema registry"),
        ("forebay schemas register --subject features-value --file event.avsc --dry-run", "is it compatible?"),
    ),
)
@config_options
@_examples_option
@_asyncapi_option
@click.pass_context
def command(context: click.Context, source: ConfigSource, show_examples: bool, asyncapi: bool) -> None:
    """Print the format of records that Forebay reads and writes, and read and register schemas in a schema registry.

    NAME prints a format as JSON Schema (2020-12): event (its value in JSON), event-f32 (the headers of an event with raw
    floats), prediction, dead-letter or late-event (its headers), rollout, rollout-switch, shadow-prediction, label, quality,
    drift, audit, outcome-delta, error-aggregate, alert or aggregator-changelog. Without NAME, all of them are listed.

    The commands need schema_registry.urls.
    """
    context.obj = {"examples": show_examples}
    if context.invoked_subcommand is None:
        _print(None, show_examples=show_examples, asyncapi=asyncapi, source=source)
    elif asyncapi:
        raise click.UsageError("--asyncapi prints all schemas: leave out NAME and --examples")


command.add_command(register_command)
command.add_command(list_command)
command.add_command(show_command)


def _print(name: str | None, *, show_examples: bool, asyncapi: bool, source: ConfigSource | None = None) -> None:
    if asyncapi:
        if name is not None or show_examples or source is None:
            raise click.UsageError("--asyncapi prints all schemas: leave out NAME and --examples")
        echo(_asyncapi(source), nl=False)
    elif show_examples:
        for line in _example_lines(name):
            echo(line)
    elif name is not None:
        from forebay.schemas.definitions import definitions
        from forebay.schemas.generate import to_text

        echo(to_text(definitions()[name]), nl=False)
    else:
        _list()


def _list() -> None:
    from rich.text import Text

    from forebay.schemas.definitions import definitions
    from forebay.schemas.topics import ALL_TOPICS
    from forebay.stream.terminal.console import stdout_console

    topics = {spec.schema: spec.name for spec in reversed(ALL_TOPICS)} | {"event-f32": "features"}
    width = max(map(len, _NAMES))
    console = stdout_console()
    for name, schema in definitions().items():
        console.print(Text.assemble((f"{name:<{width}}", "bold"), f"  {schema['title']} (topic {topics[name]})"))
    console.print(Text("\n`forebay schemas NAME` prints a schema, and with --examples its examples.", style="dim"))


def _example_lines(name: str | None) -> list[str]:
    import base64

    from forebay.schemas.examples import Example, bad_examples, good_examples

    def line(example: Example) -> str:
        shown: dict[str, object] = {"example": example.name, "schema": example.schema}
        if example.kind is not None:
            shown["rejected_as"] = example.kind.value
        shown["about"] = example.text
        for part, content in (("key", example.key), ("value", example.value)):
            if content is None:
                shown[part] = None
                continue
            try:
                text = content.decode()
            except UnicodeDecodeError:
                text = "\0"
            if text.isprintable():
                shown[part] = text
            else:
                shown[f"{part}_base64"] = base64.b64encode(content).decode()
        shown["headers"] = {header: content.decode() for header, content in example.headers}
        return json.dumps(shown, ensure_ascii=False)

    return [line(example) for example in (*good_examples(), *bad_examples()) if name in (None, example.schema)]


def _asyncapi(source: ConfigSource) -> str:
    from importlib.metadata import version

    from forebay.schemas.asyncapi import Deployment, asyncapi_document
    from forebay.schemas.generate import to_text
    from forebay.stream.config.evaluator_group import evaluator_group

    settings = source.load().settings
    deployment = Deployment(
        bootstrap_servers=settings.kafka.bootstrap_servers,
        security_protocol=settings.kafka.security_protocol,
        sasl_mechanism=settings.kafka.sasl_mechanism,
        group_id=settings.kafka.group_id,
        evaluator_group_id=evaluator_group(settings),
        prefix=settings.topics.prefix,
        input_topics=settings.input.topics,
        labels_topic=settings.evaluate.labels_topic,
        partitions=settings.topics.partitions,
        replication_factor=settings.topics.replication_factor,
    )
    return to_text(asyncapi_document(version("forebay"), deployment))
