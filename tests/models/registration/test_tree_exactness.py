"""Converted trees decide as their originals on and around all thresholds; `make test-trees` does the same with more rows."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from forebay.models.artefacts.arrays import FloatArray
from forebay.models.backends.trees.ensemble import TreeEnsemble
from forebay.models.registration.candidate import Candidate
from tests.models.registration.tree_comparison import Executor, LeafPairs, compare, ensemble_of
from tests.models.registration.tree_data import TreeData
from tests.models.registration.tree_proof import DATA, LIBRARIES, Converted, load, main, prove, train
from tests.models.registration.tree_rows import beside, rows_around_thresholds

NUM_ROWS = 3000
NUM_TREES = 4


@cache
def data_of(name: str) -> TreeData:
    return load(name, limit=1500)


@pytest.mark.parametrize("name", DATA)
@pytest.mark.parametrize("library", LIBRARIES)
def test_leaves_outputs_and_classes_are_those_of_the_library(library: str, name: str) -> None:
    found = prove(library, data_of(name), num_rows=NUM_ROWS, num_trees=NUM_TREES)
    assert found.is_exact, found
    assert found.rows >= NUM_ROWS
    assert found.reached > 0.95
    assert found.from_native < 1e-6


@cache
def lightgbm_of_flights() -> tuple[Converted, FloatArray]:
    converted = train("LightGBM", data_of("flights"), NUM_TREES)
    data = data_of("flights")
    return converted, rows_around_thresholds(
        ensemble_of(converted.candidate), data.codes_NF, data.sizes, count=NUM_ROWS
    )


def changed(candidate: Candidate, ensemble: TreeEnsemble) -> Candidate:
    return replace(candidate, files={"trees.safetensors": ensemble.dump()})


@pytest.mark.parametrize("ulps", [-1, 1])
def test_a_threshold_that_is_off_by_one_float_is_found(ulps: int) -> None:
    converted, rows = lightgbm_of_flights()
    ensemble = ensemble_of(converted.candidate)
    for node in np.flatnonzero((ensemble.feature_N >= 0) & (ensemble.category_N < 0))[:5]:
        threshold_N = ensemble.threshold_N.copy()
        nearest = threshold_N[[node]].astype(np.float32)
        highest_left = beside(
            nearest, np.where(nearest > threshold_N[node], -1, 0)
        )  # the last float that goes to the left
        threshold_N[node] = beside(highest_left, np.array([ulps]))[0]
        wrong = changed(converted.candidate, replace(ensemble, threshold_N=threshold_N))
        assert compare(converted.model, wrong, rows, Executor()).other_leaves > 0


def test_a_missing_value_and_a_category_on_the_wrong_side_are_found() -> None:
    converted, rows = lightgbm_of_flights()
    ensemble = ensemble_of(converted.candidate)
    default_left_N = np.where(ensemble.feature_N >= 0, ~ensemble.default_left_N, False)
    words_W = ensemble.categories.words_W ^ np.uint32(1)
    for wrong in (
        replace(ensemble, default_left_N=default_left_N),
        replace(ensemble, categories=replace(ensemble.categories, words_W=words_W)),
    ):
        assert compare(converted.model, changed(converted.candidate, wrong), rows, Executor()).other_leaves > 0


def test_a_leaf_with_another_value_is_found() -> None:
    converted, rows = lightgbm_of_flights()
    ensemble = ensemble_of(converted.candidate)
    values_LV = ensemble.values_LV.copy()
    values_LV[0] += 1e-3
    found = compare(
        converted.model, changed(converted.candidate, replace(ensemble, values_LV=values_LV)), rows, Executor()
    )
    assert found.other_leaves == 0
    assert found.from_native > 1e-5


def test_leaves_are_paired_whatever_their_numbers() -> None:
    pairs = LeafPairs(1)
    pairs.add(np.array([[0], [0], [1], [1]]), np.array([[7], [7], [3], [3]]))
    assert (pairs.count_others(), pairs.num_leaves) == (0, 2)
    pairs.add(np.array([[0], [2]]), np.array([[3], [3]]))
    assert (pairs.count_others(), pairs.num_leaves) == (2, 3)


def test_the_report_has_a_line_for_each_model(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.models.registration.tree_proof.DATA", ("diabetes",))
    assert main(["--rows", "500", "--trees", "1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(",")[0] for line in lines[1:5]] == list(LIBRARIES)


def test_the_report_fails_if_a_model_is_not_exact(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = prove("LightGBM", data_of("diabetes"), num_rows=500, num_trees=1)
    monkeypatch.setattr("tests.models.registration.tree_proof.DATA", ("diabetes",))
    monkeypatch.setattr("tests.models.registration.tree_proof.prove", lambda *_, **__: replace(found, other_leaves=1))
    assert main(["--rows", "500", "--trees", "1"]) == 1
    assert "NOT EXACT" in capsys.readouterr().out
