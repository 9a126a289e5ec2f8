"""The file that `forebay init` writes: common settings with their descriptions and default values."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from forebay.stream.config.names import environment_name
from forebay.stream.config.sections import Settings, section_types
from forebay.stream.config.toml_text import toml_value
from forebay.stream.config.values import allowed

COMMON_KEYS: Final = {
    "kafka": (
        "bootstrap_servers",
        "group_id",
        "security_protocol",
        "sasl_mechanism",
        "sasl_username",
        "sasl_password",
        "ssl_cafile",
    ),
    "input": ("topics", "auto_offset_reset"),
    "batch": ("max_batch_size", "max_queue_delay_ms"),
    "model": ("repository", "name", "version", "device"),
    "trust": ("repositories", "manifests"),
    "output": ("compression_type",),
    "delivery": ("processing_guarantee",),
    "aggregate": ("closed_after_ms", "webhook_url"),
    "topics": ("prefix", "partitions", "replication_factor"),
    "admin": ("host", "port", "token"),
    "log": ("level", "format"),
}
WIDTH: Final = 118
HEAD: Final = f"""\
# Common settings of Forebay, with their defaults. `forebay config` prints all settings.
# The environment overrides this file: {environment_name("kafka.bootstrap_servers")}=...
# `forebay check` verifies the settings, the cluster, the topics and the model.
"""

RULE: Final = """\
# Alert rules: any number, each with a name, and a count or rate of failures, or a metric such as latency_p99_ms with
# above = 250, of category "performance". docs/alerts.md lists the keys.
# [[aggregate.alerts]]
# name = "too many bad events"
# rate = 0.05
# severity = "critical"
"""


MODELS: Final = """\
# Several models in one worker, instead of model.name and model.version; the first is the default. What an entry does
# not set is inherited from [model] and [batch]; a model takes windows only if its entry has them.
# [[models]]
# name = "fraud"
# [[models]]
# name = "visits"
# topics = ["clicks"]
# batch.max_batch_size = 256
# window = { kind = "session", gap_ms = 60000 }
"""


FORMATS: Final = (
    '# format = "msgpack"  # and [input.mapping]: events other than Forebay\'s own JSON, see docs/formats.md'
)


ROLLOUTS: Final = """\
# Change the version while workers run (`forebay models canary`). Run `forebay topics create` again after enabling.
# [rollouts]
# enabled = true
"""


EVALUATE: Final = """\
# Measure the quality of the models by labels (`forebay evaluate`). Run `forebay topics create` again after enabling.
# [evaluate]
# enabled = true
"""


DRIFT: Final = """\
# Compare the rows and scores of the models with their training. Run `forebay topics create` again after enabling.
# [drift]
# enabled = true
"""


def template(values: Mapping[str, object] = MappingProxyType({})) -> str:
    """Return the file as text. Settings without a value are comments.

    values: by "section.key", instead of the defaults. Settings that are not common ones are added to their sections.
    """
    lines = [HEAD]
    others: dict[str, list[str]] = {}
    for place in values:
        name, _, key = place.partition(".")
        if key not in COMMON_KEYS.get(name, ()):
            others.setdefault(name, []).append(key)
    for name, keys in COMMON_KEYS.items():
        lines.append(f"[{name}]")
        for key in (*keys, *others.pop(name, ())):
            lines += _setting(name, key, values)
        if name == "input" and "input.format" not in values:
            lines.append(FORMATS)
        lines.append("")
        if name == "aggregate":
            lines.append(RULE)
        if name == "model":
            lines.append(MODELS)
            lines.append(ROLLOUTS)
            lines.append(EVALUATE)
            lines.append(DRIFT)
    for name, added in others.items():
        lines += [f"[{name}]", *(line for key in added for line in _setting(name, key, values)), ""]
    return "\n".join(lines)


def _setting(section: str, key: str, values: Mapping[str, object]) -> list[str]:
    """Return the lines of a setting: its description, and its value."""
    field = section_types()[section].model_fields[key]
    value = values.get(f"{section}.{key}", getattr(getattr(Settings(), section), key))
    choice = allowed(field)
    # Choices of words are listed; ranges of numbers would only make the line longer.
    words = f"{field.description} Allowed: {choice}." if choice.startswith('"') else str(field.description)
    lines = [f"# {line}" for line in textwrap.wrap(words, WIDTH - 2, break_on_hyphens=False)]
    if value is None:
        return [*lines, f"# {key} = {'1' if 'whole number' in allowed(field) else toml_value('...')}"]
    return [*lines, f"{key} = {toml_value(list(value) if isinstance(value, tuple) else value)}"]
