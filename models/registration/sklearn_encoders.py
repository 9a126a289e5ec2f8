"""Read fitted encoders of scikit-learn: what each category, a missing value and an unknown one become.

Shapes: K categories of a column.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, TargetEncoder

from forebay.models.registration.sklearn_columns import Column, Conversion
from forebay.models.registration.sklearn_scalers import is_missing

_UNKNOWN_TEXT: Final = "\N{DOUBLE QUESTION MARK} unknown"


class _Codes(NamedTuple):
    """What one column becomes; None for NaN, which one-hot encoding makes zeros.

    categories: without missing values.
    values: for each category.
    missing, unknown: for a missing value and for any other one.
    rejects_unknown: whether the original raises for an unknown category.
    """

    categories: list[object]
    values: list[float | None]
    missing: float | None
    unknown: float | None
    rejects_unknown: bool


def read_one_hot(step: OneHotEncoder, columns: list[Column], to: Conversion, part: str) -> list[Column]:
    """Expand each category to a column, apart from dropped and rare ones."""
    codes = [_one_hot_codes(step, index) for index in range(len(columns))]
    sizes = [_size(own) for own in codes]
    _map(codes, columns, to, part, is_plain_enough=True)
    wide = [index for index, size in enumerate(sizes) if size]
    expanded = to.flow.one_hot([columns[index].number for index in wide], [sizes[index] for index in wide])
    return to.computed([number for group in expanded for number in group])


def _size(codes: _Codes) -> int:
    """Return the number of output columns."""
    given = [value for value in (*codes.values, codes.missing, codes.unknown) if value is not None]
    return int(max(given)) + 1 if given else 0


def _one_hot_codes(step: OneHotEncoder, index: int) -> _Codes:
    all_categories = list(step.categories_[index])
    rare = set()
    if getattr(step, "_infrequent_enabled", False) and step.infrequent_categories_[index] is not None:
        rare = {_key(category) for category in step.infrequent_categories_[index]}
    frequent = [category for category in all_categories if _key(category) not in rare]
    groups = {_key(category): number for number, category in enumerate(frequent)}
    groups |= dict.fromkeys(rare, len(frequent))
    dropped = None
    if step.drop_idx_ is not None and step.drop_idx_[index] is not None:
        dropped = groups[_key(all_categories[step.drop_idx_[index]])]

    def place(group: int | None) -> float | None:
        if group is None or group == dropped:
            return None
        return float(group - (dropped is not None and group > dropped))

    takes_rare = step.handle_unknown in ("infrequent_if_exist", "warn") and rare
    unknown = place(len(frequent)) if takes_rare else None
    missing = next((place(groups[_key(category)]) for category in all_categories if is_missing(category)), unknown)
    present = [category for category in all_categories if not is_missing(category)]
    return _Codes(
        present,
        [place(groups[_key(category)]) for category in present],
        missing=missing,
        unknown=unknown,
        rejects_unknown=step.handle_unknown == "error",
    )


def read_table_encoder(step: Any, columns: list[Column], to: Conversion, part: str) -> list[Column]:
    """Replace each category by the number that the encoder gives it."""
    if isinstance(step, TargetEncoder) and step.target_type_ == "multiclass":
        to.refuse(part, "it has several columns for each category", "use OneHotEncoder for a target of several classes")
    _map([_probed_codes(step, index) for index in range(len(columns))], columns, to, part, is_plain_enough=False)
    return to.computed([column.number for column in columns])


def _probed_codes(step: Any, index: int) -> _Codes:
    """Return what an encoder gives for each category of a column, by asking it."""
    categories = list(step.categories_[index])
    present = [category for category in categories if not is_missing(category)]
    values = [_plain(value) for value in _transform(step, index, present)]
    is_text = bool(present) and isinstance(present[0], str)
    other: object = _UNKNOWN_TEXT if is_text else float(max((float(value) for value in present), default=0.0)) + 1.0
    try:
        unknown, rejects_unknown = _plain(_transform(step, index, [other])[0]), False
    except ValueError:
        unknown, rejects_unknown = None, True
    gaps = [category for category in categories if is_missing(category)]
    missing = _plain(_transform(step, index, gaps[:1])[0]) if gaps else unknown
    return _Codes(present, values, missing=missing, unknown=unknown, rejects_unknown=rejects_unknown)


def _transform(step: Any, index: int, values: Sequence[object]) -> list[float]:
    """Return the encoder's column `index` for values of it; the other columns have their first categories."""
    table = np.empty((len(values), len(step.categories_)), dtype=object)
    for column, categories in enumerate(step.categories_):
        table[:, column] = categories[0]
    table[:, index] = values
    if not any(isinstance(category, str) for categories in step.categories_ for category in categories):
        table = table.astype(np.float64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about the missing names of columns
        encoded = np.asarray(step.transform(table), dtype=np.float64)
    column_of: list[float] = encoded[:, index].tolist()
    return column_of


def _map(codes: Sequence[_Codes], columns: list[Column], to: Conversion, part: str, *, is_plain_enough: bool) -> None:
    """Map the columns. is_plain_enough: whether columns may stay whose values are their own codes, unless unknown."""
    mapped, keys, values, missing, unknown, loose = [], [], [], [], [], []
    for column, own in zip(columns, codes, strict=True):
        name = column.source.name if column.source else part
        if all(isinstance(category, str) for category in own.categories):
            texts = tuple(str(category) for category in own.categories)
            if not texts:
                to.refuse(part, f"the column {name!r} has no category but missing values", "leave the column out")
            to.texts(column, texts, part)
            own_keys = [float(code) for code in range(len(texts))]
            absent = own.missing if column.fill is None else _code_of_text(own, column.fill)
        elif any(isinstance(category, str) for category in own.categories):
            to.refuse(part, f"the column {name!r} has numbers and texts", "convert the column to texts")
        else:
            to.numbers([column], part)
            own = _sorted(own)
            own_keys = [float(np.float32(category)) for category in own.categories]  # type: ignore[arg-type]
            if len(set(own_keys)) < len(own_keys):
                to.refuse(part, f"categories of the column {name!r} are the same in float32", "convert it to texts")
            if column.source is not None:
                column.source.exact |= dict(zip(own_keys, own.categories, strict=True))
            absent = own.missing
            if own.rejects_unknown:
                loose.append(name)
        is_own_code = own.values == own_keys == list(range(len(own_keys))) and absent is None and own.unknown is None
        if not (is_plain_enough and is_own_code):
            mapped.append(column.number)
            keys.append(own_keys)
            values.append(own.values)
            missing.append(absent)
            unknown.append(own.unknown)
    if mapped:
        to.flow.map_values(mapped, keys, values, missing=missing, unknown=unknown)
    if loose:
        named = ", ".join(loose)
        to.approximated(part, f"{named}: a number that is not a category is treated as missing; the original raises")
    else:
        to.frozen(part)


def _code_of_text(own: _Codes, text: str) -> float | None:
    return own.values[own.categories.index(text)] if text in own.categories else own.unknown


def _sorted(own: _Codes) -> _Codes:
    order = sorted(range(len(own.categories)), key=lambda index: float(own.categories[index]))  # type: ignore[arg-type]
    return own._replace(
        categories=[own.categories[index] for index in order], values=[own.values[index] for index in order]
    )


def _key(category: object) -> object:
    return ("missing", category is None) if is_missing(category) else category


def _plain(value: float) -> float | None:
    return None if math.isnan(value) else value


ENCODER_READERS = {
    OneHotEncoder: read_one_hot,
    OrdinalEncoder: read_table_encoder,
    TargetEncoder: read_table_encoder,
}
