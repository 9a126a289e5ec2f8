"""A small made-up table with categories and missing values, and things to predict from it."""

from __future__ import annotations

import numpy as np
import pandas as pd

from forebay.models.artefacts.arrays import FloatArray

SIZES = (0, 0, 4, 4, 0)


def make_frame() -> tuple[pd.DataFrame, FloatArray]:
    """Return a table with two columns of categories and two with missing values, and the same as codes."""
    random = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "a": random.normal(size=1500).astype(np.float32),
            "b": random.integers(-2, 3, 1500).astype(np.float32),
            "c": pd.Categorical(random.choice(list("wxyz"), 1500)),
            "d": pd.Categorical(random.choice([1, 3, 7, 40], 1500)),
            "e": random.normal(size=1500).astype(np.float32),
        }
    )
    frame.loc[::7, "a"] = np.nan
    frame.loc[::9, "c"] = np.nan
    codes = [frame[name].cat.codes.replace(-1, np.nan) if name in "cd" else frame[name] for name in frame]
    return frame, np.column_stack(codes).astype(np.float32)


FRAME, CODES = make_frame()
SCORE = FRAME.a.fillna(0) * 2 + FRAME.c.isin(["w", "z"]) + FRAME.e.abs() + (FRAME.d == 40)
CLASSES = np.array(["no", "yes"])[(SCORE > 1).to_numpy().astype(int)]
FOUR_CLASSES = np.digitize(SCORE, [0, 1, 2]) * 10
VALUES = np.exp(SCORE / 4).to_numpy()
