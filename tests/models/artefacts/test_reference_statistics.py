"""The reference statistics of a manifest: stored, read back, and refused if their form is wrong."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from forebay.models.artefacts.artefact import read_version
from forebay.models.artefacts.reference_statistics import (
    MAX_CATEGORIES,
    MAX_COLUMNS,
    MAX_EDGES,
    CategoryReference,
    NumberReference,
    ReferenceStatistics,
)
from forebay.schemas.errors import ModelError
from tests.models.build import publish

AGE = NumberReference("age", 1, mean=2.5, standard_deviation=None, edges=(-1.5, 0.0), counts=(1, 0, 3))
CITY = CategoryReference("city", 0, categories=("Basel", "Bern"), counts=(3, 1), other=1)
SCORE = NumberReference("late", 0, mean=None, standard_deviation=0.0, edges=(), counts=(7,))
STATISTICS = ReferenceStatistics(5, (AGE, CITY), (SCORE,))


def test_statistics_are_stored_and_read_back(tmp_path: Path) -> None:
    publish(tmp_path, reference_statistics=STATISTICS.to_dict())
    stored = read_version(tmp_path, "delays").manifest.provenance.reference_statistics
    assert stored is not None
    assert ReferenceStatistics.from_dict(stored) == STATISTICS


def test_a_later_version_is_carried_and_not_read() -> None:
    assert ReferenceStatistics.from_dict({"version": 2, "sketch": "…"}) is None


def change(key: str, value: object, *, of: str = "features", index: int = 0) -> Callable[[Any], None]:
    return lambda document: document[of][index].update({key: value})


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda d: d.update(version=0), "version is 0; allowed is a whole number from 1"),
        (lambda d: d.pop("rows"), "rows is missing"),
        (lambda d: d.update(rows=0), "rows is 0; allowed is a whole number from 1"),
        (lambda d: d.update(row=1), "row is not a known key; did you mean rows?"),
        (lambda d: d.update(rows=6), "features[0] counts 5 rows; 6 are expected"),
        (lambda d: d.update(features=[AGE.to_dict()] * (MAX_COLUMNS + 1)), "a list of at most 1024"),
        (lambda d: d.update(features=[AGE.to_dict()] * 2), "allowed is a list with a different name for each"),
        (lambda d: d["outputs"].append({**SCORE.to_dict(), "name": "b", "counts": [6]}), "outputs[1] counts 6 rows; 7 are"),
        (change("missing", -1), "features[0].missing is -1; allowed is a whole number from 0"),
        (change("missing", True), "features[0].missing is True"),
        (change("missing", 2), "features[0] counts 6 rows; 5 are expected"),
        (change("mean", float("nan")), "features[0].mean is nan; allowed is a finite number"),
        (change("mean", "2"), "features[0].mean is '2'"),
        (change("edges", [0.0, 0.0]), "features[0].edges is [0.0, 0.0]; allowed is at most 255 numbers, each greater"),
        (change("edges", [*range(MAX_EDGES + 1)]), "allowed is at most 255 numbers"),
        (change("edges", [0.0]), "features[0].counts is [1, 0, 3]; allowed is 2 counts, one more than edges"),
        (change("counts", [1, -1, 4]), "features[0].counts[1] is -1"),
        (change("categories", ["a"]), "features[0].mean is not a known key"),
        (change("categories", ["a", "a"], index=1), "features[1].categories is ['a', 'a']; allowed is at most 256 different"),
        (change("categories", [*map(str, range(MAX_CATEGORIES + 1))], index=1), "allowed is at most 256 different strings"),
        (change("counts", [4], index=1), "features[1].counts is [4]; allowed is 2 counts, one for each category"),
        (change("other", 0, index=1), "features[1] counts 4 rows; 5 are expected"),
        (change("categories", [], of="outputs"), "outputs[0].categories is not a known key"),
        (lambda d: d.update(outputs={}), "outputs is {}; allowed is a list"),
    ],
)  # fmt: skip
def test_a_wrong_form_is_refused(spoil: Callable[[Any], None], says: str) -> None:
    document: Any = STATISTICS.to_dict()
    spoil(document)
    with pytest.raises(ModelError) as caught:
        ReferenceStatistics.from_dict(document, "m/1/manifest.json")
    assert caught.value.kind == "manifest"
    assert caught.value.message.startswith("m/1/manifest.json: ") and says in caught.value.message


def test_a_model_with_a_wrong_form_is_not_published(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"reference_statistics\.rows is missing"):
        publish(tmp_path, reference_statistics={"version": 1})
    assert not (tmp_path / "delays").exists()
