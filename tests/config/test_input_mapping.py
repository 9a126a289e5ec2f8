"""The settings of formats and mappings: where each mistake is reported, and that a printed configuration is read back."""

from __future__ import annotations

from pathlib import Path

import pytest

from forebay.schemas.errors import ConfigError
from forebay.stream.config.input_mapping import MappingTable, ValueSource, parse_source
from forebay.stream.config.load import LoadedSettings, load_settings
from forebay.stream.config.render import render_json, render_toml

GOOD = """\
[input]
topics = ["features", "a.b"]
format = "msgpack"
[input.formats]
"a.b" = "json"
[input.mapping]
id = "field:order.id"
timestamp = "record"
[input.mapping.fields]
age = "payload.user.age"
"x y" = ["p.x", "q.x"]
[input.mappings."a.b"]
id = "position"
"""


def load(tmp_path: Path, text: str) -> LoadedSettings:
    path = tmp_path / "forebay.toml"
    path.write_text(text)
    return load_settings(path, {})


def test_a_printed_configuration_is_read_back(tmp_path: Path) -> None:
    loaded = load(tmp_path, GOOD)
    section = loaded.settings.input
    assert section.formats == {"a.b": "json"} and section.mappings == {"a.b": MappingTable(id="position")}
    assert section.mapping is not None and section.mapping.fields["x y"] == ("p.x", "q.x")
    assert load(tmp_path, render_toml(loaded)).settings == loaded.settings
    shown = render_json(loaded)["settings"]
    assert isinstance(shown, dict) and shown["input"]["formats"]["value"] == {"a.b": "json"}


def test_the_environment_has_json() -> None:
    environ = {
        "FOREBAY_INPUT__FORMATS": '{"features": "msgpack"}',
        "FOREBAY_INPUT__MAPPING": '{"id": "key"}',
        "FOREBAY_INPUT__MAPPINGS": '{"features": {"features": "payload.after"}}',
    }
    section = load_settings(None, environ).settings.input
    assert section.formats == {"features": "msgpack"} and section.mapping == MappingTable(id="key")
    assert section.mappings["features"].features == "payload.after"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('format = "xml"', 'input.format = "xml" (FILE:2): must be "auto", "json"'),
        ("formats.features = 'jsonn'", 'input.formats, features = "jsonn" (FILE:2): must be one of auto, json'),
        ("formats.other = 'json'", "must not contain 'other': topics that are read are features, labels"),
        ("formats.labels = 'image'", "must be auto or json or msgpack or cloudevents for the labels' topic, 'labels'"),
        ("mapping.label = 'field:y'", "must have label only for the labels' topic, 'labels'"),
        ("mappings.features.label = 'field:y'", "must have label only for the labels' topic, 'labels'"),
        ("format = 'protobuf'", "needs schema_registry.urls: only a registry has schemas of protobuf"),
        ("formats.features = 'json-schema'", "needs schema_registry.urls: only a registry has schemas of json-schema"),
        ("mappings.other.id = 'key'", "must not contain 'other': topics that are read are features, labels"),
        (
            "[input.mapping]\nid = 'order.id'",
            'input.mapping, id = "order.id" (FILE:3): must be "field:<path>", "header:<name>", "key" or "position"',
        ),
        ("[input.mapping]\nid = 'record'", "(not a source of this value)"),
        ("[input.mapping]\nid = 'field:a..b'", "write a name with a dot as"),
        ("[input.mapping]\ntimestampp = 'record'", "timestampp (FILE:3): unknown key; did you mean timestamp?"),
        ("[input.mapping]\ntimestamp_unit = 'm'", 'must be "auto", "s", "ms", "us" or "ns"'),
        (
            "[input.mapping]\nid = 'field:a.\"b'",
            "input.mapping, id = 'field:a.\"b' (FILE:3): must be",
        ),
        (
            "[input.mapping.fields]\nok = 'a'\nage = 3",
            "input.mapping, fields.age = 3 (FILE:4): must be a path, such as payload.user.age, or a list of 1 to 16 paths "
            "(neither text nor a list)",
        ),
        ("[input.mapping.fields]\nage = []", "fields.age = [] (FILE:3): must be a path"),
        ("[input.mapping.fields]\n'x.y' = ''", 'fields."x.y" = "" (FILE:3): must be a path'),
        ("[input.mapping.fields]\nage = ['a', 7]", 'fields.age = ["a", 7] (FILE:3): must be a path'),
        ("[input.mapping.fields]\nage = ['a', 'b..c']", "('b..c' is not names separated by dots"),
        ("[input.mapping.fields]\nage = 'a.\"b'", "fields.age = 'a.\"b' (FILE:3): must be a path"),
        (
            "[input.mappings.features]\nid = 'key'\n[input.mappings.features.fields]\nage = 'a..b'",
            "input.mappings, topic 'features', fields.age = \"a..b\" (FILE:5): must be a path",
        ),
        ("mapping = 3", "input.mapping, the table (FILE:2): must be a table"),
        ("[input.mappings.features]\nid = 'record'", "input.mappings, topic 'features', id = \"record\" (FILE:3)"),
    ],
)
def test_each_mistake_is_reported_with_its_place_and_what_is_allowed(tmp_path: Path, text: str, problem: str) -> None:
    with pytest.raises(ConfigError) as failure:
        load(tmp_path, f"[input]\n{text}\n")
    assert problem in "\n".join(failure.value.problems).replace(str(tmp_path / "forebay.toml"), "FILE")


def test_every_wrong_entry_is_reported(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as failure:
        load(tmp_path, "[input.mapping]\nid = 'x'\n[input.mapping.fields]\na = 1\nb = 'ok'\nc = ''\n")
    assert [problem.split(" (")[0] for problem in failure.value.problems] == [
        'input.mapping, id = "x"', "input.mapping, fields.a = 1", 'input.mapping, fields.c = ""'
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "source"),
    [
        ("key", ValueSource("key")),
        ("field:a.b", ValueSource("field", ("a", "b"))),
        ("header:X-Id", ValueSource("header", header="x-id")),
    ],
)
def test_a_source_is_a_word_a_field_or_a_header(text: str, source: ValueSource) -> None:
    assert parse_source(text) == source
