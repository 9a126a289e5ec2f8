"""Allowed values survive a file and the environment; all other values raise ConfigError."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from forebay.schemas.errors import ConfigError
from forebay.schemas.topics import ALL_TOPICS
from forebay.stream.config.load import load_settings
from forebay.stream.config.names import environment_name
from forebay.stream.config.sections import Settings
from forebay.stream.config.toml_text import toml_value

NAMES = st.text("abcXYZ019._-", min_size=1, max_size=20).filter(lambda name: name not in (".", ".."))
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=20).filter(
    lambda text: bool(text.strip())
)
# Ranges that are not narrowed by rules between settings.
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "kafka.client_id": TEXTS,
    "kafka.group_id": TEXTS,
    "kafka.group_instance_id": NAMES,
    "kafka.session_timeout_ms": st.integers(10_000, 1_800_000),
    "input.topics": st.lists(
        NAMES.filter(lambda name: name not in {spec.name for spec in ALL_TOPICS}),
        min_size=1,
        max_size=4,
        unique=True,
    ),
    "input.auto_offset_reset": st.sampled_from(["earliest", "latest", "none"]),
    "input.from_timestamp": st.integers(0, 2**53),
    "batch.max_batch_size": st.integers(1, 16_384),
    "batch.max_queue_delay_ms": st.integers(0, 60_000),
    "worker.processes": st.one_of(st.integers(1, 1024), st.just("auto")),
    "model.repository": TEXTS,
    "model.version": st.integers(1, 999_999_999),
    "model.device": st.sampled_from(["auto", "cpu", "cuda", "cuda:3", "mps"]),
    "topics.prefix": st.text("ab.-_", max_size=20),
    "log.format": st.sampled_from(["auto", "text", "json"]),
}


def settings_of(values: dict[str, Any]) -> Settings:
    sections: dict[str, dict[str, Any]] = {}
    for name, value in values.items():
        section, _, key = name.partition(".")
        sections.setdefault(section, {})[key] = value
    return Settings.model_validate(sections)


@given(st.fixed_dictionaries({}, optional=VALUES))
def test_a_file_gives_back_what_was_written(values: dict[str, Any]) -> None:
    lines = [f"{name} = {toml_value(value)}" for name, value in values.items()]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "forebay.toml")
        path.write_text("\n".join(lines), encoding="utf-8", newline="\n")
        loaded = load_settings(path, {})
    assert loaded.settings == settings_of(values)
    assert {name: origin for name, origin in loaded.origins.items() if origin != "default"} == {
        name: f"{path}:{number}" for number, name in enumerate(values, start=1)
    }


@given(st.fixed_dictionaries({}, optional=VALUES))
def test_the_environment_gives_back_what_was_set(values: dict[str, Any]) -> None:
    environ = {
        environment_name(name): ",".join(value) if isinstance(value, list) else str(value)
        for name, value in values.items()
    }
    assert load_settings(None, environ).settings == settings_of(values)


@given(st.dictionaries(st.sampled_from([*VALUES, "kafka.sasl_password", "kafka.nothing", "none"]), st.text()))
def test_any_text_is_a_setting_or_a_problem(texts: dict[str, str]) -> None:
    try:
        load_settings(None, {environment_name(name): text for name, text in texts.items()})
    except ConfigError as error:
        assert error.problems


@given(st.binary(max_size=200))
def test_any_file_is_settings_or_a_config_error(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "forebay.toml")
        path.write_bytes(data)
        try:
            load_settings(path, {})
        except ConfigError as error:
            assert str(path) in " ".join([error.message, *error.problems])
