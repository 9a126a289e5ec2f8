"""Print the settings in force as TOML with origins, or as JSON. Secrets are hidden."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from pydantic.fields import FieldInfo

from forebay.stream.config.load import DEFAULT, LoadedSettings
from forebay.stream.config.model_checks import effective_key
from forebay.stream.config.paths import MODELS, entry_keys, field_of, value_of
from forebay.stream.config.redaction import HIDDEN as HIDDEN
from forebay.stream.config.sections import section_types
from forebay.stream.config.toml_text import plain_value, toml_value
from forebay.stream.config.values import allowed, redacted

MAX_ALIGNED_CHARS: Final = 60
_OWN_TABLES: Final = ("window", "decision")
"""The tables of a model that inherit nothing."""


def render_toml(loaded: LoadedSettings, *, only_changed: bool = False) -> str:
    """Return one line per setting; unset ones are comments. Read as TOML, the text yields the same settings except secrets."""
    blocks: list[str] = []
    for name, keys in _shown(loaded, only_changed).items():
        blocks.append(_block(f"[{name}]", [_shown_setting(loaded, f"{name}.{key}") for key in keys]))
    for index, tables in enumerate(_shown_models(loaded, only_changed)):
        for table, settings in tables.items():
            # The windows of a model without windows would double the text.
            if table not in _OWN_TABLES or getattr(loaded.settings.models[index], table).model_fields_set:
                blocks.append(_block(f"[{MODELS}.{table}]" if table else f"[[{MODELS}]]", settings))
    return "\n".join(blocks)


def render_json(loaded: LoadedSettings, *, only_changed: bool = False) -> dict[str, object]:
    """Return {"file", "settings": {section: {key: {"value", "origin", "allowed", "description"}}}}, secrets HIDDEN.

    With [[models]] also "models": for each model an object like that of a section, with objects "batch", "window" and
    "decision" in it.
    """
    document: dict[str, object] = {
        "file": str(loaded.path) if loaded.path else None,
        "settings": {
            name: {key: _described(_shown_setting(loaded, f"{name}.{key}")) for key in keys}
            for name, keys in _shown(loaded, only_changed).items()
        },
    }
    if loaded.settings.models:
        document[MODELS] = [
            {setting.key: _described(setting) for setting in tables.pop("", [])}
            | {name: {setting.key: _described(setting) for setting in settings} for name, settings in tables.items()}
            for tables in _shown_models(loaded, only_changed)
        ]
    return document


class _Setting(NamedTuple):
    """A setting as it is shown: its key within its table, its value with secrets hidden, and its origin."""

    key: str
    value: object
    origin: str
    field: FieldInfo


def _shown(loaded: LoadedSettings, only_changed: bool) -> dict[str, list[str]]:
    """Return the keys to show, by section, without empty sections and without what [[models]] replaces."""
    shown = {
        name: [key for key in section.model_fields if not only_changed or loaded.origins[f"{name}.{key}"] != DEFAULT]
        for name, section in section_types().items()
    }
    if loaded.settings.models:
        for name in _OWN_TABLES:
            del shown[name]
        shown["model"] = [key for key in shown["model"] if key not in ("name", "version")]
    return {name: keys for name, keys in shown.items() if keys}


def _shown_setting(loaded: LoadedSettings, key: str) -> _Setting:
    return _setting(key, value_of(loaded.settings, key), loaded.origins[key])


def _shown_models(loaded: LoadedSettings, only_changed: bool) -> Iterator[dict[str, list[_Setting]]]:
    """Yield the settings of each model by table, "" for those above the tables, with inherited values."""
    for index, served in enumerate(loaded.settings.models_to_serve() if loaded.settings.models else ()):
        tables: dict[str, list[_Setting]] = {"": []}
        for key in entry_keys(index + 1, start=index):
            if only_changed and loaded.origins[key] == DEFAULT:
                continue
            table, _, name = key.partition("].")[2].rpartition(".")
            section = {
                "": served.model,
                "batch": served.batch,
                "window": served.window,
                "decision": served.decision,
            }[table]
            # The topics of the model itself: those that the first model has in addition depend on the other models.
            value = value_of(loaded.settings, key) if name == "topics" else getattr(section, name)
            inherited = effective_key(loaded.settings, index, f"{table or 'model'}.{name}")
            own = loaded.origins[key] != DEFAULT or name in ("name", "version", "topics") or table in _OWN_TABLES
            tables.setdefault(table, []).append(_setting(key, value, loaded.origins[key if own else inherited]))
        yield tables


def _setting(key: str, value: object, origin: str) -> _Setting:
    field = field_of(key)
    return _Setting(key.rpartition(".")[2], plain_value(redacted(field, value)), origin, field)


def _block(header: str, settings: Sequence[_Setting]) -> str:
    assignments = [
        f"# {one.key} is not set" if one.value is None else f"{one.key} = {toml_value(one.value)}" for one in settings
    ]
    width = min(max(map(len, assignments), default=0), MAX_ALIGNED_CHARS)
    lines = [f"{text:<{width}}  # {one.origin}" for text, one in zip(assignments, settings, strict=True)]
    return "\n".join([header, *lines, ""])


def _described(setting: _Setting) -> dict[str, object]:
    return {
        "value": setting.value,
        "origin": setting.origin,
        "allowed": allowed(setting.field),
        "description": setting.field.description,
    }
