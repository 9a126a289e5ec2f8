"""The normalised view of the models to serve: inheritance, topics, and the short form."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.stream.config.models_section import BatchOverrides
from forebay.stream.config.sections import BatchSection, InputSection, ModelEntry, ModelSection, Settings, WindowSection
from forebay.stream.config.values import allowed

MODEL_VALUES: dict[str, st.SearchStrategy[Any]] = {
    "repository": st.sampled_from(["models", "/models", "other"]),
    "device": st.sampled_from(["auto", "cpu", "cuda:1"]),
    "threads": st.integers(1, 1024),
    "instances": st.integers(1, 64),
    "call_timeout_ms": st.integers(1, 60_000),
    "max_load_memory_mb": st.integers(1, 1 << 20),
    "max_batch_latency_ms": st.integers(1, 60_000),
}
BATCH_VALUES: dict[str, st.SearchStrategy[Any]] = {
    "max_batch_size": st.integers(1, 65_536),
    "max_batch_bytes": st.integers(1, 1 << 30),
    "max_queue_delay_ms": st.integers(0, 60_000),
}
VERSION = st.one_of(st.none(), st.integers(1, 99))
TOPICS = st.lists(st.sampled_from("abcdef"), min_size=1, max_size=6, unique=True)


def test_the_short_form_is_one_model_that_takes_all_topics() -> None:
    settings = Settings(
        input=InputSection(topics=("a", "b")),
        model=ModelSection(name="m", version=3, device="cpu"),
        batch=BatchSection(max_batch_size=7),
        window=WindowSection(kind="tumbling", size_ms=1000),
    )
    (served,) = settings.models_to_serve()
    assert (served.model, served.batch, served.window) == (settings.model, settings.batch, settings.window)
    assert served.topics == ("a", "b")


@given(
    st.fixed_dictionaries({}, optional=MODEL_VALUES),
    st.fixed_dictionaries({}, optional=MODEL_VALUES),
    st.fixed_dictionaries({}, optional=BATCH_VALUES),
    st.fixed_dictionaries({}, optional=BATCH_VALUES),
    VERSION,
)
def test_each_value_is_the_model_s_own_or_else_the_section_s_or_else_the_default(
    model: dict[str, Any], own: dict[str, Any], batch: dict[str, Any], own_batch: dict[str, Any], version: int | None
) -> None:
    settings = Settings(
        model=ModelSection(**model),
        batch=BatchSection(**batch),
        models=(
            ModelEntry(name="first", version=version, batch=BatchOverrides(**own_batch), **own),
            ModelEntry(name="second"),
        ),
    )
    first, second = settings.models_to_serve()
    for key in MODEL_VALUES:
        default = getattr(ModelSection(), key)
        assert getattr(first.model, key) == own.get(key, model.get(key, default))
        assert getattr(second.model, key) == model.get(key, default)
    for key in BATCH_VALUES:
        default = getattr(BatchSection(), key)
        assert getattr(first.batch, key) == own_batch.get(key, batch.get(key, default))
        assert getattr(second.batch, key) == batch.get(key, default)
    assert (first.model.name, first.model.version) == ("first", version)
    assert (second.model.name, second.model.version) == ("second", None)


def test_the_version_of_the_short_form_and_its_windows_are_not_inherited() -> None:
    settings = Settings(
        model=ModelSection(version=3),
        window=WindowSection(kind="tumbling", size_ms=1000),
        models=(ModelEntry(name="a"), ModelEntry(name="b", window=WindowSection(kind="session", gap_ms=5))),
    )
    a, b = settings.models_to_serve()
    assert a.model.version is None
    assert (a.window.kind, b.window.kind, b.window.gap_ms) == ("none", "session", 5)


@given(TOPICS, st.data())
def test_each_input_topic_belongs_to_exactly_one_model(topics: list[str], data: st.DataObject) -> None:
    owners = data.draw(st.lists(st.sampled_from([None, 0, 1, 2]), min_size=len(topics), max_size=len(topics)))
    listed = {
        index: tuple(topic for topic, owner in zip(topics, owners, strict=True) if owner == index) for index in range(3)
    }
    settings = Settings(
        input=InputSection(topics=tuple(topics)),
        models=tuple(ModelEntry(name=f"m{index}", topics=listed[index] or None) for index in range(3)),
    )
    served = settings.models_to_serve()
    assert sorted(topic for model in served for topic in model.topics) == sorted(topics)
    for topic, owner in zip(topics, owners, strict=True):
        assert topic in served[owner or 0].topics


def test_the_input_topics_are_those_of_the_models_unless_they_are_set() -> None:
    entries = (ModelEntry(name="a"), ModelEntry(name="b", topics=("y", "x")), ModelEntry(name="c", topics=("z",)))
    derived = Settings(models=entries)
    assert derived.input.topics == ("features", "y", "x", "z")
    assert [served.topics for served in derived.models_to_serve()] == [("features",), ("y", "x"), ("z",)]
    assert Settings(models=entries[1:]).input.topics == ("y", "x", "z")
    configured = Settings(models=entries, input=InputSection(topics=("x", "y", "z", "features")))
    assert configured.input.topics == ("x", "y", "z", "features")
    assert configured.models_to_serve()[0].topics == ("features",)
    assert Settings(models=(ModelEntry(name="a"), ModelEntry(name="b"))).input.topics == ("features",)


@pytest.mark.parametrize(
    ("entry", "section", "keys"),
    [(ModelEntry, ModelSection, MODEL_VALUES), (BatchOverrides, BatchSection, BATCH_VALUES)],
)
def test_an_override_allows_the_same_values_as_the_setting_that_it_overrides(
    entry: type[ModelEntry], section: type[ModelSection], keys: dict[str, Any]
) -> None:
    for key in [*keys, *(["name", "version"] if section is ModelSection else [])]:
        assert allowed(entry.model_fields[key]) == allowed(section.model_fields[key]), key
        assert entry.model_fields[key].description, key
