from __future__ import annotations

import json
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pyarrow as pa
import pytest

from forebay.models.training.charts import bar_chart, line_chart
from forebay.models.training.evaluation import evaluate_model
from forebay.models.training.report import report_document, write_report
from forebay.models.training.run import TrainingOutcome, run_recipe
from forebay.models.training.tuning import Trial
from tests.models.training.tables import MemoryTable, recipe_with, weather

NOW = datetime(2026, 1, 2, tzinfo=UTC)


def train(folder: Path, table: Any, **sections: Any) -> TrainingOutcome:
    recipe = recipe_with(folder, **sections)
    return run_recipe(recipe, MemoryTable(table), folder, created_at=NOW, register=False)


@pytest.fixture(scope="module")
def binary(tmp_path_factory: pytest.TempPathFactory) -> TrainingOutcome:
    table = weather(900).append_column("noise", pa.array(np.random.default_rng(0).normal(size=900)))
    training = {"epochs": 15, "learning_rate": 0.02, "batch_size": 64}
    return train(tmp_path_factory.mktemp("binary"), table, training=training)


def test_the_evaluation_of_classes_is_consistent_with_the_metrics(binary: TrainingOutcome) -> None:
    found = evaluate_model(binary.data, binary.fitted, seed=0)
    rows = int(binary.metrics["test"]["rows"])
    counts = np.array(found.confusion)
    assert counts.sum() == rows
    assert np.trace(counts) / rows == pytest.approx(binary.metrics["test"]["accuracy"]) == found.overall
    assert counts.sum(axis=1).tolist() == np.bincount(np.asarray(binary.data.test.y).astype(int)).tolist()  # type: ignore[union-attr]
    assert sum(item.rows for item in found.calibration) == rows
    observed = sum(item.rows * item.observed for item in found.calibration)
    assert observed == pytest.approx(np.asarray(binary.data.test.y).sum())  # type: ignore[union-attr]
    by_name = {item.feature: item.loss_of_metric for item in found.importances}
    assert by_name["humidity"] > 0.1
    assert abs(by_name["noise"]) < 0.05 and abs(by_name["hour"]) < 0.05
    sites = [item for item in found.slices if item.feature == "site"]
    assert {item.value for item in sites} == {"attic", "cellar", "kitchen"}
    assert sum(item.rows * item.metric for item in sites) / rows == pytest.approx(found.overall)


def test_the_evaluation_of_values_has_residuals(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    x = random.normal(size=(500, 2))
    table = pa.table({"a": x[:, 0], "b": x[:, 1], "y": 3 * x[:, 0] + random.normal(0, 0.1, 500)})
    outcome = train(
        tmp_path, table, model={"architecture": "linear"}, training={"learning_rate": 0.1, "batch_size": 64}
    )
    found = evaluate_model(outcome.data, outcome.fitted, seed=0)
    assert found.metric == "mean absolute error"
    assert found.overall == pytest.approx(outcome.metrics["test"]["mean_absolute_error"], rel=1e-5)
    assert list(found.residuals) == sorted(found.residuals)
    assert abs(found.residuals[3]) < 0.1
    assert [item.feature for item in found.importances] == ["a", "b"]
    assert not found.confusion and not found.calibration


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


def test_the_report_is_one_page_that_loads_nothing_and_escapes_names(binary: TrainingOutcome, tmp_path: Path) -> None:
    evaluation = evaluate_model(binary.data, binary.fitted, seed=0)
    trials = [
        Trial(1, {"training.learning_rate": 0.1}, 0.5),
        Trial(2, {"training.learning_rate": 9.0}, None, problem="<bad>"),
    ]
    document = report_document(binary, evaluation, "<b>rows.csv", trials)
    files = write_report(tmp_path / "report", document)
    page = files.page.read_text()
    parser = Tags()
    parser.feed(page)
    names = [tag for tag, _ in parser.tags]
    assert names.count("svg") == 3
    assert not {"script", "link", "img", "iframe"} & set(names)
    assert all("src" not in attributes and "href" not in attributes for _, attributes in parser.tags)
    assert "&lt;b&gt;rows.csv" in page and "<b>" not in page and "&lt;bad&gt;" in page
    stored = json.loads(files.document.read_text())
    assert stored["metrics"] == {part: dict(values) for part, values in binary.metrics.items()}
    assert len(stored["training"]["history"]) == len(binary.fitted.history)
    assert stored["data"]["rows"] == {"training": 630, "validation": 135, "test": 135}


def test_charts_are_well_formed_whatever_the_numbers_are() -> None:
    for chart in (
        line_chart("a < b", {"x & y": [(1.0, 2.0)]}, x_label="<", y_label=">"),
        line_chart("flat", {"a": [(0.0, 1.0), (1.0, 1.0)]}, x_label="x", y_label="y", diagonal=True),
        bar_chart("bars", [("<b>", -1.0), ("zero", 0.0), ("x" * 60, 1e30)]),
    ):
        ElementTree.fromstring(chart)
    assert line_chart("none", {}, x_label="", y_label="") == "" == bar_chart("none", [])
