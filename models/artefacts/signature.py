"""The signature of a model: its features by name, the shape of a row, its task and its output."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from math import prod
from typing import Final, Literal, cast

from forebay.models.artefacts.argument_checks import boolean, describe, integer, integers, sequence, text, texts
from forebay.models.artefacts.date_parts import (
    CLOCKS,
    NEEDS_REFERENCE,
    PARTS,
    UNITS,
    NotATime,
    TimeFormat,
    reference_time,
)
from forebay.models.artefacts.json_object import JsonObject
from forebay.models.artefacts.window_input import OF_ANY_TYPE, WindowInput
from forebay.schemas.errors import ModelError

FeatureType = Literal["float32", "category", "hashed", "timestamp"]
Task = Literal["regression", "binary", "multiclass"]

FEATURE_TYPES: Final = ("float32", "category", "hashed", "timestamp")
TASKS: Final = ("regression", "binary", "multiclass")

# Decode allocates a row of this many float32 for every event in flight.
MAX_FEATURES: Final = 4_194_304
# Category codes travel as float32, which holds every whole number up to here.
MAX_CATEGORIES: Final = 16_777_216
MAX_SHAPE_DIMS: Final = 8
_FEATURE_KEYS: Final = (
    *("name", "dtype", "categories", "nullable", "buckets", "other"),
    *("parts", "unit", "clock", "reference"),
)


@dataclass(frozen=True, slots=True)
class Feature:
    """One field of the input: a column, or several for a timestamp.

    A `float32` feature is a number. A `category` feature is one of `categories` and is encoded as the index
    of the category, as a float. A `hashed` feature is any text and is encoded as its bucket, from 0 to `buckets - 1`, as a
    float; see `text_codes.bucket`. A `timestamp` is an ISO 8601 text or a number of `unit`s since 1970 and becomes a column for
    each of `parts`; see `date_parts`. A missing value becomes NaN if the feature is `nullable`; otherwise the row is rejected.

    other: whether an unknown category has a code of its own, `len(categories)`. If not, it is treated like a missing value.
    parts: of a timestamp, such as `hour`. Texts and numbers that are not times are treated like missing values.
    unit: of a timestamp's numbers, `milliseconds` or `seconds`.
    clock: whose parts are taken: `utc`, or `text` for the clock that a text shows, whatever its offset.
    reference: the ISO 8601 time from which `seconds_since` and `days_since` are counted.
    """

    name: str
    dtype: FeatureType = "float32"
    categories: tuple[str, ...] = ()
    nullable: bool = False
    buckets: int = 0
    other: bool = False
    parts: tuple[str, ...] = ()
    unit: str = "milliseconds"
    clock: str = "utc"
    reference: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", text(self.name, "a feature's name", _error))
        if not self.name:
            raise _error("a feature has an empty name")
        categories = texts(self.categories, f"categories of feature {self.name!r}", _error)
        object.__setattr__(self, "categories", categories)
        object.__setattr__(self, "nullable", boolean(self.nullable, f"nullable of feature {self.name!r}", _error))
        if self.dtype not in FEATURE_TYPES:
            raise _error(f"feature {self.name!r}: dtype is {self.dtype!r}; allowed is {', '.join(FEATURE_TYPES)}")
        object.__setattr__(self, "buckets", integer(self.buckets, f"buckets of feature {self.name!r}", _error))
        object.__setattr__(self, "other", boolean(self.other, f"other of feature {self.name!r}", _error))
        if self.dtype != "category" and (self.categories or self.other):
            raise _error(f"feature {self.name!r} is {self.dtype} and must not have categories")
        if self.dtype == "category" and not 1 <= len(self.categories) <= MAX_CATEGORIES - 1:
            raise _error(f"feature {self.name!r} is a category and must have from 1 to {MAX_CATEGORIES - 1} categories")
        if self.dtype == "hashed" and not 1 <= self.buckets <= MAX_CATEGORIES:
            raise _error(f"feature {self.name!r} is hashed and must have from 1 to {MAX_CATEGORIES} buckets")
        if self.dtype != "hashed" and self.buckets:
            raise _error(f"feature {self.name!r} is {self.dtype} and must not have buckets")
        if twice := _repeated(self.categories):
            raise _error(f"feature {self.name!r} has the category {twice!r} twice")
        self._check_time()

    def _check_time(self) -> None:
        object.__setattr__(self, "parts", texts(self.parts, f"parts of feature {self.name!r}", _error))
        for name in ("unit", "clock", "reference"):
            object.__setattr__(self, name, text(getattr(self, name), f"{name} of feature {self.name!r}", _error))
        if self.dtype != "timestamp":
            if (self.parts, self.unit, self.clock, self.reference) != ((), "milliseconds", "utc", ""):
                raise _error(f"feature {self.name!r} is {self.dtype} and must not have parts, unit, clock or reference")
            return
        for name, value, allowed in (("unit", self.unit, UNITS), ("clock", self.clock, CLOCKS)):
            if value not in allowed:
                raise _error(f"feature {self.name!r}: {name} is {value!r}; allowed is {' or '.join(allowed)}")
        unknown = next((part for part in self.parts if part not in PARTS), None)
        if unknown is not None or not self.parts or _repeated(self.parts):
            found = "empty" if not self.parts else f"{unknown!r}" if unknown is not None else "the same twice"
            raise _error(f"feature {self.name!r}: parts is {found}; allowed are different ones of {', '.join(PARTS)}")
        if bool(self.reference) != bool(NEEDS_REFERENCE & set(self.parts)):
            raise _error(
                f"feature {self.name!r}: a reference is needed for {' and '.join(sorted(NEEDS_REFERENCE))} only"
            )
        try:
            _ = self.reference_time
        except NotATime as fault:
            raise _error(f"feature {self.name!r}: reference {self.reference!r} {fault.message}") from None

    @property
    def is_text(self) -> bool:
        """Whether events give a text, which becomes a code."""
        return self.dtype in ("category", "hashed")

    @property
    def time_format(self) -> TimeFormat:
        """How the values of a timestamp are read."""
        return TimeFormat(self.unit, self.clock, self.nullable)

    @property
    def reference_time(self) -> int:
        """The reference as a time (see `date_parts`); 0 without one."""
        return reference_time(self.reference) if self.reference else 0

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the columns that the feature becomes: its own, or `name.part` for each part of a timestamp."""
        return tuple(f"{self.name}.{part}" for part in self.parts) if self.parts else (self.name,)

    @property
    def num_codes(self) -> int:
        """The number of codes of a text: those of the categories, or the buckets. 0 for a number."""
        return self.buckets if self.dtype == "hashed" else len(self.categories) + self.other

    def to_dict(self) -> dict[str, object]:
        """Return the feature as JSON values."""
        document: dict[str, object] = {
            "name": self.name,
            "dtype": self.dtype,
            "categories": list(self.categories),
            "nullable": self.nullable,
        }
        # Only where they are used, so that other models can be read by earlier versions.
        if self.buckets:
            document["buckets"] = self.buckets
        if self.other:
            document["other"] = self.other
        if self.parts:
            document["parts"] = list(self.parts)
            document |= {"unit": self.unit, "clock": self.clock}
            if self.reference:
                document["reference"] = self.reference
        return document


@dataclass(frozen=True, slots=True)
class Signature:
    """The input and output of a model. Raises ModelError(kind="signature") if the fields do not fit together.

    features: of a row, in order; they become its F columns. May be empty: then all are unnamed float32 that must have a value.
    shape: shape of one row: `(F,)` for vectors, `(channels, height, width)` for images.
    output_dim: number of values that the net returns for a row: 1 logit for `binary`, one logit for each class for
        `multiclass`.
    labels: names of the classes (two for `binary`); may be empty.
    window: how a window of events becomes the model's row; None if each event is a row. If set, `features` and `shape`
        describe the events.
    """

    features: tuple[Feature, ...]
    shape: tuple[int, ...]
    task: Task
    output_dim: int
    labels: tuple[str, ...] = ()
    window: WindowInput | None = None

    def __post_init__(self) -> None:
        self._make_plain()
        # Check each size before the product: the product of many huge sizes would take minutes.
        sizes = self.shape[: MAX_SHAPE_DIMS + 1]
        if not 1 <= len(sizes) <= MAX_SHAPE_DIMS or not all(1 <= size <= MAX_FEATURES for size in sizes):
            raise _error(
                f"shape is {describe(list(sizes))}; allowed are from 1 to {MAX_SHAPE_DIMS} sizes from 1 to {MAX_FEATURES}"
            )
        if self.num_features > MAX_FEATURES:
            raise _error(
                f"shape is {list(self.shape)}; allowed are positive sizes and at most {MAX_FEATURES} values in a row"
            )
        if self.features and len(self.column_features) != self.num_features:
            columns = len(self.column_features)
            given = f"{len(self.features)} features" + (f" with {columns} columns" if self.has_times else "")
            raise _error(f"there are {given}; the shape {list(self.shape)} has {self.num_features}")
        if self.has_times and len(self.shape) > 1:
            raise _error(f"rows with timestamps must be vectors; shape is {list(self.shape)}")
        if twice := _repeated(feature.name for feature in self.features) or _repeated(self.column_names):
            raise _error(f"the feature name {twice!r} occurs twice")
        if self.task not in TASKS:
            raise _error(f"task is {self.task!r}; allowed is {', '.join(TASKS)}")
        minimum, maximum = {"regression": (1, MAX_FEATURES), "binary": (1, 1), "multiclass": (2, MAX_FEATURES)}[
            self.task
        ]
        if not minimum <= self.output_dim <= maximum:
            allowed = f"{minimum}" if minimum == maximum else f"from {minimum} to {maximum}"
            raise _error(f"output_dim is {self.output_dim}; allowed for {self.task} is {allowed}")
        if self.labels and len(self.labels) != self.num_classes:
            raise _error(f"there are {len(self.labels)} labels for {self.num_classes} classes ({self.task})")
        if twice := _repeated(self.labels):
            raise _error(f"the label {twice!r} occurs twice")
        if self.window is not None:
            self._check_window(self.window)

    def _make_plain(self) -> None:
        """Convert lists to tuples and numpy's numbers to Python's. Raises for values of other types."""
        features = sequence(self.features, "features", "forebay.Feature", _error)
        for index, feature in enumerate(features):
            if not isinstance(feature, Feature):
                hint = f", such as Feature({str(feature)!r})" if isinstance(feature, str) else ""
                raise _error(f"features[{index}] is {describe(feature)}; give a forebay.Feature{hint}")
        object.__setattr__(self, "features", features)
        object.__setattr__(self, "shape", integers(self.shape, "shape", _error))
        object.__setattr__(self, "task", text(self.task, "task", _error))
        object.__setattr__(self, "output_dim", integer(self.output_dim, "output_dim", _error))
        object.__setattr__(self, "labels", texts(self.labels, "labels", _error))
        if self.window is not None and not isinstance(self.window, WindowInput):
            raise _error(f"window is {describe(self.window)}; give a forebay.WindowInput, or omit it")

    def _check_window(self, window: WindowInput) -> None:
        if len(self.shape) > 1:
            raise _error(f"the events of a window must be vectors; shape is {list(self.shape)}")
        if window.row_width(self.num_features) > MAX_FEATURES:
            raise _error(
                f"a window's row would have {window.row_width(self.num_features)} values; allowed are at most {MAX_FEATURES}"
            )
        for aggregate in window.aggregates:
            column = aggregate.column
            if column is None:
                continue
            if not 0 <= column < self.num_features:
                raise _error(f"an aggregate uses column {column}; events have {self.num_features} columns, from 0")
            if self.features and self.column_features[column].is_text and aggregate.function not in OF_ANY_TYPE:
                raise _error(
                    f"the aggregate {aggregate.function} does not take {self.column_features[column].name!r}, a text; "
                    f"allowed is {', '.join(sorted(OF_ANY_TYPE))}"
                )

    @property
    def has_times(self) -> bool:
        """Whether a feature is a timestamp, so that there may be more columns than features."""
        return any(feature.parts for feature in self.features)

    @property
    def column_features(self) -> tuple[Feature, ...]:
        """The F columns as features: a part of a time is a number. Empty if the features have no names."""
        if not self.has_times:
            return self.features
        return tuple(
            Feature(name, nullable=feature.nullable) if feature.parts else feature
            for feature in self.features
            for name in feature.columns
        )

    @property
    def column_names(self) -> tuple[str, ...]:
        """The names of the F columns; empty if the features have no names."""
        return tuple(name for feature in self.features for name in feature.columns)

    @property
    def num_features(self) -> int:
        """F, the number of values in an event."""
        return prod(self.shape)

    @property
    def row_width(self) -> int:
        """The number of values in a row of the model: an event's or a window's."""
        return self.num_features if self.window is None else self.window.row_width(self.num_features)

    @property
    def num_classes(self) -> int:
        """The number of classes; 0 for regression."""
        return {"regression": 0, "binary": 2, "multiclass": self.output_dim}[self.task]

    def to_dict(self) -> dict[str, object]:
        """Return the signature as JSON values."""
        document: dict[str, object] = {
            "features": [feature.to_dict() for feature in self.features],
            "shape": list(self.shape),
            "task": self.task,
            "output_dim": self.output_dim,
            "labels": list(self.labels),
        }
        if self.window is not None:
            document["window"] = self.window.to_dict()
        return document

    @classmethod
    def from_dict(cls, value: object, file: str = "signature") -> Signature:
        """Return the signature in JSON values, as `to_dict` writes it. Raises ModelError that names `file` and the key."""
        return cls.read(JsonObject(value, file))

    @classmethod
    def read(cls, fields: JsonObject) -> Signature:
        """Return the signature in one object of a file. Raises ModelError that names the file and the key."""
        fields.reject_unknown_keys({"features", "shape", "task", "output_dim", "labels", "window"})
        features = tuple(_read_feature(item) for item in fields.children("features"))
        shape = fields.integers("shape", minimum=1)
        task = cast("Task", fields.text("task", TASKS))
        output_dim = fields.integer("output_dim", minimum=1)
        labels = fields.texts("labels")
        window = WindowInput.read(fields.child("window")) if fields.has("window") else None
        try:
            return cls(features=features, shape=shape, task=task, output_dim=output_dim, labels=labels, window=window)
        except ModelError as error:
            raise fields.error(error.message) from None


def _read_feature(fields: JsonObject) -> Feature:
    fields.reject_unknown_keys(_FEATURE_KEYS)
    dtype = cast("FeatureType", fields.text("dtype", FEATURE_TYPES))
    try:
        return Feature(
            fields.text("name"),
            dtype,
            fields.texts("categories"),
            nullable=fields.boolean("nullable"),
            buckets=fields.integer("buckets", minimum=1) if fields.has("buckets") else 0,
            other=fields.boolean("other") if fields.has("other") else False,
            parts=fields.texts("parts") if fields.has("parts") else (),
            unit=fields.text("unit", UNITS) if fields.has("unit") else "milliseconds",
            clock=fields.text("clock", CLOCKS) if fields.has("clock") else "utc",
            reference=fields.text("reference") if fields.has("reference") else "",
        )
    except ModelError as error:
        if error.kind != "signature":
            raise
        raise fields.error(f"{fields.path}: {error.message}") from None


def _repeated(names: Iterable[str]) -> str | None:
    counts = Counter(names)
    return next((name for name, count in counts.items() if count > 1), None)


def _error(message: str) -> ModelError:
    return ModelError(
        message,
        kind="signature",
        remedy="correct the signature in the code that builds it, and publish the model again",
    )
