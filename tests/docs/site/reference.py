"""Pages of the documentation site that are made from the code: settings, commands, kinds of failure, topics, examples."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import click
from pydantic_core import PydanticUndefined

import forebay
from forebay.schemas import topics
from forebay.schemas.failures import FAILURES
from forebay.schemas.topics import TopicSpec
from forebay.stream.cli.group import group
from forebay.stream.config.sections import section_types
from forebay.stream.config.values import allowed

PYTHON_API = "# Python API\n\n{intro}\n\n{entries}\n"


def settings_page() -> str:
    """Return all settings with their types, defaults and descriptions, by section."""
    parts = [
        "# Settings\n",
        "In `forebay.toml`, as `FOREBAY_SECTION__KEY` in the environment, or with `--set section.key=value`. "
        "`forebay config` prints those in force.\n",
    ]
    for name, section in section_types().items():
        parts.append(f"## `[{name}]`\n")
        if section.__doc__:
            parts.append(f"{_paragraph(section.__doc__)}\n")
        rows = [
            (f"`{key}`", allowed(field), _default_text(field), field.description or "")
            for key, field in section.model_fields.items()
        ]
        parts.append(_table(("key", "allowed", "default", "meaning"), rows))
    return "\n".join(parts)


def _default_text(field: Any) -> str:
    if field.default is PydanticUndefined:
        return "" if field.default_factory is None else "empty"
    return "" if field.default is None else f"`{_plain(field.default)}`"


def _plain(value: object) -> str:
    return str(getattr(value, "value", value)) if not isinstance(value, bool) else str(value).lower()


def commands_page() -> str:
    """Return the help of all commands."""
    parts = [
        "# Commands\n",
        "Exit status: 0 success, 1 failure, 2 wrong configuration or command line, 130 interrupted.\n",
    ]
    for path, command in _commands(group, "forebay"):
        depth = "##" if path.count(" ") < 2 else "###"
        text = command.get_help(click.Context(command, info_name=path, max_content_width=100, terminal_width=100))
        parts.append(f"{depth} `{path}`\n\n```text\n{text}\n```\n")
    return "\n".join(parts)


def _commands(command: click.Command, path: str) -> Iterator[tuple[str, click.Command]]:
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            child = command.get_command(context, name)
            assert child is not None, name
            yield f"{path} {name}", child
            yield from _commands(child, f"{path} {name}")


def failures_page() -> str:
    """Return all kinds of failure, with what to do."""
    rows = [
        (
            f"`{kind.value}`",
            spec.outcome.value,
            spec.stage.value,
            "yes" if spec.retryable else "",
            spec.description,
            spec.remedy,
        )
        for kind, spec in FAILURES.items()
    ]
    intro = "Each event that is not predicted has one of these kinds: in its dead letter, in the counts and in the metrics.\n"
    heads = ("kind", "outcome", "stage", "may succeed later", "what happened", "what to do")
    return f"# Kinds of failure\n\n{intro}\n{_table(heads, rows)}"


def topics_page() -> str:
    """Return the catalogue of topics."""
    parts = ["# Topics\n", "All names have the configured prefix. `forebay topics create` creates them.\n"]
    parts += [_topic_text(topic) for topic in vars(topics).values() if isinstance(topic, TopicSpec)]
    return "\n".join(parts)


def _topic_text(topic: TopicSpec) -> str:
    hours = topic.retention_ms / 3_600_000
    kept = "without limit" if topic.retention_ms < 0 else f"{hours / 24:g} days" if hours >= 48 else f"{hours:g} hours"
    rows = [
        ("key", topic.key),
        ("partitions", str(topic.partitions or "as configured")),
        ("retention", f"{kept} ({topic.cleanup_policy})"),
        ("written by", topic.owner),
        ("schema", f"`{topic.schema}`"),
    ]
    return f"## `{topic.name}`\n\n{topic.description}\n\n{_table(('', ''), rows)}"


def python_page() -> str:
    """Return directives for the public Python names."""
    intro = _paragraph(forebay.__doc__ or "")
    entries = "\n\n".join(f"::: forebay.{name}" for name in forebay.__all__ if not name.startswith("_"))
    return PYTHON_API.format(intro=intro, entries=entries)


def examples_page(folder: Path) -> str:
    """Return the examples with their sources."""
    parts = ["# Examples\n", "The files of `examples/`. The tests run them.\n"]
    for path in sorted(folder.iterdir()):
        if path.suffix not in (".py", ".toml"):
            continue
        source = path.read_text(encoding="utf-8")
        first = _paragraph(ast.get_docstring(ast.parse(source)) or "") if path.suffix == ".py" else ""
        language = {".py": "python", ".toml": "toml"}[path.suffix]
        parts.append(f"## `{path.name}`\n\n{first}\n\n````{language}\n{source.rstrip()}\n````\n")
    return "\n".join(parts)


def _paragraph(text: str) -> str:
    return " ".join(text.strip().split("\n\n")[0].split())


def _table(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    heads = tuple(heads)
    lines = [_row(heads), "|" + "---|" * len(heads), *(_row(row) for row in rows)]
    return "\n".join(lines) + "\n"


def _row(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"
