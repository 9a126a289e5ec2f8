"""The nodes of ONNX compute what the preprocessing, the trees and the scores of a worker compute."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper

from forebay.models.artefacts.arrays import FloatArray
from forebay.models.artefacts.calibration import Calibration
from forebay.models.artefacts.preprocessing.bin import Bin
from forebay.models.artefacts.preprocessing.bounds import FlagMissing, FlagOutside, NullOutside
from forebay.models.artefacts.preprocessing.combine import Combine, Cyclic
from forebay.models.artefacts.preprocessing.impute import Impute
from forebay.models.artefacts.preprocessing.interpolate import Interpolate
from forebay.models.artefacts.preprocessing.map_values import MapValues
from forebay.models.artefacts.preprocessing.one_hot import OneHot
from forebay.models.artefacts.preprocessing.pipeline import Preprocessing
from forebay.models.artefacts.preprocessing.power import PowerTransform
from forebay.models.artefacts.preprocessing.row_check import RowCheck
from forebay.models.artefacts.preprocessing.select_columns import SelectColumns
from forebay.models.artefacts.preprocessing.standardise import Standardise
from forebay.models.artefacts.preprocessing.step import Step
from forebay.models.artefacts.preprocessing.transform import FUNCTIONS, Clip, Function
from forebay.models.backends.trees.ensemble import TreeEnsemble
from forebay.models.backends.trees.rules import EnsembleRules
from forebay.models.backends.trees.runner import TreesRunner
from forebay.models.edge.graph_writer import ML_DOMAIN, GraphWriter
from forebay.models.edge.preprocessing_nodes import write_step
from forebay.models.edge.score_nodes import write_calibration
from forebay.models.edge.tree_nodes import write_trees
from forebay.models.registration.tree_builder import EnsembleBuilder, NativeTree
from forebay.schemas.errors import ModelError
from tests.models.backends.trees.forest import make_ensemble, make_rows

NAN, INF = float("nan"), float("inf")


def run_graph(x_BF: FloatArray, write: Callable[[GraphWriter, str], str], *, float64: bool = False) -> Any:
    """Return what the nodes that `write` adds make of the rows."""
    graph = GraphWriter("n/")
    graph.alias(write(graph, "x"), "y")
    kind = TensorProto.DOUBLE if float64 else TensorProto.FLOAT
    model = helper.make_model(
        helper.make_graph(
            graph.nodes,
            "test",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["B", x_BF.shape[1]])],
            [helper.make_tensor_value_info("y", kind, ["B", None])],
            initializer=graph.constants,
        ),
        opset_imports=[helper.make_opsetid("", 21), helper.make_opsetid(ML_DOMAIN, 5)],
        ir_version=10,
    )
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(["y"], {"x": x_BF})[0]


def make_values() -> FloatArray:
    random = np.random.default_rng(3)
    x_BF = random.normal(scale=3.0, size=(400, 4)).astype(np.float32)
    x_BF[:100] = random.integers(-2, 6, size=(100, 4))
    x_BF[100:140] *= 1e-7
    x_BF[140:160] *= 1e12
    x_BF[random.random(x_BF.shape) < 0.1] = NAN
    x_BF[-2:] = [[INF, -INF, 0, -0.0], [-INF, INF, -0.0, 3.5]]
    return x_BF


STEPS: dict[str, Step] = {
    "impute": Impute(4, (0, 2), (1.5, -2.25)),
    "standardise": Standardise(4, (1, 3), (1e6, -0.1), (3.0, 0.25)),
    "clip": Clip(4, (0, 1), (-1.0, 0.5), (2.0, 0.75)),
    "select_columns": SelectColumns(4, (3, 0, 0, 2)),
    "one_hot": OneHot(4, (2, 0), (5, 3)),
    "one_hot of all": OneHot(4, (0, 1, 2, 3), (2, 2, 3, 4)),
    "map codes": MapValues(4, (1,), ((0, 1, 2),), ((5.0, None, -1.0),), missing=(9.0,), unknown=(None,)),
    "map keys": MapValues(4, (0, 3), ((-1.0, 3.5), ()), ((2.0, 0.1), ()), missing=(None, 7.0), unknown=(0.5, 8.0)),
    "bin": Bin(4, (0, 2), ((-1.0, 0.0, 2.0), (0.5,))),
    "bin without edges": Bin(4, (1,), ((),)),
    "box-cox": PowerTransform(4, (0, 1), (0.0, 0.7), "box-cox"),
    "yeo-johnson": PowerTransform(4, (0, 1, 2), (0.0, 2.0, -0.4), means=(1.0, 0.0, 0.3), scales=(0.5, 2.0, 1.0)),
    "interpolate": Interpolate(4, (0, 3), ((-1.0, 0.0, 2.0), (0.0, 3.5, 4.0)), (0.0, 0.25, 1.0)),
    "interpolate equal points": Interpolate(
        4, (0, 2), ((-2.0, -2.0, 1.0, 1.0, 1.0, 3.0), (0.0, 1.0, 2.0, 3.0, 4.0, 4.0)), (0.0, 0.1, 0.2, 0.6, 0.7, 1.0)
    ),
    "interpolate one point": Interpolate(4, (0,), ((1.0,),), (0.5,)),
    "null_outside": NullOutside(4, (0, 3), (-1.0, 0.1), (2.0, 3.5)),
    "flag_outside": FlagOutside(4, (0, 3), (-1.0, 0.1), (2.0, 3.5)),
    "flag_missing": FlagMissing(4, (3, 1)),
    "cyclic": Cyclic(4, (1, 2), (7.0, 24.0)),
    **{
        name: Combine(4, (0, 1, 1), (2, 3, 1), name, at_zero=at_zero)
        for name, at_zero in (("add", None), ("subtract", None), ("multiply", None), ("divide", -1.0))
    },
    "divide to missing": Combine(4, (0,), (2,), "divide"),
    **{name: Function(4, (0, 2), name) for name in FUNCTIONS},
}


@pytest.mark.parametrize("name", STEPS)
def test_steps(name: str) -> None:
    step, x_BF = STEPS[name], make_values()
    if name in ("cos", "sin", "cyclic"):
        x_BF = np.clip(x_BF, -1e4, 1e4)  # the sine of a huge number depends on how its period is reduced
    expected_BG = step.apply(x_BF)
    found_BG = run_graph(x_BF, lambda graph, x: write_step(graph, step, x, []))
    assert (found_BG.dtype, found_BG.shape) == (np.float32, (len(x_BF), step.output_width))
    np.testing.assert_allclose(found_BG, expected_BG, rtol=3e-7, atol=1e-30)


def test_rows_are_rejected_as_by_the_step() -> None:
    step = RowCheck(4, (0, 2), (-1.0, None), (None, 2.0), allow_missing=(True, False), names=("a", "b"))
    x_BF, masks = make_values(), []
    found_BG = run_graph(x_BF, lambda graph, x: graph.to_float32((write_step(graph, step, x, masks), masks[0])[1]))
    np.testing.assert_array_equal(found_BG[:, 0] == 1, step.rejected(x_BF))


def test_steps_without_a_form_in_onnx_are_refused() -> None:
    step = Interpolate(4, (0,), ((0.0, 1.0),), (0.0, 1.0), distribution="normal")
    with pytest.raises(
        ModelError, match="the step interpolate with the distribution normal, which has no form in ONNX"
    ):
        write_step(GraphWriter("n/"), step, "x", [])
    assert Preprocessing((step,)).output_width(4) == 4


CALIBRATIONS = {
    "isotonic": (Calibration("isotonic", (0.1, 0.5, 0.9), (0.0, 0.6, 0.8)), 1),
    "platt": (Calibration("platt", slope=1.7, intercept=-0.3), 1),
    "temperature": (Calibration("temperature", temperature=2.5), 3),
}


@pytest.mark.parametrize("name", CALIBRATIONS)
def test_calibrations(name: str) -> None:
    calibration, width = CALIBRATIONS[name]
    p_BO = np.random.default_rng(0).dirichlet([0.3] * 3, size=200)[:, :width].astype(np.float32)
    p_BO[:2] = [[0.0] * width, [1.0] + [0.0] * (width - 1)]
    found_BO = run_graph(
        p_BO, lambda graph, x: write_calibration(graph, calibration, graph.to_float64(x)), float64=True
    )
    np.testing.assert_allclose(found_BO, calibration.apply(p_BO), atol=1e-7)


def check_trees(ensemble: TreeEnsemble) -> None:
    x_BF = make_rows(ensemble, 300)
    expected_BO = TreesRunner(ensemble, place="a test").run(x_BF)
    found_BO = run_graph(x_BF, lambda graph, x: write_trees(graph, ensemble, x, "a test"))
    np.testing.assert_allclose(found_BO, expected_BO, rtol=3e-7, atol=1e-12)


@pytest.mark.parametrize("aggregate", ["sum", "average"])
@pytest.mark.parametrize("whole_leaves", [False, True])
def test_trees_of_several_outputs(aggregate: str, whole_leaves: bool) -> None:
    rules = EnsembleRules(4, 3, comparison="<", aggregate=aggregate)  # type: ignore[arg-type]
    check_trees(make_ensemble(rules, whole_leaves=whole_leaves))


@pytest.mark.parametrize("link", ["identity", "exp", "sigmoid", "signed_square", "log1p_exp", "isolation"])
@pytest.mark.parametrize("missing", ["default", "refused"])
def test_links_of_trees(link: str, missing: str) -> None:
    scale = 3.7 if link == "isolation" else 1.0
    check_trees(make_ensemble(EnsembleRules(4, 1, missing=missing, link=link, scale=scale)))  # type: ignore[arg-type]


def test_trees_without_splits() -> None:
    builder = EnsembleBuilder(EnsembleRules(1, 2))
    leaf = NativeTree(
        feature=np.zeros(1, np.int64),
        threshold=np.zeros(1),
        left=np.array([-1]),
        right=np.array([-1]),
        default_left=np.zeros(1),
        values=np.array([1.5]),
    )
    builder.add(leaf, 1)
    ensemble = builder.build("a test", np.array([0.25, 0.5]))
    found_BO = run_graph(np.ones((3, 1), np.float32), lambda graph, x: write_trees(graph, ensemble, x, "a test"))
    np.testing.assert_array_equal(found_BO, [[0.25, 2.0]] * 3)
