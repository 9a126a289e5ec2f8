from __future__ import annotations

import json
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.models.artefacts.signature import MAX_CATEGORIES, Feature, Signature
from forebay.schemas.errors import ModelError
from tests.models.build import make_signature

NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)


@st.composite
def features(draw: st.DrawFn, name: str) -> Feature:
    nullable = draw(st.booleans())
    match draw(st.sampled_from(["float32", "category", "hashed"])):
        case "category":
            categories = tuple(draw(st.lists(NAMES, unique=True, min_size=1, max_size=4)))
            return Feature(name, "category", categories, nullable, other=draw(st.booleans()))
        case "hashed":
            return Feature(name, "hashed", nullable=nullable, buckets=draw(st.integers(1, MAX_CATEGORIES)))
        case _:
            return Feature(name, nullable=nullable)


@st.composite
def signatures(draw: st.DrawFn) -> Signature:
    names = draw(st.lists(NAMES, unique=True, min_size=1, max_size=5))
    columns = tuple(draw(features(name)) for name in names)
    task: Any = draw(st.sampled_from(["regression", "binary", "multiclass"]))
    output_dim = {"regression": draw(st.integers(1, 4)), "binary": 1, "multiclass": draw(st.integers(2, 4))}[task]
    classes = {"regression": 0, "binary": 2, "multiclass": output_dim}[task]
    labels = draw(st.lists(NAMES, unique=True, min_size=classes, max_size=classes))
    return Signature(
        features=columns,
        shape=(len(columns),),
        task=task,
        output_dim=output_dim,
        labels=tuple(labels) if draw(st.booleans()) else (),
    )


@given(signatures())
def test_a_signature_survives_json(signature: Signature) -> None:
    assert Signature.from_dict(json.loads(json.dumps(signature.to_dict()))) == signature


def test_earlier_versions_read_the_features_that_they_know() -> None:
    assert set(Feature("a", "category", ("x",)).to_dict()) == {"name", "dtype", "categories", "nullable"}


def test_an_image_needs_no_names() -> None:
    signature = Signature((), (3, 8, 8), "multiclass", 10)
    assert signature.num_features == 192
    assert Signature.from_dict(signature.to_dict()) == signature


@pytest.mark.parametrize(
    ("task", "output_dim", "num_classes"), [("regression", 2, 0), ("binary", 1, 2), ("multiclass", 5, 5)]
)
def test_the_number_of_classes(task: Any, output_dim: int, num_classes: int) -> None:
    assert Signature((), (4,), task, output_dim).num_classes == num_classes


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Feature(""), "empty name"),
        (lambda: Feature("a", cast(Any, "float64")), "dtype is 'float64'; allowed is float32, category, hashed"),
        (lambda: Feature("a", "category"), "'a' is a category and must have from 1"),
        (lambda: Feature("a", "category", ("x", "x")), "category 'x' twice"),
        (lambda: Feature("a", "float32", ("x",)), "'a' is float32 and must not have categories"),
        (lambda: Feature("a", "float32", other=True), "'a' is float32 and must not have categories"),
        (lambda: Feature("a", "hashed", ("x",), buckets=2), "'a' is hashed and must not have categories"),
        (lambda: Feature("a", "hashed"), "'a' is hashed and must have from 1 to 16777216 buckets"),
        (lambda: Feature("a", "hashed", buckets=2**24 + 1), "'a' is hashed and must have from 1 to 16777216 buckets"),
        (lambda: Feature("a", "category", ("x",), buckets=2), "'a' is category and must not have buckets"),
        (lambda: Feature("a", "hashed", buckets=cast(Any, 1.5)), "buckets of feature 'a' is 1.5 (float)"),
        (lambda: Signature((), (), "binary", 1), "shape is"),
        (lambda: Signature((), (0,), "binary", 1), "shape is"),
        (lambda: Signature((), (10**9,), "binary", 1), "shape is"),
        (lambda: Signature((Feature("a"),), (2,), "binary", 1), "there are 1 features; the shape [2] has 2"),
        (
            lambda: Signature((Feature("a"), Feature("a")), (2,), "binary", 1),
            "feature name 'a' occurs twice",
        ),
        (lambda: Signature((), (2,), cast(Any, "ranking"), 1), "task is 'ranking'"),
        (lambda: Signature((), (2,), "binary", 2), "output_dim is 2; allowed for binary is 1"),
        (lambda: Signature((), (2,), "multiclass", 1), "output_dim is 1; allowed for multiclass is from 2"),
        (lambda: Signature((), (2,), "regression", 0), "output_dim is 0"),
        (
            lambda: Signature(features=(), shape=(2,), task="regression", output_dim=1, labels=("a",)),
            "1 labels for 0 classes",
        ),
        (
            lambda: Signature(features=(), shape=(2,), task="binary", output_dim=1, labels=("a",)),
            "1 labels for 2 classes",
        ),
        (
            lambda: Signature(features=(), shape=(2,), task="binary", output_dim=1, labels=("a", "a")),
            "label 'a' occurs twice",
        ),
    ],
)
def test_fields_that_do_not_fit_together_are_refused(make: Any, says: str) -> None:
    with pytest.raises(ModelError) as caught:
        make()
    assert says in caught.value.message
    assert caught.value.kind == "signature"
    assert caught.value.remedy


def spoilt(path: tuple[Any, ...], value: Any) -> dict[str, Any]:
    document = make_signature(labels=("no", "yes")).to_dict()
    parent: Any = document
    for key in path[:-1]:
        parent = parent[key]
    if value is None:
        del parent[path[-1]]
    else:
        parent[path[-1]] = value
    return document


@pytest.mark.parametrize(
    ("path", "value", "says"),
    [
        (("shape",), None, "f.json: shape is missing"),
        (("shape",), "3", "f.json: shape is '3'; allowed is a list"),
        (("shape", 0), 0, "f.json: shape[0] is 0; allowed is a whole number from 1 upwards"),
        (("shape", 0), True, "f.json: shape[0] is True"),
        (("task",), "rank", "f.json: task is 'rank'; allowed is one of binary, multiclass, regression"),
        (("labels", 1), 7, "f.json: labels[1] is 7; allowed is a string"),
        (("features", 2, "name"), 7, "f.json: features[2].name is 7"),
        (("features", 2, "nullable"), 1, "f.json: features[2].nullable is 1; allowed is true or false"),
        (("features", 2, "dtyp"), "x", "f.json: features[2].dtyp is not a known key; did you mean dtype?"),
        (("features", 1), "x", "f.json: features[1] is 'x'; allowed is an object"),
        (("features", 1, "dtype"), "category", "f.json: features[1]: feature 'f1' is a category"),
        (("output_dim",), 3, "f.json: there are 2 labels for 3 classes"),
        (("zzz",), 3, "f.json: zzz is not a known key; known are features"),
    ],
)
def test_a_fault_in_a_file_names_file_and_key(path: tuple[Any, ...], value: Any, says: str) -> None:
    with pytest.raises(ModelError) as caught:
        Signature.from_dict(spoilt(path, value), "f.json")
    assert caught.value.message.startswith(says)
    assert caught.value.kind == "manifest"


def test_a_long_value_is_shortened_in_the_message() -> None:
    with pytest.raises(ModelError) as caught:
        Signature.from_dict(spoilt(("task",), "x" * 10_000))
    assert len(caught.value.message) < 250
