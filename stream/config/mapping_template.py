"""The part of a configuration file that says where the features of a topic's events are, for people to look at."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from forebay.stream.config.toml_text import toml_key, toml_value

HEAD: Final = """\
# Where the parts of an event are, proposed by `forebay init --from-subject {subject}` (version {version}, {type}).
# What is not listed here is found without a setting, by its name or because the schema says so.
"""
GUESSES: Final = """\
# Lines with "# ?" are guesses by similar names: look at each, and remove the "# ?" of those that are right.
"""
NOTHING: Final = "# No setting is needed.\n"
MARK: Final = "# ? "


class ProposedPart(NamedTuple):
    """The source of an event's id, timestamp or key. note: why, as a comment."""

    name: str
    source: str
    note: str


class ProposedField(NamedTuple):
    """A line of [input.mapping.fields]. path: None if no field was found. note: why, as a comment. is_sure: by its name."""

    feature: str
    path: str | None
    note: str
    is_sure: bool


def mapping_template(
    subject: str, version: int | None, type: str, *, parts: Sequence[ProposedPart], fields: Sequence[ProposedField]
) -> str:
    """Return the tables [input.mapping] and [input.mapping.fields], as far as they have entries.

    fields: those that are not found without a setting.
    """
    head = HEAD.format(subject=subject, version=version, type=type)
    if not parts and not fields:
        return head + NOTHING
    lines: list[str] = []
    if parts:
        lines.append("[input.mapping]")
        lines += [f"{part.name} = {toml_value(part.source)}  # {part.note}" for part in parts]
    settings = [field for field in fields if field.path is not None]
    if settings:
        # A table without entries would be a setting, too.
        lines.append(f"{'' if any(field.is_sure for field in settings) else MARK}[input.mapping.fields]")
    for field in fields:
        if field.path is None:
            lines.append(f"# {toml_key(field.feature)} = ...  # {field.note}")
        else:
            mark = "" if field.is_sure else MARK
            lines.append(f"{mark}{toml_key(field.feature)} = {toml_value(field.path)}  # {field.note}")
    guesses = GUESSES if any(not field.is_sure for field in settings) else ""
    return head + guesses + "\n".join(lines) + "\n"
