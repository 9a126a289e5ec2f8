"""Each step against the library that is the authority on it: scikit-learn, pandas or scipy, on float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn import preprocessing as skp
from sklearn.ensemble import IsolationForest
from sklearn.feature_selection import RFE, SelectKBest, VarianceThreshold, chi2, mutual_info_classif
from sklearn.impute import MissingIndicator, SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import LocalOutlierFactor

from forebay.models.artefacts.preprocessing import Preprocessing, RowsRejected
from forebay.models.artefacts.signature import Feature
from forebay.models.preparation.preparation import FittedPreparation, read_preparation
from forebay.models.preparation.training_rows import TrainingRows
from forebay.schemas.errors import ModelError

NAN = float("nan")
RANDOM = np.random.default_rng(7)
X_NF = np.column_stack(
    [RANDOM.normal(5, 3, 400), RANDOM.lognormal(1, 1, 400), RANDOM.integers(1, 6, 400), RANDOM.normal(1e6, 50, 400)]
).astype(np.float32)
WITH_GAPS_NF = np.where(RANDOM.random(X_NF.shape) < 0.1, np.float32(NAN), X_NF)
LATER_NF = np.concatenate([X_NF[:50] * np.float32(1.1), X_NF[:50] * np.float32(0.5)])
Y_N = (X_NF[:, 0] + RANDOM.normal(0, 1, 400) > 5).astype(np.int64)


def fit(*recipe: dict[str, Any], x_NF: Any = X_NF, names: str = "abcd", **others: Any) -> FittedPreparation:
    rows = TrainingRows(tuple(names), np.asarray(x_NF, dtype=np.float32), is_raw=True, **others)
    return read_preparation(list(recipe), "recipe.toml").fit(rows)


def column(*values: float, **table: Any) -> list[float]:
    """Return one column after one step."""
    return fit(table, x_NF=np.array(values)[:, None], names="a").x_KG[:, 0].tolist()


@pytest.mark.parametrize(
    ("table", "reference"),
    [
        ({"step": "standardise"}, skp.StandardScaler()),
        ({"step": "min_max", "low": -1.0, "high": 2.0}, skp.MinMaxScaler((-1, 2))),
        ({"step": "min_max", "clip": True}, skp.MinMaxScaler(clip=True)),
        ({"step": "robust"}, skp.RobustScaler()),
        ({"step": "robust", "lower_quantile": 0.1, "upper_quantile": 0.8}, skp.RobustScaler(quantile_range=(10, 80))),
        ({"step": "quantile", "quantiles": 100}, skp.QuantileTransformer(n_quantiles=100, subsample=None)),
        (
            {"step": "quantile", "distribution": "normal"},
            skp.QuantileTransformer(n_quantiles=400, output_distribution="normal", subsample=None),
        ),
        ({"step": "power"}, skp.PowerTransformer()),
        ({"step": "power", "standardise": False}, skp.PowerTransformer(standardize=False)),
    ],
    ids=str,
)
def test_scaling_agrees_with_scikit_learn(table: dict[str, Any], reference: Any) -> None:
    # A power of the last column, a million, is beyond what a float32 result without standardising can be compared on.
    x_NF, later_NF = WITH_GAPS_NF[:, :3], LATER_NF[:, :3]
    fitted = fit(table, x_NF=x_NF, names="abc")
    reference.fit(x_NF.astype(np.float64))
    found = np.concatenate([fitted.x_KG, fitted.preprocessing.apply(later_NF)])
    expected = reference.transform(np.concatenate([x_NF, later_NF]).astype(np.float64))
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)


def test_box_cox_agrees_with_scikit_learn() -> None:
    positive_NF = np.abs(X_NF[:, :3]) + 1
    found = fit({"step": "power", "method": "box-cox"}, x_NF=positive_NF, names="abc")
    expected = skp.PowerTransformer("box-cox").fit_transform(positive_NF.astype(np.float64))
    np.testing.assert_allclose(found.x_KG, expected, rtol=1e-6, atol=1e-6)
    with pytest.raises(ModelError, match="no power makes the column 'd' like a normal distribution"):
        fit({"step": "power", "method": "box-cox", "columns": ["d"]}, x_NF=np.abs(X_NF) + 1)


def test_a_standard_deviation_has_the_stated_ddof() -> None:
    expected = (WITH_GAPS_NF - np.nanmean(WITH_GAPS_NF.astype(np.float64), axis=0)) / np.nanstd(
        WITH_GAPS_NF.astype(np.float64), axis=0, ddof=1
    )
    np.testing.assert_allclose(fit({"step": "standardise", "ddof": 1}, x_NF=WITH_GAPS_NF).x_KG, expected, atol=1e-6)


@pytest.mark.parametrize("strategy", ["mean", "median", "mode"])
def test_missing_values_are_replaced_like_in_scikit_learn(strategy: str) -> None:
    reference = SimpleImputer(strategy={"mode": "most_frequent"}.get(strategy, strategy))
    expected = reference.fit_transform(WITH_GAPS_NF.astype(np.float64))
    found = fit({"step": "impute", "strategy": strategy}, x_NF=WITH_GAPS_NF)
    np.testing.assert_allclose(found.x_KG, expected, rtol=1e-6)
    assert column(1, NAN, step="impute", strategy="constant", value=-1) == [1, -1]


def test_indicators_of_missing_values_are_those_of_scikit_learn() -> None:
    fitted = fit({"step": "missing_indicator"}, x_NF=WITH_GAPS_NF)
    np.testing.assert_array_equal(fitted.x_KG[:, 4:], MissingIndicator().fit_transform(WITH_GAPS_NF))
    assert fitted.names[4:] == ("a_is_missing", "b_is_missing", "c_is_missing", "d_is_missing")


@pytest.mark.parametrize("strategy", ["forward", "backward", "interpolate"])
def test_sequences_are_filled_like_in_pandas(strategy: str) -> None:
    sequences_N = np.repeat(np.arange(100), 4)
    x_NF = np.where(RANDOM.random(X_NF.shape) < 0.6, np.float32(NAN), X_NF)
    groups = pd.DataFrame(x_NF.astype(np.float64)).groupby(sequences_N)
    expected = {
        "forward": lambda: groups.ffill(),
        "backward": lambda: groups.bfill(),
        "interpolate": lambda: groups.transform(lambda values: values.interpolate(limit_direction="both")),
    }[strategy]()
    fitted = fit({"step": "impute", "strategy": strategy}, x_NF=x_NF, sequences_N=sequences_N)
    np.testing.assert_allclose(fitted.x_KG, expected, rtol=1e-6)
    for sequence in range(3):
        rows = slice(4 * sequence, 4 * sequence + 4)
        alone = fitted.preprocessing.apply(x_NF[rows], sequences_B=np.zeros(4, dtype=np.int64))
        np.testing.assert_array_equal(alone, fitted.x_KG[rows], "the other sequences do not matter")
    assert "stay missing, because their sequence has no such value" in fitted.notes[1]


def test_what_looks_at_other_events_is_refused_for_rows() -> None:
    with pytest.raises(ModelError) as caught:
        fit({"step": "impute", "strategy": "forward"})
    assert "needs the other events of a sequence, and each row stands by itself" in caught.value.message
    assert "sequence_length" in (caught.value.remedy or "")


@pytest.mark.parametrize("method", ["iqr", "z_score"])
def test_outliers_are_beyond_the_bounds(method: str) -> None:
    x_NF = WITH_GAPS_NF[:, :2]
    reference = pd.DataFrame(x_NF.astype(np.float64))
    if method == "iqr":
        first, third = reference.quantile(0.25), reference.quantile(0.75)
        low, high = first - 1.5 * (third - first), third + 1.5 * (third - first)
    else:
        low, high = reference.mean() - 3 * reference.std(ddof=0), reference.mean() + 3 * reference.std(ddof=0)
    is_outlier = ((reference < low) | (reference > high)).to_numpy()
    assert is_outlier.any()

    def after(action: str) -> FittedPreparation:
        return fit({"step": "outliers", "method": method, "action": action}, x_NF=x_NF, names="ab")

    np.testing.assert_allclose(after("clip").x_KG, reference.clip(low, high, axis=1), rtol=1e-6)
    np.testing.assert_allclose(after("null").x_KG, reference.mask(is_outlier), rtol=1e-6)
    np.testing.assert_array_equal(after("flag").x_KG[:, 2:], is_outlier)
    np.testing.assert_array_equal(after("drop").keep_N, ~is_outlier.any(axis=1))
    rejecting = after("reject")
    np.testing.assert_array_equal(rejecting.keep_N, ~is_outlier.any(axis=1))
    with pytest.raises(RowsRejected) as caught:
        rejecting.preprocessing.apply(x_NF, checked=True)
    assert sorted(caught.value.reasons) == np.flatnonzero(is_outlier.any(axis=1)).tolist()
    assert f"{is_outlier.sum()} outliers ({method}, reject) in " in rejecting.notes[0]


@pytest.mark.parametrize("contamination", [None, 0.1])
def test_an_isolation_forest_rejects_the_rows_that_scikit_learn_finds(contamination: float | None) -> None:
    table = {"step": "outliers", "method": "isolation_forest", "columns": ["c", "a"]}
    table |= {} if contamination is None else {"contamination": contamination}
    rejecting, dropping = fit(table | {"action": "reject"}, seed=3), fit(table | {"action": "drop"}, seed=3)
    reference = IsolationForest(random_state=3, contamination=contamination or "auto").fit(X_NF[:, [2, 0]])
    np.testing.assert_array_equal(rejecting.keep_N, reference.predict(X_NF[:, [2, 0]]) > 0)
    np.testing.assert_array_equal(dropping.keep_N, rejecting.keep_N)
    assert dropping.preprocessing.steps == () and dropping.of_training.steps == rejecting.preprocessing.steps
    with pytest.raises(RowsRejected) as caught:
        rejecting.preprocessing.apply(LATER_NF, checked=True)
    assert sorted(caught.value.reasons) == np.flatnonzero(reference.predict(LATER_NF[:, [2, 0]]) < 0).tolist()
    with pytest.raises(ModelError, match="the column 'c' has missing values, which isolation_forest does not take"):
        fit(table | {"action": "reject"}, x_NF=WITH_GAPS_NF)


def test_models_of_whole_rows_drop_training_rows() -> None:
    neighbours = fit({"step": "outliers", "method": "local_outlier_factor", "action": "drop", "contamination": 0.1})
    np.testing.assert_array_equal(neighbours.keep_N, LocalOutlierFactor(contamination=0.1).fit_predict(X_NF) > 0)
    assert neighbours.preprocessing.steps == ()
    assert "works only on training rows" in neighbours.notes[1]
    with pytest.raises(ModelError, match=r'local_outlier_factor allows only "drop"'):
        fit({"step": "outliers", "method": "local_outlier_factor", "action": "reject"})
    with pytest.raises(ModelError, match=r'isolation_forest allows "drop" and "reject"'):
        fit({"step": "outliers", "method": "isolation_forest", "action": "flag"})
    with pytest.raises(ModelError, match="there is one training row"):
        fit({"step": "outliers", "method": "isolation_forest", "action": "drop"}, x_NF=X_NF[:1])


def test_logarithms_and_their_domain() -> None:
    np.testing.assert_allclose(fit({"step": "log"}, x_NF=np.abs(X_NF)).x_KG, np.log1p(np.abs(X_NF)), rtol=1e-6)
    with pytest.raises(ModelError, match=r"2 values are not above 0: a"):
        column(-1, 0, 4, step="log", function="log")
    np.testing.assert_allclose(
        column(-1, 0, 4, NAN, step="log", function="log", outside="null"), [NAN] * 2 + [np.log(4), NAN], rtol=1e-6
    )
    np.testing.assert_allclose(
        column(-1, 2, 4, step="log", function="log", outside="clip"), np.log([2, 2, 4]), rtol=1e-6
    )
    fitted = fit({"step": "log", "function": "log", "outside": "reject"}, x_NF=[[0], [1]], names="a")
    assert fitted.keep_N.tolist() == [False, True]
    with pytest.raises(RowsRejected):
        fitted.preprocessing.apply(np.zeros((1, 1), dtype=np.float32), checked=True)


@pytest.mark.parametrize("table", [{"step": "log"}, {"step": "power", "method": "box-cox"}], ids=str)
def test_events_without_a_logarithm_are_not_dropped_from_sequences(table: dict[str, Any]) -> None:
    x_NF, sequences_N = [[-2.0], [1.0], [2.0], [3.0]], np.array([0, 0, 1, 1])
    with pytest.raises(ModelError, match="cannot be dropped from the middle of a sequence"):
        fit({**table, "outside": "reject"}, x_NF=x_NF, names="a", sequences_N=sequences_N)
    replaced = fit({**table, "outside": "clip"}, x_NF=x_NF, names="a", sequences_N=sequences_N)
    assert replaced.keep_N.all()


def test_limits_are_numbers_or_quantiles() -> None:
    assert column(-5, 1, 9, step="clip", minimum=0, maximum=2) == [0, 1, 2]
    found = fit({"step": "clip", "lower_quantile": 0.05, "upper_quantile": 0.9}, x_NF=WITH_GAPS_NF)
    reference = pd.DataFrame(WITH_GAPS_NF.astype(np.float64))
    expected = reference.clip(reference.quantile(0.05), reference.quantile(0.9), axis=1)
    np.testing.assert_allclose(found.x_KG, expected, rtol=1e-6)


@pytest.mark.parametrize(("method", "strategy"), [("equal_width", "uniform"), ("quantile", "quantile")])
@pytest.mark.parametrize("encode", ["index", "one_hot"])
def test_intervals_are_those_of_scikit_learn(method: str, strategy: str, encode: str) -> None:
    x_NF = X_NF[:, [0, 1, 3]]
    reference = skp.KBinsDiscretizer(
        5,
        strategy=strategy,
        encode="ordinal" if encode == "index" else "onehot-dense",
        subsample=None,
        quantile_method="linear",
    )
    found = fit({"step": "bin", "method": method, "bins": 5, "encode": encode}, x_NF=x_NF, names="abc")
    expected = reference.fit_transform(x_NF.astype(np.float64))
    np.testing.assert_array_equal(found.x_KG, expected)
    np.testing.assert_array_equal(
        found.preprocessing.apply(LATER_NF[:, [0, 1, 3]]),
        reference.transform(LATER_NF[:, [0, 1, 3]].astype(np.float64)),
    )
    assert len(found.names) == expected.shape[1]


def test_expressions_of_two_columns() -> None:
    x_NF = [[6, 2], [1, 0], [0, 0], [NAN, 0], [3e38, 1e-30]]

    def result(operation: str, **others: Any) -> list[float]:
        table = {"step": "combine", "left": "a", "right": "b", "operation": operation, "name": "new"} | others
        return fit(table, x_NF=x_NF, names="ab").x_KG[:, 2].tolist()

    assert result("add")[:3] == [8, 1, 0]
    assert result("subtract")[:3] == [4, 1, 0]
    assert result("multiply")[:3] == [12, 0, 0]
    largest = float(np.finfo(np.float32).max)
    np.testing.assert_array_equal(result("divide", at_zero=-1), [3, -1, -1, NAN, largest])
    np.testing.assert_array_equal(result("divide", at_zero="missing"), [3, NAN, NAN, NAN, largest])
    with pytest.raises(ModelError, match="at_zero must be given for the operation divide"):
        result("divide")


def test_products_are_those_of_scikit_learn() -> None:
    reference = skp.PolynomialFeatures(2, include_bias=False)
    fitted = fit({"step": "products"})
    np.testing.assert_allclose(fitted.x_KG, reference.fit_transform(X_NF.astype(np.float64)), rtol=1e-6)
    assert fitted.names[4:7] == ("a*a", "a*b", "a*c")


def test_cycles_close() -> None:
    fitted = fit(
        {"step": "cyclic", "columns": ["a"], "period": 24}, x_NF=[[0, 1], [6, 2], [24, 3], [30, 4]], names="ab"
    )
    assert fitted.names == ("b", "a_sin", "a_cos")
    np.testing.assert_allclose(fitted.x_KG[:, 1:], [[0, 1], [1, 0], [0, 1], [1, 0]], atol=1e-6)


def test_columns_are_selected_by_variance_and_correlation() -> None:
    x_NF = np.column_stack([X_NF[:, :2], np.full(400, 3), -2 * X_NF[:, 0] + RANDOM.normal(0, 0.1, 400)])
    expected = VarianceThreshold().fit(x_NF).get_support()
    assert fit({"step": "select", "method": "variance"}, x_NF=x_NF).names == tuple(np.array(list("abcd"))[expected])
    assert fit({"step": "select", "method": "correlation", "threshold": 0.9}, x_NF=x_NF).names == ("a", "b", "c")
    gaps_NF = np.where(RANDOM.random(x_NF.shape) < 0.3, NAN, x_NF)
    table = pd.DataFrame(gaps_NF.astype(np.float32).astype(np.float64)).corr().abs().to_numpy()
    for threshold, is_kept in ((table[0, 3] - 1e-9, False), (table[0, 3] + 1e-9, True)):
        names = fit({"step": "select", "method": "correlation", "threshold": float(threshold)}, x_NF=gaps_NF).names
        assert ("d" in names) == is_kept


def test_columns_are_selected_by_what_they_say_about_the_label() -> None:
    x_NF = np.abs(np.column_stack([X_NF[:, [1, 2]], RANDOM.normal(size=400), X_NF[:, 0]])).astype(np.float32)
    labels = {"y_N": Y_N, "task": "binary"}
    x64_NF = x_NF.astype(np.float64)
    expected = {
        "chi_square": SelectKBest(chi2, k=2).fit(x64_NF, Y_N),
        "mutual_information": SelectKBest(lambda x, y: mutual_info_classif(x, y, random_state=0), k=2).fit(x64_NF, Y_N),
        "recursive_elimination": RFE(LogisticRegression(max_iter=1000), n_features_to_select=2).fit(
            skp.StandardScaler().fit_transform(x64_NF), Y_N
        ),
    }
    for method, reference in expected.items():
        found = fit({"step": "select", "method": method, "k": 2}, x_NF=x_NF, **labels).names
        assert found == tuple(np.array(list("abcd"))[reference.get_support()]), method
        assert "d" in found
    with pytest.raises(ModelError, match="chi_square needs the labels"):
        fit({"step": "select", "method": "chi_square", "k": 2})


def test_columns_are_chosen_dropped_renamed_and_converted() -> None:
    assert fit({"step": "select_columns", "columns": ["d", "b"]}).names == ("d", "b")
    dropped = fit({"step": "drop_columns", "columns": ["d", "b"]})
    np.testing.assert_array_equal(dropped.x_KG, X_NF[:, [0, 2]])
    renamed = fit({"step": "rename", "names": {"a": "b", "b": "a"}}, {"step": "drop_columns", "columns": ["a"]})
    np.testing.assert_array_equal(renamed.x_KG, X_NF[:, [0, 2, 3]])
    assert column(-1.5, 2.5, 0, step="cast", to="integer") == [-1, 2, 0]
    assert column(-1.5, 2.5, 0, step="cast", to="rounded") == [-2, 2, 0]
    assert column(-1.5, 2.5, 0, step="cast", to="floor") == [-2, 2, 0]
    np.testing.assert_array_equal(column(-1.5, NAN, 0, step="cast", to="boolean"), [1, NAN, 0])
    with pytest.raises(ModelError, match="two columns would be called b"):
        fit({"step": "rename", "names": {"a": "b"}})


def test_rows_with_missing_values_and_duplicates_are_dropped() -> None:
    x_NF = [[1, 2], [NAN, 2], [1, 2], [NAN, 2], [1, 3], [-0.0, 1], [0.0, 1]]
    fitted = fit({"step": "drop_duplicates"}, x_NF=x_NF, names="ab")
    assert fitted.keep_N.tolist() == [True, True, False, False, True, True, False]
    assert fit({"step": "drop_duplicates", "columns": ["b"]}, x_NF=x_NF, names="ab").keep_N.sum() == 3
    fitted = fit({"step": "drop_missing"}, x_NF=x_NF, names="ab")
    assert fitted.keep_N.sum() == 5
    features = fitted.features((Feature("a", nullable=True), Feature("b", nullable=True), Feature("c", nullable=True)))
    assert [feature.nullable for feature in features] == [False, False, True]
    later = fit({"step": "standardise"}, {"step": "drop_missing"}, x_NF=x_NF, names="ab")
    assert not later.required
    with pytest.raises(RowsRejected):
        later.preprocessing.apply(np.full((1, 2), NAN, dtype=np.float32), checked=True)


def test_infinite_values_are_refused_replaced_or_rejected() -> None:
    x_NF = [[1.0], [np.inf], [-np.inf], [3.0]]
    with pytest.raises(ModelError, match="the column 'a' has 2 infinite values") as caught:
        fit({"step": "standardise"}, x_NF=x_NF, names="a")
    assert '"infinite"' in (caught.value.remedy or "")
    with pytest.raises(ModelError, match="the prepared rows have infinite values: a"):
        fit(x_NF=x_NF, names="a")
    np.testing.assert_array_equal(column(1, np.inf, -np.inf, 3, step="infinite"), [1, NAN, NAN, 3])
    assert column(1, np.inf, -np.inf, 3, step="infinite", action="clip") == [1, 3, 1, 3]
    assert fit({"step": "infinite", "action": "reject"}, x_NF=x_NF, names="a").keep_N.tolist() == [
        True,
        False,
        False,
        True,
    ]


@pytest.mark.parametrize("step", ["standardise", "min_max", "robust", "quantile", "power"])
def test_constant_and_empty_columns_are_refused_kept_or_dropped(step: str) -> None:
    x_NF = np.column_stack([np.arange(4), np.full(4, 7), np.full(4, NAN)])

    def after(**options: str) -> FittedPreparation:
        return fit({"step": step} | options, x_NF=x_NF, names="abc")

    with pytest.raises(ModelError, match="there are columns without any value in the training rows: c"):
        after()
    with pytest.raises(ModelError, match="there are columns with a single value in the training rows: b"):
        after(constant="refuse", empty="keep")
    kept = after(empty="keep")
    assert len(set(kept.x_KG[:, 1])) == 1
    assert np.isnan(kept.x_KG[:, 2]).all()
    assert "1 columns with a single value are kept: b" in kept.notes[1]
    assert after(constant="drop", empty="drop").names == ("a",)


def test_normal_quantiles_agree_with_scipy() -> None:
    from forebay.models.artefacts.preprocessing.normal_quantile import LIMIT, normal_quantiles

    p = np.concatenate([np.linspace(1.1e-7, 1 - 1.1e-7, 10_001), np.logspace(-6.9, -1, 1000)])
    np.testing.assert_allclose(normal_quantiles(p), stats.norm.ppf(p), rtol=1e-12, atol=1e-12)
    np.testing.assert_array_equal(normal_quantiles(np.array([0, 1, NAN])), [-LIMIT, LIMIT, NAN])


def test_time_in_seconds_keeps_its_precision() -> None:
    """float32 holds a time of today to 128 s; what is computed from it loses nothing more."""
    x_NF = (np.float32(1.7e9) + 128 * np.arange(50, dtype=np.float32))[:, None]
    for step in ("standardise", "min_max", "robust", "power"):
        found = fit({"step": step}, x_NF=x_NF, names="a").x_KG[:, 0]
        assert len(np.unique(found)) == 50, step


def test_too_many_steps_are_refused() -> None:
    with pytest.raises(ModelError, match=r"recipe\.toml: there are 65 steps; allowed are at most 64"):
        fit(*[{"step": "standardise"}] * 65)


def test_the_steps_of_a_fitted_preparation_can_be_stored() -> None:
    fitted = fit({"step": "quantile", "distribution": "normal"}, {"step": "power"}, {"step": "products"})
    again = Preprocessing.from_dict(fitted.preprocessing.to_dict())
    assert again == fitted.preprocessing
