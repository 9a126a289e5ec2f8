"""What a model takes and gives: its features by name, the shape of a row, its task and its output."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from math import prod
from typing import Final, Literal, cast

from forebay.models.artefacts.arguments import flag, several, shown, text, texts, whole, wholes
from forebay.models.artefacts.document import Table
from forebay.models.artefacts.window_input import OF_ANY_TYPE, WindowInput
from forebay.schemas.errors import ModelError

FeatureType = Literal["float32", "category"]
Task = Literal["regression", "binary", "multiclass"]

FEATURE_TYPES: Final = ("float32", "category")
TASKS: Final = ("regression", "binary", "multiclass")

# Decode allocates a row of this many float32 for every event in flight.
MAX_FEATURES: Final = 4_194_304
# Category codes travel as float32, which holds every whole number up to here.
MAX_CATEGORIES: Final = 16_777_216
MAX_SHAPE_DIMS: Final = 8


@dataclass(frozen=True, slots=True)
class Feature:
    """One column of the input.

    A `float32` feature is a number. A `category` feature is one of `categories`; it is encoded as the index
    of the category, as a float. Where `nullable`, a missing value (and an unknown category) becomes NaN; else
    its row is rejected.
    """

    name: str
    dtype: FeatureType = "float32"
    categories: tuple[str, ...] = ()
    nullable: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", text(self.name, "a feature's name", _wrong))
        if not self.name:
            raise _wrong("a feature has an empty name")
        categories = texts(self.categories, f"categories of feature {self.name!r}", _wrong)
        object.__setattr__(self, "categories", categories)
        object.__setattr__(self, "nullable", flag(self.nullable, f"nullable of feature {self.name!r}", _wrong))
        if self.dtype not in FEATURE_TYPES:
            raise _wrong(f"feature {self.name!r}: dtype is {self.dtype!r}; allowed is {' or '.join(FEATURE_TYPES)}")
        if self.dtype == "float32" and self.categories:
            raise _wrong(f"feature {self.name!r} is float32 and must not have categories")
        if self.dtype == "category" and not 1 <= len(self.categories) <= MAX_CATEGORIES:
            raise _wrong(f"feature {self.name!r} is a category and must have from 1 to {MAX_CATEGORIES} categories")
        if twice := _repeated(self.categories):
            raise _wrong(f"feature {self.name!r} has the category {twice!r} twice")

    def to_dict(self) -> dict[str, object]:
        """As JSON values."""
        return {
            "name": self.name,
            "dtype": self.dtype,
            "categories": list(self.categories),
            "nullable": self.nullable,
        }


@dataclass(frozen=True, slots=True)
class Signature:
    """What a model takes and gives.

    `shape` is the shape of one row: `(F,)` for vectors, `(channels, height, width)` for images. `features`
    names its F columns in order; it may be empty, and then all are unnamed float32 that must have a value.
    `output_dim` is the number of values that the net gives a row: 1 logit for `binary`, one logit a class for
    `multiclass`. `labels`, where there are any, name the classes (two for `binary`). `window`, where it is set, is
    how a window of events becomes the model's row; all else is then said of its events. Raises
    ModelError(kind="signature") where these do not fit together.
    """

    features: tuple[Feature, ...]
    shape: tuple[int, ...]
    task: Task
    output_dim: int
    labels: tuple[str, ...] = ()
    window: WindowInput | None = None

    def __post_init__(self) -> None:
        self._make_plain()
        # Each size before their product: that of many huge ones would take minutes.
        sizes = self.shape[: MAX_SHAPE_DIMS + 1]
        if not 1 <= len(sizes) <= MAX_SHAPE_DIMS or not all(1 <= size <= MAX_FEATURES for size in sizes):
            raise _wrong(
                f"shape is {shown(list(sizes))}; allowed are from 1 to {MAX_SHAPE_DIMS} sizes from 1 to {MAX_FEATURES}"
            )
        if self.num_features > MAX_FEATURES:
            raise _wrong(f"shape is {list(self.shape)}; allowed are positive sizes, up to {MAX_FEATURES} values a row")
        if self.features and len(self.features) != self.num_features:
            raise _wrong(f"{len(self.features)} features are named; shape {list(self.shape)} has {self.num_features}")
        if twice := _repeated(feature.name for feature in self.features):
            raise _wrong(f"the feature name {twice!r} is there twice")
        if self.task not in TASKS:
            raise _wrong(f"task is {self.task!r}; allowed is {', '.join(TASKS)}")
        least, most = {"regression": (1, MAX_FEATURES), "binary": (1, 1), "multiclass": (2, MAX_FEATURES)}[self.task]
        if not least <= self.output_dim <= most:
            allowed = f"{least}" if least == most else f"from {least} to {most}"
            raise _wrong(f"output_dim is {self.output_dim}; allowed for {self.task} is {allowed}")
        if self.labels and len(self.labels) != self.num_classes:
            raise _wrong(f"there are {len(self.labels)} labels for {self.num_classes} classes ({self.task})")
        if twice := _repeated(self.labels):
            raise _wrong(f"the label {twice!r} is there twice")
        if self.window is not None:
            self._check_window(self.window)

    def _make_plain(self) -> None:
        """Raise for values of other types; make tuples of lists, and Python's numbers of numpy's."""
        features = several(self.features, "features", "forebay.Feature", _wrong)
        for at, feature in enumerate(features):
            if not isinstance(feature, Feature):
                hint = f", such as Feature({str(feature)!r})" if isinstance(feature, str) else ""
                raise _wrong(f"features[{at}] is {shown(feature)}; give a forebay.Feature{hint}")
        object.__setattr__(self, "features", features)
        object.__setattr__(self, "shape", wholes(self.shape, "shape", _wrong))
        object.__setattr__(self, "task", text(self.task, "task", _wrong))
        object.__setattr__(self, "output_dim", whole(self.output_dim, "output_dim", _wrong))
        object.__setattr__(self, "labels", texts(self.labels, "labels", _wrong))
        if self.window is not None and not isinstance(self.window, WindowInput):
            raise _wrong(f"window is {shown(self.window)}; give a forebay.WindowInput, or leave it out")

    def _check_window(self, window: WindowInput) -> None:
        if len(self.shape) > 1:
            raise _wrong(f"events of a window are vectors; shape is {list(self.shape)}")
        if window.row_width(self.num_features) > MAX_FEATURES:
            raise _wrong(f"a window's row would have {window.row_width(self.num_features)} values, over {MAX_FEATURES}")
        for aggregate in window.aggregates:
            column = aggregate.column
            if column is None:
                continue
            if not 0 <= column < self.num_features:
                raise _wrong(f"an aggregate is of column {column}; events have {self.num_features}")
            if self.features and self.features[column].dtype == "category" and aggregate.function not in OF_ANY_TYPE:
                raise _wrong(
                    f"{aggregate.function} of {self.features[column].name!r}, a category; "
                    f"allowed is {', '.join(sorted(OF_ANY_TYPE))}"
                )

    @property
    def num_features(self) -> int:
        """F, the number of values of an event."""
        return prod(self.shape)

    @property
    def row_width(self) -> int:
        """How many values a row has that the model is given: an event's, or a window's."""
        return self.num_features if self.window is None else self.window.row_width(self.num_features)

    @property
    def num_classes(self) -> int:
        """How many classes there are; 0 for regression."""
        return {"regression": 0, "binary": 2, "multiclass": self.output_dim}[self.task]

    def to_dict(self) -> dict[str, object]:
        """As JSON values."""
        said: dict[str, object] = {
            "features": [feature.to_dict() for feature in self.features],
            "shape": list(self.shape),
            "task": self.task,
            "output_dim": self.output_dim,
            "labels": list(self.labels),
        }
        if self.window is not None:
            said["window"] = self.window.to_dict()
        return said

    @classmethod
    def from_dict(cls, value: object, file: str = "signature") -> Signature:
        """The reverse of `to_dict`. Raises ModelError naming `file` and the key."""
        return cls.read(Table(value, file))

    @classmethod
    def read(cls, table: Table) -> Signature:
        """From one object of a file. Raises ModelError naming the file and the key."""
        table.only({"features", "shape", "task", "output_dim", "labels", "window"})
        features = tuple(_read_feature(item) for item in table.tables("features"))
        shape = table.integers("shape", least=1)
        task = cast("Task", table.text("task", TASKS))
        output_dim = table.integer("output_dim", least=1)
        labels = table.texts("labels")
        window = WindowInput.read(table.table("window")) if table.has("window") else None
        try:
            return cls(features=features, shape=shape, task=task, output_dim=output_dim, labels=labels, window=window)
        except ModelError as error:
            raise table.error(error.message) from None


def _read_feature(table: Table) -> Feature:
    table.only({"name", "dtype", "categories", "nullable"})
    dtype = cast("FeatureType", table.text("dtype", FEATURE_TYPES))
    try:
        return Feature(table.text("name"), dtype, table.texts("categories"), table.flag("nullable"))
    except ModelError as error:
        if error.kind != "signature":
            raise
        raise table.error(f"{table.path}: {error.message}") from None


def _repeated(names: Iterable[str]) -> str | None:
    counts = Counter(names)
    return next((name for name, count in counts.items() if count > 1), None)


def _wrong(message: str) -> ModelError:
    return ModelError(
        message, kind="signature", remedy="correct the model's signature where it is made, and publish again"
    )
