"""An ONNX file becomes a candidate: the signature comes from the graph, and from hints what the graph does not state."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import TensorProto, helper
from skl2onnx import to_onnx
from sklearn.datasets import load_breast_cancer, load_iris
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from forebay.models.artefacts.manifest import Provenance
from forebay.models.artefacts.signature import Feature, Signature
from forebay.models.backends.protocol import RunOptions
from forebay.models.registration.hints import Hints
from forebay.models.registration.onnx_reader import read_onnx
from forebay.models.registration.publish import publish_candidate
from forebay.models.serving.load_gate import load_model
from forebay.models.serving.served_model import ServedModel
from forebay.schemas.errors import ModelError
from tests.models.backends.onnx.graphs import make_model
from tests.models.build import CREATED_AT

HINTS = Hints("m")


def refusal(model: object, hints: Hints = HINTS) -> ModelError:
    with pytest.raises(ModelError) as caught:
        read_onnx(model, hints)
    assert caught.value.remedy
    return caught.value


def serve(repository: Path, data: bytes, hints: Hints = HINTS) -> ServedModel:
    candidate = read_onnx(data, hints)
    publish_candidate(candidate, repository=repository, name="m", provenance=Provenance(CREATED_AT, {}))
    return load_model(repository, "m", options=RunOptions())


def convert(model: Any, x: npt.NDArray[np.float32], **options: Any) -> bytes:
    return bytes(to_onnx(model, x[:1], options=options or None, target_opset=18).SerializeToString())


def iris() -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    x, y = load_iris(return_X_y=True)
    return x.astype(np.float32), y


CLASSIFIERS = {
    "forest": RandomForestClassifier(n_estimators=5, max_depth=4, random_state=0),
    "logistic": make_pipeline(StandardScaler(), LogisticRegression()),
    "mlp": MLPClassifier((8,), max_iter=40, random_state=0),
}


@pytest.mark.parametrize("kind", CLASSIFIERS)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_a_classifier_of_scikit_learn_is_served_with_its_labels(kind: str, tmp_path: Path) -> None:
    x, y = iris()
    names = np.array(["setosa", "versicolor", "virginica"])
    classifier = CLASSIFIERS[kind].fit(x, names[y])
    served = serve(tmp_path, convert(classifier, x, zipmap=False))
    assert served.signature.task == "multiclass"
    assert served.signature.shape == (4,)
    if kind != "mlp":  # the converter computes the classes of a net by ArrayFeatureExtractor
        assert served.signature.labels == tuple(names)
    scores = served.forward(served.prepare(x))
    assert np.allclose(scores.values_BO, classifier.predict_proba(x), atol=1e-5)


@pytest.mark.parametrize("model", [LinearRegression(), RandomForestRegressor(5, max_depth=4, random_state=0)], ids=str)
def test_a_regressor_of_scikit_learn_is_served(model: Any, tmp_path: Path) -> None:
    x, y = iris()
    model.fit(x, y)
    served = serve(tmp_path, convert(model, x))
    assert (served.signature.task, served.signature.output_dim) == ("regression", 1)
    assert np.allclose(served.forward(served.prepare(x)).values_BO[:, 0], model.predict(x), atol=1e-5)


def test_two_classes_with_both_probabilities_are_multiclass(tmp_path: Path) -> None:
    x, y = load_breast_cancer(return_X_y=True)
    x = x.astype(np.float32)
    forest = RandomForestClassifier(5, max_depth=4, random_state=0).fit(x, y)
    served = serve(tmp_path, convert(forest, x, zipmap=False), Hints("m", task="binary"))
    assert (served.signature.task, served.signature.labels) == ("multiclass", ("0", "1"))
    assert np.allclose(served.forward(served.prepare(x)).values_BO, forest.predict_proba(x), atol=1e-5)


def test_dictionaries_of_a_classifier_are_refused_with_the_remedy() -> None:
    x, y = iris()
    error = refusal(convert(LogisticRegression().fit(x, y), x))
    assert "a list of dictionaries (ZipMap) cannot be served" in error.message
    assert error.remedy is not None and "{'zipmap': False}" in error.remedy


@pytest.mark.parametrize(
    ("op_type", "output_dim", "task", "outputs"),
    [("Softmax", 2, "multiclass", "probabilities"), ("Sigmoid", 1, "binary", "probabilities")],
)
def test_the_last_operator_states_the_task(op_type: str, output_dim: int, task: str, outputs: str) -> None:
    nodes = [
        helper.make_node("MatMul", ["rows", "weights"], ["logits"]),
        helper.make_node(op_type, ["logits"], ["p"]),
        helper.make_node("Identity", ["p"], ["scores"]),
    ]
    scores = helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["N", output_dim])
    candidate = read_onnx(make_model(nodes, outputs=[scores]).SerializeToString(), HINTS)
    assert (candidate.signature.task, candidate.signature.output_dim) == (task, output_dim)
    assert candidate.outputs == outputs


def test_a_graph_that_does_not_state_its_task_needs_one() -> None:
    data = make_model().SerializeToString()
    assert "the graph ends in MatMul, which does not state the task" in refusal(data).message
    candidate = read_onnx(data, Hints("m", task="multiclass", labels=("no", "yes")))
    assert candidate.outputs == "logits"
    assert candidate.signature == Signature(
        tuple(Feature(f"f{index}") for index in range(3)), (3,), "multiclass", 2, labels=("no", "yes")
    )
    assert read_onnx(data, Hints("m", task="regression")).outputs == "values"


def test_names_come_from_the_hints() -> None:
    features = (Feature("age"), Feature("income"), Feature("visits"))
    candidate = read_onnx(make_model().SerializeToString(), Hints("m", task="regression", features=features))
    assert candidate.signature.features == features


def test_images_keep_their_shape() -> None:
    rows = helper.make_tensor_value_info("rows", TensorProto.FLOAT, ["N", 1, 4, 4])
    nodes = [helper.make_node("Flatten", ["rows"], ["scores"])]
    scores = helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["N", 16])
    data = make_model(nodes, [], inputs=[rows], outputs=[scores]).SerializeToString()
    assert read_onnx(data, Hints("m", task="multiclass")).signature.shape == (1, 4, 4)


def test_free_sizes_need_a_signature_or_features() -> None:
    rows = helper.make_tensor_value_info("rows", TensorProto.FLOAT, [None, None])
    data = make_model(inputs=[rows]).SerializeToString()
    assert "does not state the number of its features" in refusal(data, Hints("m", task="regression")).message
    signature = Signature((), (3,), "regression", 2)
    assert read_onnx(data, Hints("m", signature=signature)).signature == signature
    features = tuple(map(Feature, "abc"))
    assert read_onnx(data, Hints("m", task="regression", features=features)).signature.shape == (3,)


def test_one_of_several_outputs_is_named_in_the_parameters() -> None:
    scores = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 2]) for name in ("scores", "other")]
    nodes = [
        helper.make_node("MatMul", ["rows", "weights"], ["scores"]),
        helper.make_node("Neg", ["scores"], ["other"]),
    ]
    data = make_model(nodes, outputs=scores).SerializeToString()
    hints = Hints("m", task="regression")
    error = refusal(data, hints)
    assert "several outputs can be served: 'scores', a tensor of float32 ['N', 2]; 'other'" in error.message
    assert error.remedy is not None and "--output scores" in error.remedy
    assert read_onnx(data, replace(hints, output="other")).params == {"output": "other"}
    error = refusal(data, replace(hints, output="third"))
    assert "the output 'third' cannot be served; the outputs are 'scores'" in error.message
    assert error.remedy == "choose scores, other"


def test_a_file_is_read_from_its_path(tmp_path: Path) -> None:
    file = tmp_path / "net.onnx"
    onnx.save(make_model(), file)
    assert read_onnx(file, Hints("m", task="regression")).files == {"model.onnx": file.read_bytes()}
    assert read_onnx(str(file), Hints("m", task="regression")).signature.output_dim == 2
    file.write_bytes(b"text")
    assert str(file) in refusal(file).message
    assert "this is a int" in refusal(3).message
