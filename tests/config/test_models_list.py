"""[[models]] from the file, the environment and the command line: merging, places, and every refused mistake."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.schemas.errors import ConfigError
from forebay.stream.config.load import FROM_MODELS, load_settings
from forebay.stream.config.sections import Settings

TWO = """\
[model]
device = "cpu"
[batch]
max_batch_size = 100

[[models]]
name = "a"
batch.max_queue_delay_ms = 1

[[models]]
name = "b"
version = 4
topics = ["clicks"]
[models.batch]
max_batch_size = 8
[models.window]
kind = "tumbling"
size_ms = 1000
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "forebay.toml"
    path.write_text(text, encoding="utf-8")
    return path


def problems(
    path: Path | None = None, environ: Mapping[str, str] | None = None, overrides: Mapping[str, object] | None = None
) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_settings(path, environ or {}, overrides or {})
    return list(caught.value.problems)


def test_models_from_a_file_with_the_line_of_each_setting(tmp_path: Path) -> None:
    path = write(tmp_path, TWO)
    loaded = load_settings(path, {})
    a, b = loaded.settings.models_to_serve()
    assert (a.model.name, a.model.device, a.batch.max_batch_size, a.batch.max_queue_delay_ms) == ("a", "cpu", 100, 1)
    assert (a.topics, a.window.kind) == (("features",), "none")
    assert (b.model.name, b.model.version, b.model.device) == ("b", 4, "cpu")
    assert (b.batch.max_batch_size, b.batch.max_queue_delay_ms, b.window.size_ms) == (8, 2, 1000)
    assert b.topics == ("clicks",)
    assert loaded.settings.input.topics == ("features", "clicks")
    places = {key: origin.rpartition(":")[2] for key, origin in loaded.origins.items() if origin.startswith(str(path))}
    assert places == {
        "model.device": "2",
        "batch.max_batch_size": "4",
        "models[0].name": "7",
        "models[0].batch.max_queue_delay_ms": "8",
        "models[1].name": "11",
        "models[1].version": "12",
        "models[1].topics": "13",
        "models[1].batch.max_batch_size": "15",
        "models[1].window.kind": "17",
        "models[1].window.size_ms": "18",
    }
    assert loaded.origins["input.topics"] == FROM_MODELS
    assert loaded.origins["models[0].device"] == "default"


def test_the_environment_replaces_the_list_of_the_file(tmp_path: Path) -> None:
    environ = {"FOREBAY_MODELS": '[{"name": "c", "window": {"kind": "session", "gap_ms": 7}}]'}
    loaded = load_settings(write(tmp_path, TWO), environ)
    (c,) = loaded.settings.models_to_serve()
    assert (c.model.name, c.batch.max_queue_delay_ms, c.window.gap_ms) == ("c", 2, 7)
    assert loaded.origins["models[0].window.gap_ms"] == "environment FOREBAY_MODELS"


def test_the_command_line_replaces_the_list_or_sets_one_value(tmp_path: Path) -> None:
    path = write(tmp_path, TWO)
    overrides = {"models[1].version": "9", "models[0].batch.max_batch_size": "5", "models[1].topics": "x,y"}
    problem = "models[1].topics = ['x', 'y'] (command line): must be a single topic with models[1].window.kind tumbling"
    assert problem in problems(path, {}, overrides)[0]
    a, b = load_settings(path, {}, {**overrides, "models[1].topics": "x"}).settings.models_to_serve()
    assert (a.batch.max_batch_size, b.model.version, b.topics) == (5, 9, ("x",))
    replaced = load_settings(path, {}, {"models[0].version": "2", "models": '[{"name": "c"}]'}).settings
    assert [(served.model.name, served.model.version) for served in replaced.models_to_serve()] == [("c", 2)]


def test_an_index_with_leading_zeros_is_refused_rather_than_ignored(tmp_path: Path) -> None:
    path = write(tmp_path, TWO)
    (problem,) = problems(path, {}, {"models[01].version": "9"})
    assert problem.startswith("models[01].version (command line): unknown setting")


@pytest.mark.parametrize("text", ["", "[]"])
def test_an_empty_list_is_the_short_form(tmp_path: Path, text: str) -> None:
    loaded = load_settings(write(tmp_path, TWO), {"FOREBAY_MODELS": text, "FOREBAY_MODEL__NAME": "m"})
    assert loaded.settings.models == ()
    assert [served.model.name for served in loaded.settings.models_to_serve()] == ["m"]
    assert loaded.settings.input.topics == ("features",)


def test_empty_text_lets_a_model_inherit(tmp_path: Path) -> None:
    settings = load_settings(write(tmp_path, TWO), {}, {"models[1].version": "", "models[1].batch.max_batch_size": ""})
    b = settings.settings.models_to_serve()[1]
    assert (b.model.version, b.batch.max_batch_size) == (None, 100)


ENTRIES = st.lists(
    st.fixed_dictionaries(
        {},
        optional={
            "repository": st.sampled_from(["models", "/models"]),
            "version": st.integers(1, 9),
            "device": st.sampled_from(["cpu", "cuda:1"]),
            "threads": st.integers(1, 8),
            "call_timeout_ms": st.integers(1, 9_000),
            "batch": st.fixed_dictionaries({}, optional={"max_batch_size": st.integers(1, 999)}),
            "window": st.just({"kind": "session", "gap_ms": 3}),
        },
    ),
    min_size=1,
    max_size=4,
)


@given(ENTRIES)
def test_all_sources_give_the_same_models(
    tmp_path_factory: pytest.TempPathFactory, entries: list[dict[str, object]]
) -> None:
    tables = [{"name": f"m{index}", **entry} for index, entry in enumerate(entries)]
    text = json.dumps(tables)
    from_environment = load_settings(None, {"FOREBAY_MODELS": text}).settings
    from_command_line = load_settings(None, {}, {"models": text}).settings
    lines = []
    for table in tables:
        lines.append("[[models]]")
        lines += [f"{key} = {json.dumps(value)}" for key, value in table.items() if not isinstance(value, dict)]
        for key, inner in table.items():
            if isinstance(inner, dict):
                lines += [f"[models.{key}]", *(f"{name} = {json.dumps(value)}" for name, value in inner.items())]
    from_file = load_settings(write(tmp_path_factory.mktemp("file"), "\n".join(lines)), {}).settings
    assert from_environment == from_command_line == from_file
    for served, table in zip(from_file.models_to_serve(), tables, strict=True):
        assert served.model.model_dump() == Settings().model.model_dump() | {
            key: value for key, value in table.items() if key not in ("batch", "window")
        }


@given(st.text() | st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists).map(json.dumps))
def test_any_text_is_models_or_a_problem(text: str) -> None:
    try:
        load_settings(None, {"FOREBAY_MODELS": text})
    except ConfigError as error:
        assert error.problems


def one(text: str) -> str:
    """Return TOML with a valid first model and the text within the second."""
    return f'[[models]]\nname = "a"\n[[models]]\nname = "b"\n{text}'


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (one("devise = 'cpu'"), "models[1].devise ({}:5): unknown key; did you mean device?"),
        (one("max_batch_size = 3"), "models[1].max_batch_size ({}:5): unknown key; max_batch_size belongs to [models.batch]"),
        (one("size_ms = 3"), "models[1].size_ms ({}:5): unknown key; size_ms belongs to [models.window]"),
        (one("group_id = 'x'"), "models[1].group_id ({}:5): unknown key; group_id belongs to [kafka] and applies to all "
         "models"),
        (one("zzz = 'x'"), "models[1].zzz ({}:5): unknown key; the keys are name, repository, version, device, precision, "
         "cuda_graphs, threads, instances, call_timeout_ms, max_load_memory_mb, max_batch_latency_ms, topics, batch, window, "
         "decision"),
        (one("[models.batch]\nmax_batch_sizes = 3"), "models[1].batch.max_batch_sizes ({}:6): unknown key; did you mean "
         "max_batch_size?"),
        (one("[models.batch]\ntopics = ['x']"), "models[1].batch.topics ({}:6): unknown key; topics belongs to [[models]], "
         "above [models.batch]"),
        (one("[models.bach]\nmax_batch_size = 3"), "models[1].bach ({}:5): unknown key; did you mean batch?"),
        (one("window = 3"), "models[1].window ({}:5): must be a table: write [models.window], with its keys below"),
        (one("device = 'tpu'"), "models[1].device = \"tpu\" ({}:5): must be \"auto\", \"cpu\", \"cuda\", \"cuda:N\" or \"mps\" "
         "(invalid format)"),
        (one("version = '3'"), 'models[1].version = "3" ({}:5): must be a whole number from 1 to 999999999'),
        (one("[models.batch]\nmax_batch_size = 0"), "models[1].batch.max_batch_size = 0 ({}:6): must be a whole number from "
         "1 to 65536"),
        (one("[models.window]\nkind = 'x'"), 'models[1].window.kind = "x" ({}:6): must be "none", "tumbling", "hopping" or '
         '"session"'),
        (one("topics = []"), "models[1].topics = [] ({}:5): must be a list of different topic names (separated by commas in "
         "the environment), each 1 to 249 letters, digits, '.', '_' or '-' (the list is empty)"),
        ("[[models]]\nversion = 3", "models[0].name ({}:1): is missing; it must be 1 to 128 letters, digits, '.', '_' or "
         "'-', not beginning with a dot"),
        ("[models]\nname = 'a'", "models ({}:1): must be a list of tables: write [[models]] above the settings of each model"),
        ("[[modles]]\nname = 'a'", "modles ({}:1): unknown section; did you mean [[models]]?"),
        ("models = ['a']", "models ({}:1): must be a list of tables: write [[models]] above the settings of each model"),
        ("[[model]]\nname = 'a'", "model ({}:1): must be a section: write [model], with its keys below, or [[models]] for "
         "several models"),
        (one("[[models]]\nname = 'a'"), 'models[2].name = "a" ({}:6): must differ from models[0].name: events choose a model '
         "by its name"),
        (one("topics = ['x']\n[[models]]\nname = 'c'\ntopics = ['y', 'x']"), "models[2].topics = ['y', 'x'] ({}:8): must not "
         "contain 'x', which models[1].topics contains: a topic belongs to one model"),
        ("input.topics = ['y']\n" + one("topics = ['x']"), "models[1].topics = ['x'] ({}:6): must not contain 'x', which is "
         "not in input.topics: add it there, or leave input.topics out to read the topics of all models"),
        ("[model]\nname = 'x'\n" + one(""), "model.name = \"x\" ({}:2): must not be set together with [[models]]: remove it, "
         "and set name in an entry of [[models]]"),
        ("[model]\nversion = 3\n" + one(""), "model.version = 3 ({}:2): must not be set together with [[models]]: remove it, "
         "and set version in an entry of [[models]]"),
        ("[window]\nidle_timeout_ms = 60000\n" + one(""), "window.idle_timeout_ms = 60000 ({}:2): must not be set together "
         "with [[models]]: move it to [models.window] below the model with windows"),
        (one("topics = ['predictions']"), "input.topics = ['features', 'predictions'] (topics of [[models]]): must not contain "
         "'predictions': Forebay writes to this topic"),
        (one("[models.window]\nkind = 'tumbling'"), "models[1].window.size_ms = (not set) (default): must be set with "
         "models[1].window.kind tumbling"),
        (one("[models.window]\ngap_ms = 3"), "models[1].window.gap_ms = 3 ({}:6): requires models[1].window.kind session"),
        (one("topics = ['x']\n[models.window]\nkind = 'hopping'\nsize_ms = 5\nhop_ms = 6"), "models[1].window.hop_ms = 6 "
         "({}:9): must be at most models[1].window.size_ms (5), or some events would be in no window"),
        (one("topics = ['x', 'y']\n[models.window]\nkind = 'tumbling'\nsize_ms = 5"), "models[1].topics = ['x', 'y'] ({}:5): "
         "must be a single topic with models[1].window.kind tumbling: only one topic keeps the order of a key's events"),
        ("input.topics = ['x', 'y']\n" + one("[models.window]\nkind = 'tumbling'\nsize_ms = 5"), "models[1].topics = (not set) "
         "(default): must name the one topic of its events with models[1].window.kind tumbling: only one topic keeps the order "
         "of a key's events"),
        ("input.topics = ['x', 'y']\n[[models]]\nname = 'a'\n[models.window]\nkind = 'tumbling'\nsize_ms = 5", "input.topics = "
         "['x', 'y'] ({}:1): must leave the first model a single topic with models[0].window.kind tumbling: only one topic "
         "keeps the order of a key's events; it takes the topics that no model lists"),
        (one("[models.batch]\nmax_batch_bytes = 1000"), "models[1].batch.max_batch_bytes = 1000 ({}:6): must be at least "
         "input.max_event_bytes (1048576)"),
        ("limits.max_in_flight_events = 5000\n" + one("[models.batch]\nmax_batch_size = 6000"), "limits.max_in_flight_events = "
         "5000 ({}:1): must be at least models[1].batch.max_batch_size (6000)"),
        (one("call_timeout_ms = 100000"), "admin.stuck_after_ms = 120000 (default): must be more than "
         "delivery.commit_timeout_ms (10000), and more than "
         "models[1].call_timeout_ms (100000) plus breaker.reset_timeout_ms (30000)"),
    ],
)  # fmt: skip
def test_each_mistake_is_refused_with_its_place_and_remedy(tmp_path: Path, text: str, expected: str) -> None:
    path = write(tmp_path, text)
    assert problems(path) == [expected.format(path)]


def test_what_several_models_inherit_is_reported_once() -> None:
    models = '[{"name": "a"}, {"name": "b"}, {"name": "c"}]'
    assert problems(environ={"FOREBAY_MODELS": models}, overrides={"limits.max_in_flight_events": 10}) == [
        "limits.max_in_flight_events = 10 (command line): must be at least batch.max_batch_size (4096)"
    ]


def test_all_mistakes_are_reported_together_and_none_twice(tmp_path: Path) -> None:
    text = "[model]\nname = 'x'\n[[models]]\ndevice = 3\ntopix = []\n[[models]]\nname = 'b'\ntopics = ['a b']\n"
    path = write(tmp_path, text)
    report = problems(path, {"FOREBAY_LOG__LEVEL": "loud"}, {"models[2].version": "1", "models[0].nam": "x"})
    assert [problem.split(":")[0].split(" ")[0] for problem in report] == [
        "models[0].topix",
        "models[0].nam",
        "models[2].version",
        "log.level",
        "models[0].name",
        "models[0].device",
        "models[1].topics",
        "model.name",
    ]


@pytest.mark.parametrize(
    ("environ", "overrides", "expected"),
    [
        ({"FOREBAY_MODELS": "{"}, {}, "models (environment FOREBAY_MODELS): must be a JSON list of objects, such as"),
        ({"FOREBAY_MODELS": "[" * 100_000}, {}, "models (environment FOREBAY_MODELS): must be a JSON list of objects"),
        ({"FOREBAY_MODELS": '{"name": "a"}'}, {}, "models (environment FOREBAY_MODELS): must be a JSON list of objects"),
        ({}, {"models": "a,b"}, "models (command line): must be a JSON list of objects, such as"),
        ({}, {"models[0].version": "3"}, "models[0].version (command line): there is no such model: [[models]] is not set"),
        ({"FOREBAY_MODELS": '[{"name": "a"}]'}, {"models[1].version": "3"},
         "models[1].version (command line): there is no such model: [[models]] has 1 model, numbered from 0"),
        ({}, {"models[0].devise": "x"}, "models[0].devise (command line): unknown setting; did you mean device?"),
        ({}, {"models[0].batch.max_size": "x"}, "models[0].batch.max_size (command line): unknown setting; did you mean max"),
        ({"FOREBAY_MODELS__0__NAME": "a"}, {},
         "FOREBAY_MODELS__0__NAME (environment): unknown setting; FOREBAY_MODELS sets all models, as a JSON list"),
    ],
)  # fmt: skip
def test_mistakes_outside_the_file(environ: dict[str, str], overrides: dict[str, object], expected: str) -> None:
    (problem,) = problems(environ=environ, overrides=overrides)
    assert problem.startswith(expected)


def test_a_key_that_occurs_twice_in_json_is_refused() -> None:
    (problem,) = problems(environ={"FOREBAY_MODELS": '[{"name": "a", "name": "b"}]'})
    assert problem.endswith("(the key 'name' occurs twice in an object)")


def test_variables_of_kubernetes_are_ignored() -> None:
    assert load_settings(None, {"FOREBAY_MODELS_PORT": "tcp://10.0.0.1:80"}).settings == Settings()


def test_errors_show_no_value_of_an_unknown_key(tmp_path: Path) -> None:
    path = write(tmp_path, one("token = 'hunter2'\n[models.batch]\npassword = 'hunter2'"))
    assert "hunter2" not in "".join(problems(path, {"FOREBAY_MODELS__X": "hunter2"}, {"models[0].token": "hunter2"}))
