"""A saved model can be loaded and predicts the same; anything else is refused when it is saved, with a clear message."""

from __future__ import annotations

import math
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression as SklearnRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

import forebay.models.backends.torch.save
from forebay.models.artefacts.preprocessing import Impute, OneHot, Preprocessing, Standardise
from forebay.models.artefacts.signature import Feature, Signature
from forebay.models.artefacts.window_input import Aggregate, WindowInput
from forebay.models.backends.torch.architectures import MLP, Net, build_net
from forebay.models.backends.torch.save import save_artefact
from forebay.schemas.errors import ForebayError, ModelError
from tests.models.build import CREATED_AT, load_artefact, make_net, make_signature, publish, serve, serve_artefact


class OwnNet(MLP):
    """A network with its own code, which an artefact cannot contain."""

    def forward(self, x_BD: torch.Tensor) -> torch.Tensor:
        return super().forward(x_BD) + 1


def with_hook() -> Net:
    net = make_net()
    net.register_forward_hook(lambda module, inputs, output: output * 2)
    return net


def with_another_activation() -> Net:
    net = make_net(hidden_dims=(8,))
    net.activation = torch.sin  # type: ignore[assignment]
    return net


def with_another_layer() -> Net:
    net = make_net()
    net.head = nn.Linear(4, 2, bias=False)
    return net


def tied() -> Net:
    net = make_net(hidden_dims=(3, 3))
    net.hidden[1].weight = net.hidden[0].weight  # type: ignore[index, union-attr]
    return net


def refusal(repository: Path, **given: Any) -> ModelError:
    with pytest.raises(ModelError) as caught:
        publish(repository, **given)
    assert caught.value.remedy and not (repository / "delays").exists(), "something was published"
    return caught.value


@pytest.mark.parametrize(
    ("net", "says"),
    [
        (
            make_pipeline(StandardScaler(), SklearnRegression()),
            "the net is a sklearn.pipeline.Pipeline; save_artefact takes",
        ),
        (nn.Sequential(nn.Linear(3, 2)), "the net is a torch.nn.modules.container.Sequential; save_artefact takes"),
        (
            lambda x: x,
            "the net is a function; save_artefact takes a net made by forebay.build_net: linear_regression",
        ),
        (MLP, "the net is the class forebay.models.backends.torch.architectures.MLP itself"),
        (None, "the net is a NoneType"),
        ({}, "the net is a dict"),
        (OwnNet(3, [4], 2), "OwnNet, a class of its own"),
        (with_hook(), "outputs differ from those of a new mlp"),
        (with_another_activation(), "outputs differ from those of a new mlp"),
        (with_another_layer(), "head.bias is missing"),
        (make_net().double(), "not all finite float32"),
        (make_net().to("meta"), "not all finite float32"),
    ],
)
def test_a_net_that_cannot_be_stored_is_refused(tmp_path: Path, net: Any, says: str) -> None:
    assert says in refusal(tmp_path, net=net, preprocessing=None).message


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: make_signature(labels=(0, 1)), "labels[0] is 0 (int); give a string"),  # type: ignore[arg-type]
        (lambda: make_signature(labels="no"), "labels is 'no' (str); give a tuple of strings"),  # type: ignore[arg-type]
        (lambda: make_signature(labels=("a", "\ud800")), "not valid Unicode"),
        (lambda: Feature("f", "category", (1, 2)), "categories of feature 'f'[0] is 1 (int); give a string"),  # type: ignore[arg-type]
        (lambda: Feature(3), "a feature's name is 3 (int)"),  # type: ignore[arg-type]
        (lambda: Feature("f", nullable=1), "nullable of feature 'f' is 1 (int); give True or False"),  # type: ignore[arg-type]
        (lambda: Signature(["a", "b"], (2,), "binary", 1), "give a forebay.Feature, such as Feature('a')"),  # type: ignore[arg-type]
        (lambda: Signature("ab", (2,), "binary", 1), "features is 'ab' (str); give a tuple of forebay.Feature"),  # type: ignore[arg-type]
        (lambda: Signature((), 3, "binary", 1), "shape is 3 (int); give a tuple of whole numbers"),  # type: ignore[arg-type]
        (lambda: Signature((), (2.0,), "binary", 1), "shape[0] is 2.0 (float)"),  # type: ignore[arg-type]
        (lambda: Signature((), (True,), "binary", 1), "shape[0] is True (bool)"),
        (lambda: Signature((), (2,) * 9, "binary", 1), "from 1 to 8 sizes"),
        (lambda: Signature((), (2,), ["binary"], 1), "task is ['binary'] (list)"),  # type: ignore[arg-type]
        (lambda: Signature((), (2,), "regression", 1.5), "output_dim is 1.5 (float)"),  # type: ignore[arg-type]
        (lambda: Signature(features=(), shape=(2,), task="binary", output_dim=1, labels=(), window=60), "window is 60 (int)"),  # type: ignore[arg-type]
        (lambda: WindowInput(0, ("count",)), "aggregates[0] is 'count' (str)"),  # type: ignore[arg-type]
        (lambda: WindowInput("5"), "sequence_length is '5' (str)"),  # type: ignore[arg-type]
        (lambda: Aggregate("sum", "f"), "an aggregate's column is 'f' (str)"),  # type: ignore[arg-type]
        (lambda: Impute(3, (0,), ("x",)), "impute: values[0] is 'x' (str); give a number"),  # type: ignore[arg-type]
        (lambda: OneHot(3, (0,), (2.5,)), "one_hot: sizes[0] is 2.5 (float)"),  # type: ignore[arg-type]
        (lambda: Preprocessing([StandardScaler()]), "steps[0] is StandardScaler() (StandardScaler)"),  # type: ignore[arg-type, list-item]
        (lambda: Preprocessing((Impute(3, (0,), (1,)),) * 65), "there are 65 steps"),
    ],
)  # fmt: skip
def test_parts_are_checked_when_they_are_constructed(make: Any, says: str) -> None:
    with pytest.raises(ModelError) as caught:
        make()
    assert says in caught.value.message and caught.value.remedy


class OwnStep:
    kind, width, output_width = "own", 3, 3

    def apply(self, x: Any) -> Any: ...
    def to_dict(self) -> dict[str, object]: ...  # type: ignore[empty-body]


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"signature": ["a", "b", "c"]}, "signature is ['a', 'b', 'c'] (list)"),
        ({"signature": None}, "signature is None"),
        ({"preprocessing": StandardScaler()}, "preprocessing is StandardScaler() (StandardScaler)"),
        ({"preprocessing": Preprocessing((OwnStep(),))}, "OwnStep; an artefact holds Impute, Standardise, OneHot"),
        ({"metrics": {"loss": math.nan}}, "loss is nan"),
        ({"metrics": {"loss": "low"}}, "metric loss is 'low' (str)"),
        ({"metrics": {1: 0.5}}, "a metric's name is 1 (int)"),
        ({"metrics": [0.5]}, "metrics is [0.5] (list)"),
        ({"created_at": "today"}, "created_at is 'today' (str)"),
        ({"created_at": datetime(2026, 1, 1)}, "created_at has no time zone"),
        ({"note": 3}, "note is 3"),
        ({"note": "x" * 17_000_000}, "the manifest has 170"),
    ],
)
def test_other_arguments_that_could_not_be_loaded_are_refused(tmp_path: Path, given: dict[str, Any], says: str) -> None:
    assert says in refusal(tmp_path, **given).message


def test_weights_that_would_be_too_large_to_load_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forebay.models.backends.torch.save, "MAX_WEIGHTS_BYTES", 100)
    assert refusal(tmp_path).kind == "too_large"


def test_tied_weights_are_stored_for_each_name(tmp_path: Path) -> None:
    net = tied()
    publish(tmp_path, net=net)
    loaded = load_artefact(tmp_path, "delays").net
    x = torch.rand(5, 3)
    assert torch.equal(net.eval()(x), loaded(x))


def test_lists_and_numpy_values_become_tuples_and_numbers(tmp_path: Path) -> None:
    signature = Signature(
        features=[Feature(np.str_("a"))],
        shape=np.array([1]),
        task="binary",
        output_dim=np.int64(1),
        labels=["no", "yes"],
    )  # type: ignore[arg-type]
    assert signature == Signature(
        features=(Feature("a"),), shape=(1,), task="binary", output_dim=1, labels=("no", "yes")
    )
    step = Standardise(np.int64(1), np.array([0]), np.array([1.5]), [np.float32(2)])  # type: ignore[arg-type]
    assert step == Standardise(1, (0,), (1.5,), (2.0,))
    metrics = {"loss": np.float32(0.5)}
    publish(tmp_path, net=make_net(1, 1), signature=signature, preprocessing=Preprocessing((step,)), metrics=metrics)
    manifest = load_artefact(tmp_path, "delays").manifest
    assert (manifest.signature, manifest.preprocessing.steps, manifest.provenance.metrics) == (
        signature,
        (step,),
        {"loss": 0.5},
    )


def test_saving_does_not_change_the_mode_of_the_net(tmp_path: Path) -> None:
    net = build_net("mlp", {"input_dim": 3, "hidden_dims": [4], "output_dim": 2, "dropout_rate": 0.5})
    net.train()
    net.head.eval()  # type: ignore[operator, union-attr]
    publish(tmp_path, net=net)
    assert net.training and not net.head.training  # type: ignore[union-attr]


# ---- any arguments

ANYTHING: Any = st.one_of(
    st.none(), st.booleans(), st.integers(-2, 5), st.integers(2**60, 2**70), st.floats(), st.text(st.characters(), max_size=3),
    st.binary(max_size=2), st.sampled_from([np.int64(2), np.float32(0.5), np.str_("a"), np.bool_(True), StandardScaler()]),
)  # fmt: skip


def mostly(good: Any) -> Any:
    return st.one_of(st.just(good), st.just(good), st.just(good), ANYTHING)


def listed(good: Any, count: int) -> Any:
    rows: Any = st.lists(mostly(good), min_size=count, max_size=count)
    return st.one_of(rows, rows.map(tuple), ANYTHING)


@given(data=st.data())
@settings(max_examples=150)
def test_a_saved_model_is_loaded_and_predicts_the_same(data: st.DataObject) -> None:
    def draw(strategy: Any) -> Any:
        return data.draw(strategy)

    nets = [
        make_net(2, 2),
        make_net(2, 1),
        tied(),
        with_hook(),
        OwnNet(2, [3], 2),
        StandardScaler(),
        nn.Linear(2, 2),
        None,
    ]
    net = draw(st.sampled_from(nets + nets[:2] * 4))
    with TemporaryDirectory() as repository:
        try:
            categories = draw(st.one_of(st.just(()), listed("x", 1)))
            kind = "category" if categories else "float32"
            feature = Feature(draw(mostly("f")), draw(mostly(kind)), categories, draw(mostly(True)))
            signature = Signature(
                features=draw(st.one_of(st.just(()), st.just([feature, Feature("g")]), listed(feature, 2))),
                shape=draw(st.one_of(st.just((2,)), st.just([2]), listed(2, 1))),
                task=draw(mostly("binary" if getattr(net, "output_dim", 0) == 1 else "multiclass")),
                output_dim=draw(mostly(getattr(net, "output_dim", 2))),
                labels=draw(st.one_of(st.just(()), st.just(["no", "yes"]), listed("yes", 2))),
            )
            steps = draw(
                st.one_of(st.just(()), st.just([Impute(2, draw(listed(0, 1)), draw(listed(0.5, 1)))]), ANYTHING)
            )
            preprocessing = draw(mostly(Preprocessing(steps)))
            save_artefact(
                repository, draw(mostly("m")), net, signature=draw(mostly(signature)), preprocessing=preprocessing,
                metrics=draw(mostly({"loss": draw(mostly(0.5))})), created_at=CREATED_AT, note=draw(mostly("why")),
            )  # fmt: skip
        except ForebayError as error:
            assert error.remedy, error.message
            return
        (name,) = [path.name for path in Path(repository).iterdir()]
        loaded = serve_artefact(load_artefact(repository, name))
        before = serve(net, signature, preprocessing if isinstance(preprocessing, Preprocessing) else None)
        x = np.array([[0, 1], [np.nan, -3], [1, 0.5]], dtype=np.float32)
        scores, scores_before = loaded.forward(loaded.prepare(x)), before.forward(before.prepare(x))
        np.testing.assert_array_equal(scores.values_BO, scores_before.values_BO)


def test_a_net_with_embeddings_is_published_and_loaded(tmp_path: Path) -> None:
    city = Feature("city", "category", ("Basel", "Bern"), nullable=True, other=True)
    signature = Signature((Feature("delay"), city), (2,), "binary", 1)
    torch.manual_seed(0)  # with other weights, units may be zero for two cities
    net = build_net("mlp", {"input_dim": 2, "hidden_dims": [16], "output_dim": 1, "embeddings": [[1, 3, 4]]})
    save_artefact(
        tmp_path, "m", net, signature=signature, preprocessing=Preprocessing.identity(), created_at=CREATED_AT
    )
    served = serve_artefact(load_artefact(tmp_path, "m"))
    x = np.array([[0.5, 0], [0.5, 1], [0.5, 2], [0.5, np.nan]], dtype=np.float32)
    values = served.forward(served.prepare(x)).values_BO
    with torch.inference_mode():
        np.testing.assert_allclose(values, torch.sigmoid(net.eval()(torch.from_numpy(x))).numpy(), rtol=1e-5)
    assert len(np.unique(values)) == 4, "each city and a missing one has its own vector"
