"""The reference statistics of a manifest: how the features and outputs of a model were distributed when it was trained.

They consist of numbers and names only, so that drift can be detected with NumPy alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from forebay.models.artefacts.json_object import JsonObject

VERSION: Final = 1
MAX_COLUMNS: Final = 1024
"""More features are not described: a manifest stays small."""
MAX_EDGES: Final = 255
MAX_CATEGORIES: Final = 256


@dataclass(frozen=True, slots=True)
class NumberReference:
    """The distribution of a number, of the bucket of a hashed text, or of an output.

    missing: the number of rows without a value.
    mean, standard_deviation: of the finite values (the deviation with ddof 1); None if there are too few.
    edges: strictly increasing, and float32 values, so that float32 rows fall into the same bins.
    counts: of the values below the first edge, from each edge up to but not including the next, and from the last edge
        upwards: one more than edges. `numpy.searchsorted(edges, values, side="right")` is the bin of values.
    """

    name: str
    missing: int
    mean: float | None
    standard_deviation: float | None
    edges: tuple[float, ...]
    counts: tuple[int, ...]

    @property
    def rows(self) -> int:
        """The number of rows that were counted."""
        return self.missing + sum(self.counts)

    def to_dict(self) -> dict[str, object]:
        """Return the distribution as JSON values."""
        return {
            "name": self.name,
            "missing": self.missing,
            "mean": self.mean,
            "standard_deviation": self.standard_deviation,
            "edges": list(self.edges),
            "counts": list(self.counts),
        }

    @classmethod
    def read(cls, fields: JsonObject) -> NumberReference:
        """Return the distribution in one object of a file. Raises ModelError that names the file and the key."""
        fields.reject_unknown_keys({"name", "missing", "mean", "standard_deviation", "edges", "counts"})
        edges, counts = fields.numbers("edges"), fields.integers("counts")
        if len(edges) > MAX_EDGES or any(low >= high for low, high in pairwise(edges)):
            fields.fail("edges", list(edges), f"at most {MAX_EDGES} numbers, each greater than the one before")
        if len(counts) != len(edges) + 1:
            fields.fail("counts", list(counts), f"{len(edges) + 1} counts, one more than edges")
        return cls(
            fields.text("name"),
            fields.integer("missing"),
            mean=_number_or_null(fields, "mean"),
            standard_deviation=_number_or_null(fields, "standard_deviation"),
            edges=edges,
            counts=counts,
        )


@dataclass(frozen=True, slots=True)
class CategoryReference:
    """The distribution of a category feature.

    missing: the number of rows without a value.
    categories, counts: the most frequent categories, in the order of the signature, and the number of rows with each.
    other: the number of rows with any other value, unknown ones included.
    """

    name: str
    missing: int
    categories: tuple[str, ...]
    counts: tuple[int, ...]
    other: int

    @property
    def rows(self) -> int:
        """The number of rows that were counted."""
        return self.missing + sum(self.counts) + self.other

    def to_dict(self) -> dict[str, object]:
        """Return the distribution as JSON values."""
        return {
            "name": self.name,
            "missing": self.missing,
            "categories": list(self.categories),
            "counts": list(self.counts),
            "other": self.other,
        }

    @classmethod
    def read(cls, fields: JsonObject) -> CategoryReference:
        """Return the distribution in one object of a file. Raises ModelError that names the file and the key."""
        fields.reject_unknown_keys({"name", "missing", "categories", "counts", "other"})
        categories, counts = fields.texts("categories"), fields.integers("counts")
        if len(categories) > MAX_CATEGORIES or len(set(categories)) != len(categories):
            fields.fail("categories", list(categories), f"at most {MAX_CATEGORIES} different strings")
        if len(counts) != len(categories):
            fields.fail("counts", list(counts), f"{len(categories)} counts, one for each category")
        return cls(
            fields.text("name"),
            fields.integer("missing"),
            categories=categories,
            counts=counts,
            other=fields.integer("other"),
        )


FeatureReference = NumberReference | CategoryReference


@dataclass(frozen=True, slots=True)
class ReferenceStatistics:
    """The distributions of features and outputs.

    rows: the number of training rows.
    features: of the features in the order of the signature, at most MAX_COLUMNS; without names, "0", "1" and so on.
    outputs: of what is served for the rows of an evaluation: probabilities, or values for regression; may be empty. Their
        number of rows can be another one.
    """

    rows: int
    features: tuple[FeatureReference, ...]
    outputs: tuple[NumberReference, ...] = ()

    def to_dict(self) -> dict[str, object]:
        """Return the statistics as JSON values, with the version of their form."""
        return {
            "version": VERSION,
            "rows": self.rows,
            "features": [feature.to_dict() for feature in self.features],
            "outputs": [output.to_dict() for output in self.outputs],
        }

    @classmethod
    def from_dict(cls, value: Mapping[str, object], file: str = "reference_statistics") -> ReferenceStatistics | None:
        """Return the statistics in a manifest's `reference_statistics`; None for a version that is not known here.

        Raises ModelError that names `file` and the key.
        """
        return cls.read(JsonObject(dict(value), file))

    @classmethod
    def read(cls, fields: JsonObject) -> ReferenceStatistics | None:
        """Return the statistics in one object of a file; None for a version that is not known here.

        A later version is not refused, because no prediction depends on the statistics.
        """
        if fields.integer("version", minimum=1) != VERSION:
            return None
        fields.reject_unknown_keys({"version", "rows", "features", "outputs"})
        rows = fields.integer("rows", minimum=1)
        features = tuple(_read_feature(item) for item in _children(fields, "features"))
        outputs = tuple(NumberReference.read(item) for item in _children(fields, "outputs"))
        for key, columns, expected in (
            ("features", features, rows),
            ("outputs", outputs, outputs[0].rows if outputs else 0),
        ):
            names = [column.name for column in columns]
            if len(set(names)) != len(names):
                fields.fail(key, names, "a list with a different name for each")
            for index, column in enumerate(columns):
                if column.rows != expected:
                    raise fields.error(
                        f"{fields.full_path(key)}[{index}] counts {column.rows} rows; {expected} are expected"
                    )
        return cls(rows, features, outputs)


def _children(fields: JsonObject, key: str) -> list[JsonObject]:
    if len(fields.array(key)) > MAX_COLUMNS:
        fields.fail(key, fields.array(key), f"a list of at most {MAX_COLUMNS}")
    return fields.children(key)


def _read_feature(fields: JsonObject) -> FeatureReference:
    return CategoryReference.read(fields) if fields.has("categories") else NumberReference.read(fields)


def _number_or_null(fields: JsonObject, key: str) -> float | None:
    return None if fields.value(key) is None else fields.number(key)
