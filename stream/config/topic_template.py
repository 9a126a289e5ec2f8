"""The part of a configuration file that reads a topic: format and mapping, with the reason of each line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from forebay.stream.config.toml_text import toml_key, toml_value

MARK: Final = "# ? "
HEAD: Final = """\
# How the events of {topic} are read, proposed by `forebay init --from-topic` from {count:,} of them.
"""
GUESSES: Final = """\
# Lines with "# ?" are guesses: look at each. Remove the "# ?" of a line that is right, or correct a value.
"""


class ProposedLine(NamedTuple):
    """A setting with its reason. is_active: whether it is in force, or a comment. is_sure: whether people should look at it."""

    key: str
    value: object
    why: str
    is_active: bool = True
    is_sure: bool = True


def topic_template(
    topic: str,
    count: int,
    *,
    lines: Sequence[ProposedLine],
    fields: Sequence[ProposedLine],
    missing: Mapping[str, str],
    notes: Sequence[str],
) -> str:
    """Return [input.mapping] and [input.mapping.fields], as far as they have entries, with reasons as comments.

    fields: features whose path is not their name. missing: features without a field, with the reason. notes: on the sample.
    """
    text = [HEAD.format(topic=topic, count=count)]
    text += [f"# {note}\n" for note in notes]
    entries = [*lines, *fields]
    if not entries and not missing:
        return "".join([*text, "# No setting is needed.\n"])
    if any(not line.is_active or not line.is_sure for line in entries):
        text.append(GUESSES)
    if lines:
        text.append("[input.mapping]\n" if any(line.is_active for line in lines) else "# [input.mapping]\n")
        text += map(_line, lines)
    if fields:
        is_active = any(line.is_active for line in fields)
        text.append(f"{'' if is_active else MARK}[input.mapping.fields]\n")
        text += map(_line, fields)
    text += [f"# {toml_key(name)} = ...  # {why}\n" for name, why in missing.items()]
    return "".join(text)


def _line(line: ProposedLine) -> str:
    mark = "" if line.is_active else MARK
    look = "" if line.is_sure or not line.is_active else "? "
    why = f"  # {look}{line.why}" if line.why else ""
    return f"{mark}{toml_key(line.key)} = {toml_value(line.value)}{why}\n"
