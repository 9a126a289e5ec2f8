"""The part of a configuration file that says where the features of a topic's events are, for people to look at."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from forebay.stream.config.toml_text import toml_key, toml_value

HEAD: Final = """\
# Where the parts of an event are, proposed by `forebay init --from-subject {subject}` (version {version}, {type}).
# Lines with "# ?" are guesses by similar names: look at each, and remove the "# ?" of those that are right.
"""


class ProposedField(NamedTuple):
    """A line of [input.mapping.fields]. path: None if no field was found. note: why, as a comment. is_sure: by its name."""

    feature: str
    path: str | None
    note: str
    is_sure: bool


def mapping_template(
    subject: str, version: int | None, type: str, *, parts: Sequence[tuple[str, str]], fields: Sequence[ProposedField]
) -> str:
    """Return the tables [input.mapping] and [input.mapping.fields]. parts: id and timestamp, as settings."""
    lines = [HEAD.format(subject=subject, version=version, type=type) + "[input.mapping]"]
    lines += [f"{name} = {toml_value(source)}" for name, source in parts]
    lines.append("[input.mapping.fields]")
    for field in fields:
        if field.path is None:
            lines.append(f"# {toml_key(field.feature)} = ...  # {field.note}")
        else:
            mark = "" if field.is_sure else "# ? "
            lines.append(f"{mark}{toml_key(field.feature)} = {toml_value(field.path)}  # {field.note}")
    return "\n".join(lines) + "\n"
