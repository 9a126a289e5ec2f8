"""Keep columns within the domain of a function: what happens to values for which it is not defined."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np

from forebay.models.artefacts.preprocessing import Step
from forebay.models.artefacts.preprocessing.bounds import NullOutside
from forebay.models.artefacts.preprocessing.step import FLOAT32_MAX
from forebay.models.artefacts.preprocessing.transform import Clip
from forebay.models.preparation.errors import fit_error
from forebay.models.preparation.missing import refuse_in_sequences, row_check
from forebay.models.preparation.training_rows import BoolArray, TrainingRows, columns_with_any, listed, rows_with_any

OUTSIDE: Final = ("refuse", "null", "clip", "reject")
"""What becomes of a value outside the domain: training rows with one are refused and events rejected, it becomes missing, it is
replaced by the smallest training value within, or its row is dropped from the training rows and events are rejected."""


class Domain(NamedTuple):
    """The frozen steps before a function, the training rows that are kept (None for all), and notes."""

    steps: tuple[Step, ...]
    keep_N: BoolArray | None
    notes: tuple[str, ...]


def restrict(rows: TrainingRows, places: Sequence[int], above: float, outside: str) -> Domain:
    """Return how values are kept above a limit.

    Raises ModelError(kind="fit") if the option refuses training rows, or would drop events of sequences.
    """
    if outside == "reject":
        refuse_in_sequences(rows, "rows cannot be dropped from the middle of a sequence")
    columns = tuple(places)
    lowest = float(np.nextafter(np.float32(above), np.float32(np.inf)))
    x_NK = rows.x_NF[:, list(columns)]
    is_outside_NK = x_NK < lowest
    found = [rows.names[place] for place, some in zip(columns, columns_with_any(is_outside_NK), strict=True) if some]
    if found and outside == "refuse":
        raise fit_error(
            f"{int(is_outside_NK.sum())} values are not above {above:g}: {listed(found)}",
            'set outside = "null", "clip" or "reject", or use another step for these columns',
        )
    count = len(columns)
    notes = (
        (f"{int(is_outside_NK.sum())} values are not above {above:g} ({outside}): {listed(found)}",) if found else ()
    )
    match outside:
        case "null":
            step: Step = NullOutside(rows.width, columns, (lowest,) * count, (FLOAT32_MAX,) * count)
        case "clip":
            inside_NK = np.where(is_outside_NK, np.float32(np.inf), x_NK)
            minima = tuple(float(np.nanmin(values)) for values in inside_NK.T)
            if not np.isfinite(minima).all():
                raise fit_error(f"a column has no value above {above:g}", "drop it")
            step = Clip(rows.width, columns, minima, (FLOAT32_MAX,) * count)
        case _:
            step = row_check(rows, columns, minima=(lowest,) * count)
    keep_N = ~rows_with_any(is_outside_NK) if found and outside == "reject" else None
    return Domain((step,), keep_N, notes)
