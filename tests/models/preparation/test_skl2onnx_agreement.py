"""Compare frozen steps with the graphs that skl2onnx makes of scikit-learn's transformers, run by ONNX Runtime.

A second opinion, independent of our arithmetic and of scikit-learn's: the transformer and the step of a recipe are fitted to
the same rows, and the graph and the frozen step are given the same later rows, 512 at once and one at a time.

skl2onnx cannot convert `quantile` with `normal`, `target` with several classes, `missing_indicator`, and functions, so `log`,
`clip`, `cast`, `cyclic` and `combine` are not here; `min_max` with `clip` uses the frozen step of `clip`. An `isolation_forest`
agrees, but its 100 trees take too long to convert. scikit-learn has no transformer for `frequency`, `rare`, `outliers` with
bounds, steps that drop rows, and sequences.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnxruntime
import pytest
from skl2onnx import to_onnx
from skl2onnx.common.data_types import DoubleTensorType, FloatTensorType, StringTensorType
from sklearn import preprocessing as skp
from sklearn.compose import ColumnTransformer
from sklearn.feature_selection import SelectKBest, VarianceThreshold, chi2
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline

from forebay.models.artefacts.preprocessing import Preprocessing
from forebay.models.artefacts.signature import Feature
from forebay.models.artefacts.text_codes import encode_texts
from forebay.models.preparation.preparation import read_preparation
from forebay.models.preparation.training_rows import TrainingRows

ROWS, BATCH, SINGLE_ROWS = 400, 512, 8
RANDOM = np.random.default_rng(7)
NAMES = "abcdef"
X_NF = np.column_stack(
    [
        RANDOM.normal(5, 3, ROWS),
        RANDOM.lognormal(1, 1, ROWS),
        RANDOM.integers(1, 6, ROWS),
        np.full(ROWS, 7.25),
        np.where(RANDOM.random(ROWS) < 0.02, 1e6, RANDOM.normal(0, 1, ROWS)),
        RANDOM.normal(1e6, 50, ROWS),
    ]
).astype(np.float32)
Y_N = (X_NF[:, 0] > 5).astype(np.int64)


def with_gaps(x_NF: Any) -> Any:
    return np.where(RANDOM.random(x_NF.shape) < 0.1, np.float32("nan"), x_NF)


GAPS_NF = with_gaps(X_NF)
# Later rows have values beyond those of the training, and four rows of extreme ones at the start.
LATER_BF = np.concatenate(
    [
        np.repeat(np.array([[1e30], [-1e30], [0], [1e-30]], dtype=np.float32), 6, axis=1),
        X_NF[:300],
        X_NF[:108] * np.float32(1.1),
        X_NF[:100] * np.float32(-0.5),
    ]
)
LATER_GAPS_BF = with_gaps(LATER_BF)
ALL, EASY = (0, 1, 2, 3, 4, 5), (0, 1, 2, 3, 4)  # without the last: 1e6 +- 50 cancels in single precision
BINS: dict[str, Any] = {"quantile_method": "linear", "subsample": None}


@dataclass
class Case:
    """A recipe and the transformer that does the same. double: whether the graph computes in double precision."""

    recipe: list[dict[str, Any]]
    transformer: Any
    columns: tuple[int, ...] = EASY
    gaps: bool = True
    double: bool = False
    positive: bool = False
    skip: int = 0  # leading rows whose result overflows single precision in the graph
    rtol: float = 1e-6
    others: dict[str, Any] = field(default_factory=dict)

    def rows(self) -> tuple[Any, Any]:
        x_NF, later_BF = (GAPS_NF, LATER_GAPS_BF) if self.gaps else (X_NF, LATER_BF)
        x_NF, later_BF = x_NF[:, list(self.columns)], later_BF[self.skip :, list(self.columns)]
        return (np.abs(x_NF) + 1, np.abs(later_BF) + 1) if self.positive else (x_NF, later_BF)


def impute(strategy: str, name: str = "", **others: Any) -> Case:
    recipe = {"step": "impute", "strategy": strategy}
    if others:
        recipe |= {"value": others["fill_value"]}
    return Case([recipe], SimpleImputer(strategy=name or strategy, **others), ALL)


def scale(transformer: Any, *, columns: tuple[int, ...] = ALL, **table: Any) -> list[Case]:
    """Return the case in single precision without the column that cancels, and in double precision."""
    return [Case([table], transformer), Case([table], transformer, columns, double=True)]


CASES = [
    impute("mean"),
    impute("median"),
    impute("mode", "most_frequent"),
    impute("constant", fill_value=-1.0),
    *scale(skp.StandardScaler(), step="standardise"),
    *scale(skp.MinMaxScaler((-1, 2)), step="min_max", low=-1.0, high=2.0),
    *scale(skp.MinMaxScaler(clip=True), step="min_max", clip=True),
    *scale(skp.RobustScaler(), step="robust"),
    *scale(skp.RobustScaler(quantile_range=(10, 80)), step="robust", lower_quantile=0.1, upper_quantile=0.8),
    # Not the constant column: the graph gives its value the quantile 1, and scikit-learn (like this step) 0.
    Case(
        [{"step": "quantile", "quantiles": 8}],
        skp.QuantileTransformer(n_quantiles=8, subsample=None),
        (0, 2, 5),
        double=True,
    ),
    # skl2onnx converts powers in single precision only, so extreme values overflow. The graph of Yeo and Johnson's power gives
    # missing values a number; scikit-learn and this step leave them missing. Constant columns are left alone by this step;
    # scikit-learn fits a power to them.
    Case([{"step": "power"}], skp.PowerTransformer(), (0, 1, 2), gaps=False, skip=2),
    Case(
        [{"step": "power", "standardise": False}],
        skp.PowerTransformer(standardize=False),
        (0, 1, 2),
        gaps=False,
        skip=2,
    ),
    # The exponent is rounded to single precision in the graph, which a value of 1e30 multiplies by its logarithm, 69.
    Case(
        [{"step": "power", "method": "box-cox"}],
        skp.PowerTransformer("box-cox"),
        (0, 1, 2),
        positive=True,
        rtol=4e-6,
    ),
    Case(
        [{"step": "bin", "bins": 5}],
        skp.KBinsDiscretizer(5, strategy="uniform", encode="ordinal", **BINS),
        ALL,
        gaps=False,
    ),
    Case(
        [{"step": "bin", "bins": 5, "method": "quantile"}],
        skp.KBinsDiscretizer(5, strategy="quantile", encode="ordinal", **BINS),
        (0, 1, 5),
        gaps=False,
    ),
    Case(
        [{"step": "bin", "bins": 5, "encode": "one_hot"}],
        skp.KBinsDiscretizer(5, strategy="uniform", encode="onehot-dense", **BINS),
        (0, 1, 5),
        gaps=False,
    ),
    # Squares of 1e30 overflow in the graph; this step limits them to float32.
    Case([{"step": "products"}], skp.PolynomialFeatures(2, include_bias=False), ALL, gaps=False, skip=2),
    Case([{"step": "select", "method": "variance"}], VarianceThreshold(), ALL),
    Case(
        [{"step": "select", "method": "chi_square", "k": 2}],
        SelectKBest(chi2, k=2),
        (1, 2, 5),
        gaps=False,
        others={"y_N": Y_N, "task": "binary"},
    ),
    Case(
        [{"step": "select_columns", "columns": ["d", "b"]}], ColumnTransformer([("kept", "passthrough", [3, 1])]), ALL
    ),
    Case(
        [
            {"step": "impute", "strategy": "median"},
            {"step": "select", "method": "variance"},
            {"step": "standardise"},
            {"step": "min_max", "clip": True},
        ],
        make_pipeline(
            SimpleImputer(strategy="median"), VarianceThreshold(), skp.StandardScaler(), skp.MinMaxScaler(clip=True)
        ),
    ),
    Case(
        [{"step": "impute", "strategy": "mean"}, {"step": "power"}, {"step": "bin", "bins": 4, "encode": "one_hot"}],
        make_pipeline(
            SimpleImputer(),
            skp.PowerTransformer(),
            skp.KBinsDiscretizer(4, strategy="uniform", encode="onehot-dense", **BINS),
        ),
        (0, 1, 2),
        skip=2,
    ),
]


def frozen(recipe: list[dict[str, Any]], x_NF: Any, **others: Any) -> Preprocessing:
    """Return the steps that a worker reads from the artefact."""
    rows = TrainingRows(tuple(NAMES[: x_NF.shape[1]]), x_NF.astype(np.float32), is_raw=True, **others)
    preprocessing = read_preparation(recipe, "recipe.toml").fit(rows).preprocessing
    return Preprocessing.from_dict(preprocessing.to_dict())


def graph_of(fitted: Any, kind: Any, width: int) -> Any:
    """Return the function that the graph of a fitted transformer computes."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    opsets = {"": 18, "ai.onnx.ml": 3}
    graph = to_onnx(fitted, initial_types=[("x", kind([None, width]))], target_opset=opsets).SerializeToString()
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    return lambda given: session.run(None, {"x": given})[0]


def check_agreement(graph: Any, steps: Preprocessing, given: Any, later_BF: Any, rtol: float = 1e-6) -> None:
    """Check that graph and steps give the same for all rows at once, and for the first of them one at a time."""
    batches = [slice(None)] + [slice(row, row + 1) for row in range(SINGLE_ROWS)]
    for batch in batches:
        found = steps.apply(later_BF[batch])
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, graph(given[batch]), rtol=rtol, atol=1e-6)


@pytest.mark.filterwarnings("ignore:Feature 3 is constant:UserWarning")
@pytest.mark.parametrize("case", CASES, ids=lambda case: "-".join(str(table["step"]) for table in case.recipe))
def test_numbers_agree_with_the_graph(case: Case) -> None:
    x_NF, later_BF = case.rows()
    assert len(later_BF) == BATCH - case.skip
    fitted = case.transformer.fit(x_NF.astype(np.float64), Y_N)
    kind, dtype = (DoubleTensorType, np.float64) if case.double else (FloatTensorType, np.float32)
    graph = graph_of(fitted, kind, x_NF.shape[1])
    steps = frozen(case.recipe, x_NF, **case.others)
    check_agreement(graph, steps, later_BF.astype(dtype), later_BF=later_BF.astype(np.float32), rtol=case.rtol)


CITIES = ["Basel", "Bern", "Chur", "Genf", "Zug"]
ORDER = ["Zug", "Bern", "Chur"]
TEXTS_N = RANDOM.choice(CITIES, ROWS, p=(0.5, 0.3, 0.15, 0.04, 0.01))
LATER_TEXTS_B = RANDOM.choice([*CITIES, "Paris", ""], BATCH)


@pytest.mark.parametrize(
    ("table", "encoder", "other"),
    [
        (
            {"step": "one_hot"},
            skp.OneHotEncoder(categories=[CITIES], handle_unknown="ignore", sparse_output=False),
            False,
        ),
        (
            {"step": "label", "unknown": "missing"},
            skp.OrdinalEncoder(categories=[CITIES], handle_unknown="use_encoded_value", unknown_value=np.nan),
            False,
        ),
        (
            {"step": "label", "order": ORDER},
            skp.OrdinalEncoder(categories=[ORDER], handle_unknown="use_encoded_value", unknown_value=len(ORDER)),
            True,
        ),
        ({"step": "target"}, skp.TargetEncoder(target_type="binary"), False),
        ({"step": "target", "smooth": 7.0}, skp.TargetEncoder(target_type="continuous", smooth=7.0), False),
    ],
    ids=lambda value: value["step"] if isinstance(value, dict) else "",
)
def test_texts_agree_with_the_graph(table: dict[str, Any], encoder: Any, other: bool) -> None:
    city = Feature("a", "category", tuple(CITIES), nullable=True, other=other)
    is_value = getattr(encoder, "target_type", "") == "continuous"
    y_N = X_NF[:, 0] if is_value else Y_N
    steps = frozen(
        [table],
        encode_texts(city, TEXTS_N.tolist())[:, None],
        texts={"a": city},
        y_N=y_N,
        task="regression" if is_value else "binary",
    )
    graph = graph_of(encoder.fit(TEXTS_N[:, None].astype(object), y_N), StringTensorType, 1)
    later_BF = encode_texts(city, LATER_TEXTS_B.tolist())[:, None].astype(np.float32)
    check_agreement(graph, steps, LATER_TEXTS_B[:, None].astype(object), later_BF)


def test_labels_agree_with_the_graph_of_a_label_encoder() -> None:
    city = Feature("a", "category", tuple(CITIES))
    codes_NF = encode_texts(city, TEXTS_N.tolist())[:, None]
    graph = graph_of(skp.LabelEncoder().fit(TEXTS_N), StringTensorType, 1)
    found = frozen([{"step": "label"}], codes_NF, texts={"a": city}).apply(codes_NF)
    np.testing.assert_array_equal(found[:, 0], graph(TEXTS_N[:, None].astype(object)).reshape(-1))
