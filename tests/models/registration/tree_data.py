"""Data for tests of tree models, with categories and missing values; all of it comes with installed packages.

Shapes: N rows, F features.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.datasets import load_diabetes, load_wine

from forebay.models.artefacts.arrays import FloatArray
from forebay.stream.demo.flights import FlightData, features_of, signature_of


@dataclass(frozen=True, eq=False)
class TreeData:
    """A table and what to predict.

    frame: columns of float32 and of dtype category, both with missing values.
    codes_NF: the same as float32, as a worker gives it: categories as codes, missing values as NaN.
    target_N: classes as text, or values.
    """

    name: str
    frame: pd.DataFrame
    codes_NF: FloatArray
    target_N: npt.NDArray[Any]

    @property
    def is_classification(self) -> bool:
        return self.target_N.dtype.kind != "f"

    @property
    def sizes(self) -> tuple[int, ...]:
        """The number of categories of each column; 0 for numbers."""
        return tuple(
            len(dtype.categories) if isinstance(dtype, pd.CategoricalDtype) else 0 for dtype in self.frame.dtypes
        )

    @property
    def codes_frame(self) -> pd.DataFrame:
        """The table with codes instead of categories."""
        return pd.DataFrame(self.codes_NF, columns=self.frame.columns)


def flights(months: Sequence[int] = (1,), limit: int | None = None) -> TreeData:
    """Return flights and whether they were late: four categories; 17 % of `plane_year` are missing."""
    found = [flight for flight in FlightData.find().read(months) if flight.late is not None]
    found = found[:: max(1, len(found) // limit)] if limit else found
    rows = pd.DataFrame([features_of(flight) for flight in found])
    frame = pd.DataFrame(
        {
            feature.name: pd.Categorical(rows[feature.name], categories=feature.categories)
            if feature.categories
            else rows[feature.name].astype(np.float32)
            for feature in signature_of(found).features
        }
    )
    return _data("flights", frame, np.array(["late" if flight.late else "on time" for flight in found]))


def wine() -> TreeData:
    """Return wines of three cultivars: numbers with 5 % removed, and one of them as a category of five."""
    bunch = load_wine(as_frame=True)
    frame = bunch.data.astype(np.float32)
    bins = pd.cut(frame.pop("magnesium"), 5, labels=["lowest", "low", "medium", "high", "highest"])
    frame["magnesium"] = pd.Categorical(bins.astype(str))
    return _data("wine", _with_gaps(frame), np.array([f"cultivar {target}" for target in bunch.target]))


def diabetes() -> TreeData:
    """Return patients and the progression of their disease: numbers with 5 % removed, and the sex as a category."""
    bunch = load_diabetes(as_frame=True, scaled=False)
    frame = bunch.data.astype(np.float32)
    frame["sex"] = pd.Categorical(frame["sex"].map({1.0: "one", 2.0: "two"}))
    return _data("diabetes", _with_gaps(frame), bunch.target.to_numpy(dtype=np.float64))


def _with_gaps(frame: pd.DataFrame) -> pd.DataFrame:
    is_gap_NF = np.random.default_rng(7).random(frame.shape) < 0.05
    return frame.mask(is_gap_NF)


def _data(name: str, frame: pd.DataFrame, target_N: npt.NDArray[Any]) -> TreeData:
    columns = [
        frame[column].cat.codes.replace(-1, np.nan)
        if isinstance(frame[column].dtype, pd.CategoricalDtype)
        else frame[column]
        for column in frame
    ]
    return TreeData(name, frame, np.column_stack(columns).astype(np.float32), target_N)
