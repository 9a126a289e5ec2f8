"""Builds a preprocessing column by column: each column keeps its identity while steps move it to other places."""

from __future__ import annotations

from collections.abc import Sequence

from forebay.models.artefacts.preprocessing import Impute, OneHot, Preprocessing, Standardise, Step
from forebay.models.artefacts.preprocessing.bin import Bin
from forebay.models.artefacts.preprocessing.interpolate import Interpolate
from forebay.models.artefacts.preprocessing.map_values import MapValues
from forebay.models.artefacts.preprocessing.power import PowerTransform
from forebay.models.artefacts.preprocessing.select_columns import SelectColumns
from forebay.models.artefacts.preprocessing.transform import Clip, Function


class ColumnFlow:
    """The steps until now, and where each column is. Columns are named by numbers that never change.

    At first, the columns 0 to `width - 1` are in their places.
    """

    def __init__(self, width: int) -> None:
        self.steps: list[Step] = []
        self._width = width
        self._places = {column: column for column in range(width)}
        self._next = width

    def repeat(self, columns: Sequence[int]) -> list[int]:
        """Return new columns with the values of these."""
        places = [*range(self._width), *(self._places[column] for column in columns)]
        self.steps.append(SelectColumns(self._width, tuple(places)))
        copies = self._add(range(self._width, len(places)))
        self._width = len(places)
        return copies

    def impute(self, columns: Sequence[int], values: Sequence[float], strategy: str) -> None:
        """Replace missing values."""
        self.steps.append(Impute(self._width, self._at(columns), tuple(values), strategy))

    def scale(self, columns: Sequence[int], means: Sequence[float], scales: Sequence[float]) -> None:
        """Subtract the means and divide by the scales."""
        self.steps.append(Standardise(self._width, self._at(columns), tuple(means), tuple(scales)))

    def clip(self, columns: Sequence[int], minimum: float, maximum: float) -> None:
        """Limit the values to a range."""
        count = len(columns)
        self.steps.append(Clip(self._width, self._at(columns), (minimum,) * count, (maximum,) * count))

    def function(self, columns: Sequence[int], name: str) -> None:
        """Apply a function of one number."""
        self.steps.append(Function(self._width, self._at(columns), name))

    def power(self, columns: Sequence[int], lambdas: Sequence[float], method: str) -> None:
        """Apply power transformations."""
        self.steps.append(PowerTransform(self._width, self._at(columns), tuple(lambdas), method))

    def bin(self, columns: Sequence[int], edges: Sequence[Sequence[float]]) -> None:
        """Replace numbers by the index of their interval."""
        self.steps.append(Bin(self._width, self._at(columns), tuple(map(tuple, edges))))

    def interpolate(
        self, columns: Sequence[int], points: Sequence[Sequence[float]], levels: Sequence[float], distribution: str
    ) -> None:
        """Map numbers through lines between points, to probabilities or (`normal`) to their quantiles."""
        lines = tuple(map(tuple, points))
        self.steps.append(
            Interpolate(self._width, self._at(columns), points=lines, levels=tuple(levels), distribution=distribution)
        )

    def map_values(
        self,
        columns: Sequence[int],
        keys: Sequence[Sequence[float]],
        values: Sequence[Sequence[float | None]],
        *,
        missing: Sequence[float | None],
        unknown: Sequence[float | None],
    ) -> None:
        """Replace values by those of tables."""
        step = MapValues(
            self._width,
            self._at(columns),
            keys=tuple(map(tuple, keys)),
            values=tuple(map(tuple, values)),
            missing=tuple(missing),
            unknown=tuple(unknown),
        )
        self.steps.append(step)

    def one_hot(self, columns: Sequence[int], sizes: Sequence[int]) -> list[list[int]]:
        """Expand codes; return the new columns of each. The old columns are gone."""
        gone = {self._places[column] for column in columns}
        self.steps.append(OneHot(self._width, self._at(columns), tuple(sizes)))
        left = {place: number for number, place in enumerate(p for p in range(self._width) if p not in gone)}
        self._places = {column: left[place] for column, place in self._places.items() if place in left}
        start, expanded = len(left), []
        for size in sizes:
            expanded.append(self._add(range(start, start + size)))
            start += size
        self._width = start
        return expanded

    def finish(self, columns: Sequence[int]) -> Preprocessing:
        """Return the preprocessing that gives these columns, in this order."""
        places = self._at(columns)
        if places != tuple(range(self._width)):
            self.steps.append(SelectColumns(self._width, places))
        return Preprocessing(tuple(self.steps))

    def _at(self, columns: Sequence[int]) -> tuple[int, ...]:
        return tuple(self._places[column] for column in columns)

    def _add(self, places: Sequence[int]) -> list[int]:
        columns = list(range(self._next, self._next + len(places)))
        self._next += len(places)
        self._places.update(zip(columns, places, strict=True))
        return columns
