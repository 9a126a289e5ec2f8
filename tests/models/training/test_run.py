from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

from forebay.models.artefacts.preprocessing.isolation_forest import IsolationForest
from forebay.models.artefacts.repository import find_version, read_manifest_file
from forebay.models.backends.protocol import RunOptions
from forebay.models.serving.load_gate import load_model
from forebay.models.training.net_training import training_device
from forebay.models.training.prepared_data import PreparedData, prepare_data
from forebay.models.training.run import TrainingOutcome, run_recipe, training_folder
from forebay.schemas.errors import ConfigError, DataError, ModelError
from tests.models.training.tables import MemoryTable, recipe_with, weather

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
QUICK = {"epochs": 4, "learning_rate": 0.02, "batch_size": 64}


def run(folder: Path, table: Any = None, *, created_at: datetime = NOW, **sections: Any) -> TrainingOutcome:
    sections.setdefault("training", QUICK)
    source = MemoryTable(weather() if table is None else table)
    with training_folder(folder / "cache") as cache:
        return run_recipe(recipe_with(folder, **sections), source, cache, created_at=created_at)


def served_scores(outcome: TrainingOutcome, part: str = "test") -> tuple[np.ndarray, np.ndarray]:
    """Return what the served version gives for the raw rows of a part, and the labels."""
    assert outcome.registration is not None
    section = outcome.recipe.registration
    served = load_model(section.repository, section.name, outcome.registration.version, options=RunOptions())
    rows = outcome.data.split.parts()[part]
    x_NF = np.ascontiguousarray(outcome.data.table.x_NF[rows])
    return served.forward(served.prepare(x_NF)).values_BO, np.asarray(outcome.data.table.y_N[rows])


def test_a_net_is_trained_registered_and_served_as_it_was_evaluated(tmp_path: Path) -> None:
    outcome = run(tmp_path, weather(1500), training=QUICK | {"epochs": 20}, model={"dropout_rate": 0.1})
    assert outcome.registration is not None
    scores, labels = served_scores(outcome)
    assert outcome.metrics["test"]["accuracy"] > 0.9
    assert np.mean((scores[:, 0] >= 0.5) == labels) == pytest.approx(outcome.metrics["test"]["accuracy"])
    log_loss = -np.mean(np.log(np.where(labels == 1, scores[:, 0], 1 - scores[:, 0]).astype(np.float64)))
    assert log_loss == pytest.approx(outcome.metrics["test"]["log_loss"], rel=1e-4)
    assert outcome.data.signature.labels == ("damp", "fine")


@pytest.mark.parametrize("architecture", ["hist_gradient_boosting", "xgboost", "lightgbm"])
def test_trees_are_trained_registered_and_served_as_they_were_evaluated(tmp_path: Path, architecture: str) -> None:
    model = {"architecture": architecture, "num_trees": 15, "max_leaves": 7, "min_rows_per_leaf": 2}
    outcome = run(tmp_path, weather(600), model=model, training={"learning_rate": 0.3})
    scores, labels = served_scores(outcome)
    log_loss = -np.mean(np.log(np.where(labels == 1, scores[:, 0], 1 - scores[:, 0]).astype(np.float64)))
    assert log_loss == pytest.approx(outcome.metrics["test"]["log_loss"], rel=1e-3)
    assert outcome.metrics["test"]["accuracy"] > 0.8
    assert outcome.fitted.validation_loss == pytest.approx(outcome.metrics["validation"]["log_loss"], rel=0.05)


@pytest.mark.parametrize("architecture", ["xgboost", "lightgbm"])
@pytest.mark.parametrize("task", ["regression", "multiclass"])
def test_trees_learn_values_and_several_classes(tmp_path: Path, architecture: str, task: str) -> None:
    table = weather(500)
    humidity = np.nan_to_num(table["humidity"].to_numpy(), nan=30.0)
    label = humidity if task == "regression" else np.digitize(humidity, [40, 55]).astype(str)
    table = table.set_column(table.schema.get_field_index("y"), "y", pa.array(label))
    model = {"architecture": architecture, "num_trees": 30, "max_leaves": 7, "min_rows_per_leaf": 2}
    outcome = run(tmp_path, table, model=model, training={"learning_rate": 0.3})
    scores, labels = served_scores(outcome)
    assert outcome.data.signature.task == task
    if task == "regression":
        assert np.abs(scores[:, 0] - labels).mean() == pytest.approx(
            outcome.metrics["test"]["mean_absolute_error"], rel=1e-3
        )
        assert outcome.metrics["test"]["mean_absolute_error"] < 1.5
    else:
        assert np.mean(scores.argmax(axis=1) == labels) == outcome.metrics["test"]["accuracy"] > 0.9


def test_images_are_trained_in_their_shape(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    y = random.integers(0, 3, 240)
    x = random.normal(size=(240, 16)) + y[:, None]
    table = pa.table({**{f"p{place:02}": x[:, place] for place in range(16)}, "y": y.astype(str)})
    outcome = run(tmp_path, table, model={"architecture": "cnn", "image_size": 4, "dropout_rate": 0.1})
    assert outcome.data.signature.shape == (1, 4, 4)
    scores, labels = served_scores(outcome)
    assert np.mean(scores.argmax(axis=1) == labels) == pytest.approx(outcome.metrics["test"]["accuracy"])
    assert outcome.metrics["test"]["accuracy"] > 0.8


def test_events_become_windows_as_in_a_worker(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    times = np.arange(3000) * 1000
    key = random.choice(["a", "b"], 3000)
    value = random.normal(size=3000) + 2.0 * (np.sin(times // 60_000) > 0)
    table = pa.table(
        {
            "who": key.tolist(),
            "when": times,
            "v": value,
            "w": pa.array(value, mask=random.random(3000) < 0.1),
            "y": (np.sin(times // 60_000) > 0).astype(np.int64),
        }
    )
    outcome = run(
        tmp_path,
        table,
        data={"key": "who", "time": "when", "window_ms": 60_000},
        model={"architecture": "gru", "sequence_length": 8, "hidden_dim": 8},
        training={"epochs": 30, "learning_rate": 0.05, "batch_size": 16},
    )
    assert len(outcome.data.table) == 100
    signature = outcome.data.signature
    assert signature.window is not None and signature.window.sequence_length == 8
    # The first window of a key, by hand: its last 8 events.
    first = [row for row in range(60) if key[row] == "a"][-8:]
    rows_WT = np.asarray(outcome.data.table.x_NF).reshape(100, 8, 3)
    assert any(np.allclose(window[:, 0], value[first]) for window in rows_WT)
    scores, labels = served_scores(outcome)
    assert np.mean((scores[:, 0] >= 0.5) == labels) == outcome.metrics["test"]["accuracy"] >= 0.8


def test_the_same_recipe_data_and_seed_give_the_same_manifest(tmp_path: Path) -> None:
    first, second = run(tmp_path / "a"), run(tmp_path / "b")
    assert first.registration is not None and second.registration is not None
    # All bytes, if the moment and the version are the same too.
    assert first.registration.manifest_sha256 == second.registration.manifest_sha256
    later = run(tmp_path / "b", created_at=datetime(2027, 1, 1, tzinfo=UTC))
    assert later.registration is not None
    assert later.registration.version == 2
    assert later.registration.manifest_sha256 != second.registration.manifest_sha256
    assert later.content_sha256 == first.content_sha256 == second.content_sha256
    other = run(tmp_path / "b", training=QUICK | {"seed": 1})
    assert other.content_sha256 != first.content_sha256


def test_the_version_holds_metrics_its_parent_golden_rows_and_the_alias(tmp_path: Path) -> None:
    run(tmp_path)
    outcome = run(tmp_path, register={"alias": "candidate", "note": "a note", "licence": "CC0-1.0"})
    repository = Path(outcome.recipe.registration.repository)
    number, data, _ = read_manifest_file(repository, "m")
    assert number == 2
    from forebay.models.artefacts.manifest import Manifest

    about = Manifest.from_json(data, "manifest").provenance
    assert (about.parent, about.note, about.licence) == (1, "a note", "CC0-1.0")
    assert about.metrics["test_accuracy"] == outcome.metrics["test"]["accuracy"]
    assert find_version(repository, "m", "candidate")[0] == 2
    assert outcome.registration is not None and outcome.registration.golden_rows_given
    statistics: Any = about.reference_statistics
    assert statistics["rows"] == 280


def test_an_interrupted_training_registers_the_best_so_far(tmp_path: Path) -> None:
    steps = iter(range(1000))
    recipe = recipe_with(tmp_path, training=QUICK | {"epochs": 1000})
    outcome = run_recipe(
        recipe, MemoryTable(weather()), tmp_path, created_at=NOW, should_stop=lambda: next(steps) == 20
    )
    assert outcome.fitted.end == "interrupted"
    assert outcome.registration is not None
    assert outcome.metrics["validation"]["loss"] == pytest.approx(
        min(r.validation_loss for r in outcome.fitted.history)
    )


def test_the_files_of_a_training_are_removed(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="diverged"):
        run(tmp_path, training={"optimizer": "sgd", "learning_rate": 1e9, "loss": "mse"}, data={"task": "regression"},
            table=pa.table({"a": np.arange(50.0), "y": np.arange(50.0) * 1e6}))  # fmt: skip
    assert list((tmp_path / "cache").iterdir()) == []
    assert not (tmp_path / "models").exists()


@pytest.mark.parametrize(
    ("training", "message"),
    [
        ({"loss": "mse"}, "the label 'y' holds texts, and the recipe predicts values"),
        ({"loss": "cross_entropy", "class_weights": (1.0, 2.0, 3.0)}, "has 3 numbers; the label has 2 classes"),
    ],
)
def test_a_recipe_that_does_not_fit_the_data_is_refused(tmp_path: Path, training: Any, message: str) -> None:
    with pytest.raises((ConfigError, DataError), match=message):
        run(tmp_path, training=training)


def test_balanced_weights_raise_the_recall_of_a_rare_class(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    y = random.random(2000) < 0.05
    table = pa.table({"a": random.normal(size=2000) + 1.5 * y, "y": np.where(y, "rare", "usual").tolist()})
    model = {"architecture": "logistic"}
    plain = run(tmp_path, table, model=model)
    balanced = run(tmp_path, table, model=model, training=QUICK | {"class_weights": "balanced"})
    predicted = [np.mean(served_scores(outcome)[0] < 0.5) for outcome in (plain, balanced)]
    assert predicted[0] < 0.05 < predicted[1]


def test_the_steps_of_the_recipe_prepare_training_and_served_rows(tmp_path: Path) -> None:
    steps = (
        {"step": "impute", "strategy": "median"},
        {"step": "standardise", "columns": ["temperature", "humidity", "hour"]},
    )
    recipe = recipe_with(tmp_path, training=QUICK).model_copy(update={"prepare": steps})
    outcome = run_recipe(recipe, MemoryTable(weather(600)), tmp_path, created_at=NOW)
    x_NG = np.asarray(outcome.data.training.x)
    np.testing.assert_allclose(x_NG[:, 1:].mean(axis=0), 0, atol=1e-5)
    assert [step.kind for step in outcome.data.preprocessing.steps] == ["impute", "standardise"]
    scores, labels = served_scores(outcome)
    assert np.mean((scores[:, 0] >= 0.5) == labels) == pytest.approx(outcome.metrics["test"]["accuracy"])


def test_missing_values_after_the_preparation_are_refused_by_name(tmp_path: Path) -> None:
    steps = ({"step": "standardise", "columns": ["temperature", "hour"]},)
    recipe = recipe_with(tmp_path, training=QUICK).model_copy(update={"prepare": steps})
    with pytest.raises(ModelError, match="humidity has missing or infinite values") as caught:
        run_recipe(recipe, MemoryTable(weather(600)), tmp_path, created_at=NOW)
    assert "impute" in str(caught.value.remedy)


@pytest.mark.parametrize(
    ("architecture", "encoded", "noted"),
    [("mlp", False, True), ("mlp", True, False), ("hist_gradient_boosting", False, False)],
)
def test_a_net_that_takes_codes_of_texts_as_numbers_is_noted(
    tmp_path: Path, architecture: str, encoded: bool, noted: bool
) -> None:
    steps = ({"step": "impute", "strategy": "mean"}, *([{"step": "one_hot", "columns": ["site"]}] if encoded else []))
    recipe = recipe_with(tmp_path, model={"architecture": architecture}).model_copy(update={"prepare": steps})
    notes = prepare_data(recipe, MemoryTable(weather()), tmp_path).notes
    assert any(note.startswith("site: a net takes the codes of texts as numbers") for note in notes) is noted


def test_the_preparation_is_fitted_on_a_stated_number_of_rows(tmp_path: Path) -> None:
    outcome = run(tmp_path, training=QUICK | {"fit_rows": 50})
    assert "the preparation is fitted on 50 of 280 training rows" in outcome.data.notes


def test_a_net_learns_vectors_for_texts_and_takes_the_parts_of_times(tmp_path: Path) -> None:
    table = weather(900)
    when = [f"2013-07-01T{hour:02}:30:00Z" for hour in table["hour"].to_pylist()]
    table = table.append_column("when", pa.array(when))
    steps = [
        {"step": "impute", "strategy": "median"},
        {"step": "standardise"},
        {"step": "embedding", "columns": ["site"], "width": 3},
    ]
    recipe = recipe_with(
        tmp_path, data={"dates": {"when": ["hour_sin", "minute"]}, "exclude": ["hour"]}, training=QUICK
    )
    recipe = recipe.model_copy(update={"prepare": tuple(steps)})
    with training_folder(tmp_path / "cache") as cache:
        outcome = run_recipe(recipe, MemoryTable(table), cache, created_at=NOW)
        scores, labels = served_scores(outcome)
    assert outcome.fitted.params["embeddings"] == [[0, 3, 3]]
    assert outcome.data.names == ("site", "humidity", "temperature", "when.hour_sin", "when.minute")
    log_loss = -np.mean(np.log(np.where(labels == 1, scores[:, 0], 1 - scores[:, 0]).astype(np.float64)))
    assert log_loss == pytest.approx(outcome.metrics["test"]["log_loss"], rel=1e-4)
    linear = recipe.model_copy(update={"model": recipe.model.model_copy(update={"architecture": "logistic"})})
    with training_folder(tmp_path / "cache") as cache, pytest.raises(ConfigError, match="only mlp learns vectors"):
        run_recipe(linear, MemoryTable(table), cache, created_at=NOW)


def test_a_net_of_an_absurd_size_is_refused_before_memory_is_taken(tmp_path: Path) -> None:
    with pytest.raises(
        ModelError, match=r"the weights of this mlp are 4,00\d,\d{3},\d{3},\d{3} bytes; allowed are 4,294,967,296"
    ):
        run(tmp_path, model={"hidden_dims": (1_000_000, 1_000_000)})


def prepared_from_some(folder: Path, *steps: dict[str, Any], fit_rows: int = 100) -> PreparedData:
    folder.mkdir(exist_ok=True)
    recipe = recipe_with(folder, training={"fit_rows": fit_rows}, model={"architecture": "hist_gradient_boosting"})
    return prepare_data(recipe.model_copy(update={"prepare": steps}), MemoryTable(weather(600)), folder)


def test_outliers_are_dropped_among_all_training_rows(tmp_path: Path) -> None:
    step = {"step": "outliers", "method": "z_score", "factor": 1.0, "action": "drop", "columns": ["temperature"]}
    data = prepared_from_some(tmp_path, step)
    assert not data.preprocessing.steps, "a worker does not drop them"
    place = data.names.index("temperature")
    fitted_to = prepared_from_some(tmp_path / "clip", {**step, "action": "clip"}).preprocessing.steps[0].to_dict()
    (low,), (high,) = fitted_to["minima"], fitted_to["maxima"]
    rows = data.table.x_NF[data.split.training]
    assert ((rows[:, place] >= low) & (rows[:, place] <= high)).all() and len(rows) < 320
    np.testing.assert_array_equal(data.training.x, rows)
    np.testing.assert_array_equal(data.training.y, data.table.y_N[data.split.training])
    assert ((data.test.x[:, place] < low) | (data.test.x[:, place] > high)).any(), "nor are others dropped"


def test_the_label_of_a_training_row_is_not_in_its_value_where_not_all_rows_are_fitted_to(tmp_path: Path) -> None:
    data = prepared_from_some(tmp_path, {"step": "target", "smooth": 5.0}, fit_rows=200)
    as_served = data.preprocessing.apply(data.table.x_NF[data.split.training])
    place = data.names.index("site")
    differs = data.training.x[:, place] != as_served[:, place]
    assert differs.sum() == 200, (
        "the rows that the step is fitted to are cross-fitted; it has not seen the labels of the others"
    )
    np.testing.assert_array_equal(np.delete(data.training.x, place, 1), np.delete(as_served, place, 1))


def test_rows_are_prepared_in_blocks_as_they_are_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    outliers = {"step": "outliers", "method": "z_score", "factor": 1.0, "action": "drop", "columns": ["temperature"]}
    steps = (outliers, {"step": "target", "smooth": 5.0})
    whole = prepared_from_some(tmp_path / "whole", *steps, fit_rows=200)
    monkeypatch.setattr("forebay.models.training.row_files.BLOCK_VALUES", 64)
    blocks = prepared_from_some(tmp_path / "blocks", *steps, fit_rows=200)
    for name in ("training", "validation", "test"):
        for values in ("x", "y"):
            expected = getattr(getattr(whole, name), values)
            np.testing.assert_array_equal(getattr(getattr(blocks, name), values), expected)
    assert len(whole.training) < 400, "some are dropped"


def test_an_isolation_forest_drops_rows_that_it_was_not_fitted_to(tmp_path: Path) -> None:
    step = {"step": "outliers", "method": "isolation_forest", "columns": ["temperature", "hour"], "action": "drop"}
    data = prepared_from_some(tmp_path, step)
    assert not data.preprocessing.steps and len(data.training) < 420
    (tmp_path / "reject").mkdir()
    (forest,) = prepared_from_some(tmp_path / "reject", {**step, "action": "reject"}).preprocessing.steps
    assert isinstance(forest, IsolationForest) and not forest.rejected(np.ascontiguousarray(data.training.x)).any()
    assert forest.rejected(np.ascontiguousarray(data.test.x)).any()


@pytest.mark.parametrize(
    "step",
    [
        {"step": "drop_duplicates", "columns": ["site"]},
        {"step": "outliers", "method": "local_outlier_factor", "action": "drop", "columns": ["temperature"]},
    ],
    ids=str,
)
def test_a_step_that_needs_all_training_rows_is_refused_before_training(tmp_path: Path, step: dict[str, Any]) -> None:
    with pytest.raises(ModelError, match=r"recipe: prepare\[0\] .* fitted to, and it is given 100 of 420") as caught:
        prepared_from_some(tmp_path, step)
    assert "set training.fit_rows = 420" in (caught.value.remedy or "")
    assert prepared_from_some(tmp_path, step, fit_rows=420).notes


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_device_that_is_not_there_is_refused_before_the_data_is_read(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"training.device is 'cuda': torch (was built without CUDA|finds no CUDA device)"
    ):
        run(tmp_path, pa.table({}), training=QUICK | {"device": "cuda"})
    assert training_device(recipe_with(tmp_path, training={"device": "auto"})).type == "cpu"


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
def test_a_net_that_is_trained_on_cuda_is_registered_and_evaluated_on_the_cpu(tmp_path: Path) -> None:
    outcome = run(tmp_path, weather(600), training=QUICK | {"device": "cuda"})
    scores, labels = served_scores(outcome)
    log_loss = -np.mean(np.log(np.where(labels == 1, scores[:, 0], 1 - scores[:, 0]).astype(np.float64)))
    assert log_loss == pytest.approx(outcome.metrics["test"]["log_loss"], rel=1e-4)


@pytest.mark.parametrize(
    ("architecture", "has_ranks", "says"),
    [("xgboost", False, "xgboost is trained on the CPU"), ("mlp", True, "several processes train on CPUs only")],
)
def test_what_cannot_be_trained_on_cuda_is_refused(
    tmp_path: Path, architecture: str, has_ranks: bool, says: str
) -> None:
    for device in ("cuda", "auto"):
        recipe = recipe_with(tmp_path, model={"architecture": architecture}, training={"device": device})
        if device == "auto":
            assert training_device(recipe, has_ranks=has_ranks).type == "cpu"
            continue
        with pytest.raises(ConfigError, match=says):
            training_device(recipe, has_ranks=has_ranks)
