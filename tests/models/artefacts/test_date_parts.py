"""Times and their parts, compared with pandas."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from forebay.models.artefacts.date_parts import PARTS, NotATime, parts_of, times_of, value_range
from forebay.models.artefacts.golden_drawing import draw_golden_rows
from forebay.models.artefacts.preprocessing import Preprocessing
from forebay.models.artefacts.signature import Feature, Signature
from forebay.models.artefacts.window_input import Aggregate, WindowInput
from forebay.models.backends.torch.architectures import build_net
from forebay.models.backends.torch.save import save_artefact
from forebay.schemas.errors import ModelError
from tests.models.build import CREATED_AT, load_artefact, serve_artefact

pandas = import_module("pandas")

TIME = Feature("left", "timestamp", nullable=True, parts=PARTS, reference="2013-07-01T00:00:00Z")


def test_the_parts_are_those_of_pandas() -> None:
    rng = np.random.default_rng(0)
    # Around every new year of four centuries, and random times of the years 1700 to 2200.
    years = np.arange("1700", "2200", dtype="M8[Y]").astype("M8[us]").astype(np.int64)
    edges = (years[:, None] + np.arange(-4, 5) * 86_400_000_000 + rng.integers(0, 10**10, size=(500, 9))).ravel()
    time_B = np.concatenate([edges, rng.integers(years[0], years[-1], size=5_000)])
    series = pandas.Series(time_B.astype("M8[us]"))
    of = series.dt
    week = of.isocalendar().week.astype(float)
    since = (series - pandas.Timestamp("2013-07-01")) / pandas.Timedelta(seconds=1)
    whole = {
        "year": of.year, "quarter": of.quarter, "month": of.month, "week": week, "day": of.day,
        "day_of_year": of.day_of_year, "weekday": of.day_of_week, "is_weekend": of.day_of_week >= 5,
        "hour": of.hour, "minute": of.minute, "second": of.second,
        "seconds_since": since, "days_since": since / 86_400,
    }  # fmt: skip
    found = dict(zip(PARTS, parts_of(time_B, PARTS, TIME.reference_time).T, strict=True))
    for part, values in whole.items():
        np.testing.assert_array_equal(found[part], values.to_numpy().astype(np.float32), part)
    cycles = {"quarter": 4, "month": 12, "week": 53, "day_of_year": 366, "weekday": 7, "hour": 24, "minute": 60}
    assert set(PARTS) == set(whole) | {f"{name}_{end}" for name in cycles for end in ("sin", "cos")}
    for name, period in cycles.items():
        first, last = value_range(name) or (0, 0)
        assert last - first + 1 == period and (found[name] >= first).all() and (found[name] <= last).all()
        angle = 2 * np.pi * (found[name].astype(np.float64) - first) / period
        np.testing.assert_allclose(found[f"{name}_sin"], np.sin(angle), atol=1e-7)
        np.testing.assert_allclose(found[f"{name}_cos"], np.cos(angle), atol=1e-7)


def test_texts_are_read_as_pandas_reads_them() -> None:
    texts = ["2013-07-01", "2013-07-01T09:05", "2013-07-01 09:05:07.25Z", "2013-07-01t09:05:07.123456789+05:30"]
    read = [pandas.Timestamp(text.upper()) for text in texts]
    wanted = [moment if moment.tzinfo else moment.tz_localize("UTC") for moment in read]
    found = times_of([*texts, None, pandas.NaT, float("nan")], TIME.time_format)
    assert found[:4].tolist() == [time.value // 1000 for time in wanted]
    assert np.isnan(parts_of(found, PARTS)[4:]).all()


def test_a_column_of_a_table_without_a_value_is_refused_by_its_row() -> None:
    required = Feature("left", "timestamp", parts=("hour",)).time_format
    for column, says in (
        (["2013-07-01", None], "row 1 has no value"),
        (["2013-07-01", "x"], "row 1 is not an ISO 8601"),
        ([[1]], "row 0 is a list, not a time"),
        (np.array(["NaT"], "M8[us]"), "row 0 has no value"),
    ):
        with pytest.raises(NotATime, match=says):
            times_of(column, required)


def test_a_signature_with_times_survives_json_and_names_its_columns() -> None:
    short = Feature(
        "left", "timestamp", parts=("hour", "days_since"), unit="seconds", clock="text", reference="2013-07-01"
    )
    signature = Signature((Feature("delay"), short), (3,), "regression", 1)
    assert signature.column_names == ("delay", "left.hour", "left.days_since")
    assert signature.column_features == tuple(map(Feature, signature.column_names))
    assert Signature.from_dict(signature.to_dict()) == signature
    plain = Signature((Feature("delay"),), (1,), "regression", 1)
    assert set(plain.to_dict()["features"][0]) == {"name", "dtype", "categories", "nullable"}  # type: ignore[index]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"parts": ()}, "parts is empty; allowed are different ones of year, quarter"),
        ({"parts": ("hours",)}, "parts is 'hours'; allowed"),
        ({"parts": ("hour", "hour")}, "parts is the same twice"),
        (
            {"parts": ("hour",), "reference": "2013-07-01"},
            "a reference is needed for days_since and seconds_since only",
        ),
        ({"parts": ("days_since",)}, "a reference is needed for"),
        ({"parts": ("days_since",), "reference": "July"}, "reference 'July' is not an ISO 8601 date"),
        ({"unit": "minutes"}, "unit is 'minutes'; allowed is milliseconds or seconds"),
        ({"clock": "local"}, "clock is 'local'; allowed is utc or text"),
        ({"dtype": "float32"}, "is float32 and must not have parts, unit, clock or reference"),
        ({"categories": ("a",)}, "is timestamp and must not have categories"),
        ({"buckets": 3}, "is timestamp and must not have buckets"),
    ],
)
def test_invalid_times_are_refused(change: dict[str, Any], says: str) -> None:
    with pytest.raises(ModelError) as caught:
        Feature("left", **{"dtype": "timestamp", "parts": ("hour",), **change})
    assert says in caught.value.message and caught.value.kind == "signature"


def test_the_shape_counts_columns() -> None:
    hours = Feature("left", "timestamp", parts=("hour", "minute"))
    with pytest.raises(ModelError, match=r"there are 1 features with 2 columns; the shape \[1\] has 1"):
        Signature((hours,), (1,), "regression", 1)
    with pytest.raises(ModelError, match="rows with timestamps must be vectors"):
        Signature((hours,), (1, 2), "regression", 1)
    with pytest.raises(ModelError, match=r"the feature name 'left\.hour' occurs twice"):
        Signature((hours, Feature("left.hour")), (3,), "regression", 1)
    window = WindowInput(aggregates=(Aggregate("max", 1),))
    assert Signature((hours,), (2,), "regression", 1, window=window).row_width == 1


def test_a_model_with_times_is_published_and_loaded(tmp_path: Path) -> None:
    signature = Signature((Feature("delay"), TIME), (1 + len(PARTS),), "regression", 1)
    golden = draw_golden_rows("m", signature, Preprocessing())
    hours = golden[:, 1 + PARTS.index("hour")]
    assert ((hours == np.floor(hours)) & (hours >= 0) & (hours < 24)).all()
    save_artefact(
        tmp_path,
        "m",
        build_net("linear_regression", {"input_dim": signature.num_features}),
        signature=signature,
        preprocessing=Preprocessing(),
        created_at=CREATED_AT,
    )
    loaded = load_artefact(tmp_path, "m")
    served = serve_artefact(loaded)
    served.warm_up([2])
    assert served.signature == signature
    assert np.isfinite(served.forward(served.prepare(golden)).values_BO).all()
