"""Steps that encode texts, compared with scikit-learn and pandas, and with what a worker does to the same rows."""

from __future__ import annotations

from dataclasses import replace
from importlib import import_module
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forebay.models.artefacts.signature import Feature, Signature
from forebay.models.artefacts.text_codes import encode_texts
from forebay.models.preparation.preparation import FittedPreparation, read_preparation
from forebay.models.preparation.training_rows import TrainingRows
from forebay.schemas.errors import ModelError
from forebay.stream.decode import DecodedModel, Decoder
from tests.core.build import EPOCH, MODEL, P0, FakeRecord, event

pandas = import_module("pandas")
selection = import_module("sklearn.model_selection")
encoders = import_module("sklearn.preprocessing")

CITIES = ("Basel", "Bern", "Chur", "Genf", "Zug")
CITY = Feature("city", "category", CITIES, nullable=True, other=True)
PLACE = Feature("place", "hashed", buckets=7)


def table(size: int = 400, seed: int = 0) -> tuple[list[str], list[str], Any]:
    rng = np.random.default_rng(seed)
    city = rng.choice(CITIES, size=size, p=(0.5, 0.3, 0.15, 0.04, 0.01)).tolist()
    place = rng.choice(["a", "b", "c", "d"], size=size).tolist()
    y_N = (rng.random(size) < 0.2 + 0.5 * (np.array(city) == "Bern")).astype(np.float32)
    return city, place, y_N


def rows_of(city: list[Any], place: list[Any], y_N: Any = None, task: Any = "binary") -> TrainingRows:
    signature = Signature((CITY, PLACE, Feature("delay")), (3,), "regression", 1)
    delay_N = np.arange(len(city), dtype=np.float32)
    x_NF = np.column_stack([encode_texts(CITY, city), encode_texts(PLACE, place), delay_N])
    rows = TrainingRows.of(signature, x_NF, y_N=y_N, seed=3)
    return TrainingRows(rows.names, rows.x_NF, y_N=y_N, texts=rows.texts, task=task, seed=3)


def fit(rows: TrainingRows, *tables: dict[str, object]) -> FittedPreparation:
    preparation = read_preparation(list(tables), "r.toml")
    assert read_preparation(preparation.to_dict(), "r.toml") == preparation
    return preparation.fit(rows)


def test_one_hot_is_that_of_scikit_learn() -> None:
    city, place, _ = table()
    fitted = fit(rows_of(city, place), {"step": "one_hot", "columns": ["city"]})
    names = ("place", "delay", *(f"city={name}" for name in CITIES), "city=other")
    assert fitted.names == names
    wanted = encoders.OneHotEncoder(categories=[CITIES]).fit_transform(np.array(city)[:, None]).toarray()
    np.testing.assert_array_equal(fitted.x_KG[:, 2:7], wanted)
    new = rows_of(["Bern", None, "Paris"], ["a", "a", "a"])
    assert fitted.preprocessing.apply(new.x_NF)[:, 2:].tolist() == [[0, 1, 0, 0, 0, 0], [0] * 6, [0] * 5 + [1]]


def test_labels_are_ordinals_in_a_stated_order() -> None:
    city, place, _ = table()
    order = ["Zug", "Bern", "Basel"]
    options = {"step": "label", "columns": ["city"], "order": order, "unknown": "missing"}
    fitted = fit(rows_of(city, place), options)
    ordinal = encoders.OrdinalEncoder(categories=[order], handle_unknown="use_encoded_value", unknown_value=np.nan)
    np.testing.assert_array_equal(fitted.x_KG[:, 0], ordinal.fit_transform(np.array(city)[:, None])[:, 0])
    new = rows_of(["Bern", None, "Paris", "Chur"], ["a"] * 4)
    np.testing.assert_array_equal(fitted.preprocessing.apply(new.x_NF)[:, 0], [1, np.nan, np.nan, np.nan])
    kept = fit(rows_of(city, place), options | {"unknown": "code"}).preprocessing.apply(new.x_NF)[:, 0]
    np.testing.assert_array_equal(kept, [1, np.nan, 3, 3])
    by_code = fit(rows_of(city, place), {"step": "label"})
    np.testing.assert_array_equal(by_code.preprocessing.apply(new.x_NF)[:, 0], [1, np.nan, 5, 2])


@pytest.mark.parametrize("value", ["share", "count"])
def test_frequencies_are_those_of_pandas(value: str) -> None:
    city, place, _ = table()
    some = [None if row % 9 == 0 else text for row, text in enumerate(city)]
    fitted = fit(rows_of(some, place), {"step": "frequency", "columns": ["city"], "value": value})
    counts = pandas.Series(some).value_counts(dropna=False, normalize=value == "share")
    wanted = [float(counts[text] if text is not None else counts[counts.index.isna()].iloc[0]) for text in some]
    np.testing.assert_allclose(fitted.x_KG[:, 0], wanted, rtol=1e-6)
    assert fitted.preprocessing.apply(rows_of(["Paris"], ["a"]).x_NF)[0, 0] == 0


def test_rare_texts_have_the_code_of_unknown_ones() -> None:
    city, place, _ = table()
    counts = pandas.Series(city).value_counts()
    kept = sorted(counts[counts >= 0.1 * len(city)].index)
    fitted = fit(rows_of(city, place), {"step": "rare", "columns": ["city"], "min_share": 0.1}, {"step": "one_hot"})
    assert [name for name in fitted.names if name.startswith("city")] == [
        *(f"city={name}" for name in kept),
        "city=other",
    ]
    wanted = [[*(text == name for name in kept), text not in kept] for text in city]
    np.testing.assert_array_equal(fitted.x_KG[:, 1 : 2 + len(kept)], np.array(wanted, dtype=np.float32))
    new = rows_of(["Zug", "Paris", None], ["a", "z", "z"])
    found = fitted.preprocessing.apply(new.x_NF)[:, 1 : 2 + len(kept)]
    assert found.sum(axis=1).tolist() == [1, 1, 0] and found[:2, -1].tolist() == [1, 1]


@pytest.mark.parametrize("smooth", [None, 10.0])
@pytest.mark.parametrize("task", ["binary", "regression"])
def test_target_encoding_is_that_of_scikit_learn(smooth: float | None, task: str) -> None:
    city, place, y_N = table()
    if task == "regression":
        y_N = (y_N * 3 + np.random.default_rng(1).normal(size=len(y_N))).astype(np.float32)
    options: dict[str, object] = {"step": "target", "columns": ["city"]}
    fitted = fit(rows_of(city, place, y_N, task), options | ({} if smooth is None else {"smooth": smooth}))
    kind = "binary" if task == "binary" else "continuous"
    parts = (selection.StratifiedKFold if task == "binary" else selection.KFold)(5, shuffle=True, random_state=3)
    encoder = encoders.TargetEncoder(target_type=kind, smooth="auto" if smooth is None else smooth, cv=parts)
    crossed = encoder.fit_transform(np.array(city)[:, None], y_N.astype(np.float64))[:, 0]
    np.testing.assert_allclose(fitted.x_KG[:, 0], crossed, rtol=1e-6)
    everybody = fitted.preprocessing.apply(rows_of(city, place).x_NF)[:, 0]
    np.testing.assert_allclose(everybody, encoder.transform(np.array(city)[:, None])[:, 0], rtol=1e-6)
    assert not np.allclose(everybody, fitted.x_KG[:, 0]), "training rows do not see their own label"
    new = fitted.preprocessing.apply(rows_of(["Paris", None], ["a", "a"]).x_NF)[:, 0]
    np.testing.assert_allclose(new, [y_N.mean()] * 2, rtol=1e-6)


def test_labels_do_not_leak_through_target_encoding() -> None:
    """Texts that say nothing about labels drawn at random: a value from a row's own label would correlate with it."""
    rng = np.random.default_rng(5)
    wide = Feature("city", "category", tuple(f"c{number:03}" for number in range(300)))
    y_N = (rng.random(900) < 0.5).astype(np.float32)
    codes = rng.integers(300, size=900).astype(np.float32)
    rows = TrainingRows(("city",), codes[:, None], y_N=y_N, texts={"city": wide}, task="binary", seed=3)
    fitted = fit(rows, {"step": "target", "smooth": 0})
    own = fitted.preprocessing.apply(rows.x_NF)[:, 0]
    assert np.corrcoef(own, y_N)[0, 1] > 0.4, "in the table of all rows"
    assert abs(np.corrcoef(fitted.x_KG[:, 0], y_N)[0, 1]) < 0.15


texts = st.sampled_from([*CITIES, "Paris", ""]) | st.none()
step = st.sampled_from(
    [
        {"step": "one_hot"},
        {"step": "label"},
        {"step": "label", "columns": ["city"], "order": ["Zug", "Bern"], "unknown": "missing"},
        {"step": "frequency"},
        {"step": "rare", "min_count": 3},
        {"step": "target", "cv": 2},
    ]
)


@settings(max_examples=30)
@given(st.lists(texts, min_size=1, max_size=6), st.lists(step, min_size=1, max_size=2), st.data())
def test_a_worker_prepares_the_same_row_as_the_training(
    cities: list[Any], steps: list[dict[str, object]], data: st.DataObject
) -> None:
    city, place, y_N = table(60)
    try:
        fitted = fit(rows_of(city, place, y_N), *steps)
    except ModelError as error:
        assert error.message.startswith("r.toml: prepare[1]"), "no text is left, or not the one that is named"
        return
    places = [data.draw(st.text(max_size=4)) for _ in cities]
    try:
        offline = fitted.preprocessing.apply(rows_of(cities, places).x_NF)
    except ModelError:
        return  # a text that is not valid Unicode
    signature = Signature((CITY, PLACE, Feature("delay")), (3,), "regression", 1)
    decoder = Decoder([DecodedModel(MODEL, signature)], max_event_bytes=10_000)
    for row, (one, other) in enumerate(zip(cities, places, strict=True)):
        value = event(features={"delay": row, "place": other, "city": one})
        (chunk,) = decoder.decode({P0: [FakeRecord(0, value)]}, EPOCH)
        assert fitted.preprocessing.apply(chunk.x_BF).tobytes() == offline[row : row + 1].tobytes()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (
            {"step": "one_hot", "columns": ["delay"]},
            "prepare[0] (one_hot): delay holds numbers, and this step takes texts",
        ),
        ({"step": "rare"}, "prepare[0]: min_share or min_count must be given"),
        ({"step": "rare", "min_count": 10_000}, "all texts of 'city' are rare"),
        ({"step": "rare", "min_share": 2}, "min_share is 2; allowed is a finite number from 0 to 1"),
        ({"step": "label", "columns": ["city"], "order": ["Rom"]}, "order has 'Rom', which 'city' does not have"),
        ({"step": "label", "columns": ["place"], "order": ["a"]}, "'place' is hashed, so its texts have no order"),
        ({"step": "frequency", "value": "rank"}, "value is 'rank'; allowed is one of share, count"),
        ({"step": "target", "cv": 1}, "cv is 1; allowed is a whole number from 2"),
        ({"step": "target"}, "target encoding needs labels"),
    ],
)
def test_what_cannot_be_encoded_is_refused_with_the_place(options: dict[str, object], says: str) -> None:
    city, place, _ = table(50)
    with pytest.raises(ModelError) as caught:
        fit(rows_of(city, place), options)
    assert says in caught.value.message and caught.value.message.startswith("r.toml: prepare[0]")


@pytest.mark.parametrize("smooth", [None, 10.0])
def test_target_encoding_of_several_classes_is_that_of_scikit_learn(smooth: float | None) -> None:
    city, place, _ = table()
    y_N = (np.array([CITIES.index(one) for one in city]) + np.random.default_rng(1).integers(3, size=400)) % 3
    options: dict[str, object] = {"step": "target"} | ({} if smooth is None else {"smooth": smooth})
    rows = rows_of(city, place, y_N.astype(np.float32), "multiclass")
    fitted = fit(rows, options)
    assert fitted.names == ("delay", *(f"{name}_class_{number}" for name in ("city", "place") for number in range(3)))
    parts = selection.StratifiedKFold(5, shuffle=True, random_state=3)
    encoder = encoders.TargetEncoder(target_type="multiclass", smooth="auto" if smooth is None else smooth, cv=parts)
    crossed = encoder.fit_transform(rows.x_NF[:, :2], y_N)
    np.testing.assert_allclose(fitted.x_KG[:, 1:], crossed, rtol=1e-6)
    np.testing.assert_array_equal(fitted.x_KG[:, 0], rows.x_NF[:, 2])
    everybody = fitted.preprocessing.apply(rows.x_NF)
    np.testing.assert_allclose(everybody[:, 1:], encoder.transform(rows.x_NF[:, :2]), rtol=1e-6)
    assert not np.allclose(everybody, fitted.x_KG), "training rows do not see their own label"
    new = fitted.preprocessing.apply(rows_of(["Paris", None], ["a", "a"]).x_NF)[:, 1:4]
    np.testing.assert_allclose(new, [np.bincount(y_N) / len(y_N)] * 2, rtol=1e-6)


def test_a_class_may_be_missing_in_a_part_of_the_rows_and_a_table_may_be_too_large() -> None:
    city, place, y_N = table(50)
    y_N[7] = 5  # one row of this class
    fitted = fit(rows_of(city, place, y_N, "multiclass"), {"step": "target", "columns": ["city"]})
    assert fitted.names[2:] == ("city_class_0", "city_class_1", "city_class_5")
    assert fitted.x_KG[7, 4] == 0, "no other row has its class"
    np.testing.assert_allclose(fitted.x_KG[:, 2:].sum(axis=1), 1, atol=0.2)
    hashed = Feature("city", "hashed", buckets=50_000)
    rows = TrainingRows(("city",), np.zeros((50, 1), np.float32), y_N=y_N, texts={"city": hashed}, task="multiclass")
    with pytest.raises(
        ModelError, match="'city' has 50000 codes for 3 classes; allowed here are at most 100000 values"
    ):
        fit(rows, {"step": "target"})


def test_embedding_leaves_codes_and_gives_missing_texts_the_next_one() -> None:
    city, place, _ = table(50)
    fitted = fit(rows_of(city, place), {"step": "rare", "min_count": 8}, {"step": "embedding", "width": 4})
    num_cities = len({code for code in fitted.x_KG[:, 0].tolist() if code < fitted.x_KG[:, 0].max()}) + 1
    assert fitted.embeddings == ((0, num_cities, 4), (1, fitted.embeddings[1][1], 4))
    new = fitted.preprocessing.apply(rows_of([None, "Paris"], ["a", "a"]).x_NF)
    assert new[:, 0].tolist() == [num_cities, num_cities - 1]
    assert fit(rows_of(city, place), {"step": "embedding"}).embeddings == ((0, 6, 5), (1, 7, 5))
    with pytest.raises(ModelError, match="a step after embedding changes or drops city, place"):
        fit(rows_of(city, place), {"step": "embedding"}, {"step": "one_hot"})


def test_targets_are_refused_in_sequences_where_a_label_would_be_in_its_own_events() -> None:
    rows = rows_of(["Bern", "Zug"] * 5, ["a"] * 10, np.arange(10) % 2)
    sequences = replace(rows, sequences_N=np.arange(10) // 5)
    with pytest.raises(ModelError, match="the label of a sequence would be in the values of its own events"):
        fit(sequences, {"step": "target"})
