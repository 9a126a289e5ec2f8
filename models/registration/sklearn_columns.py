"""The columns of the table that a pipeline of scikit-learn was fitted to, and what its steps say about them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, NoReturn

from forebay.models.registration.candidate import ConversionNote
from forebay.models.registration.column_flow import ColumnFlow
from forebay.schemas.errors import ModelError


@dataclass(slots=True)
class SourceColumn:
    """A column of the table.

    name: its name, or `x0`, `x1`, … without names.
    place: its place in the table.
    kind: what its values are, once a step says so.
    categories: the texts that an encoder knows.
    exact: numbers that the encoder knows, by their float32 values.
    missing: what a missing text is for the pipeline: NaN or None.
    """

    name: str
    place: int
    kind: Literal["", "number", "text"] = ""
    categories: tuple[str, ...] = ()
    exact: dict[float, object] = field(default_factory=dict)
    missing: object = float("nan")


class Column(NamedTuple):
    """A column between two steps.

    number: in the flow.
    source: the column of the table that it is, apart from missing values that were replaced; None if it was computed.
    fill: the text by which missing values were replaced; None if they were not.
    """

    number: int
    source: SourceColumn | None = None
    fill: str | None = None


class ConversionRefused(ModelError):
    """A step of a pipeline cannot be converted; its note and those of the other steps are in `Conversion.notes`."""


class Conversion:
    """What has been read of a pipeline until now. model: its name, for messages."""

    def __init__(self, model: str, sources: Sequence[SourceColumn]) -> None:
        self.model = model
        self.sources = tuple(sources)
        self.flow = ColumnFlow(len(self.sources))
        self.notes: list[ConversionNote] = []

    def numbers(self, columns: Sequence[Column], part: str) -> list[int]:
        """Return the columns of the flow, whose values a step takes as numbers. Raises ModelError for texts."""
        for column in columns:
            if column.source is not None:
                if column.source.kind == "text" or column.fill is not None:
                    self.refuse(
                        part,
                        f"it takes the column {column.source.name!r} as numbers, which is text",
                        "encode the column before, with OneHotEncoder or OrdinalEncoder",
                    )
                column.source.kind = "number"
        return [column.number for column in columns]

    def texts(self, column: Column, categories: tuple[str, ...], part: str) -> SourceColumn:
        """Return the source of a column, which an encoder takes as one of these texts. Raises ModelError if it cannot be."""
        source = column.source
        if source is None or source.kind == "number":
            self.refuse(part, "it encodes texts that an earlier step made", "encode the columns of the table")
        if source.kind == "text" and source.categories != categories:
            self.refuse(
                part,
                f"it encodes the column {source.name!r} with other categories than another step does",
                "give both encoders the same categories",
            )
        source.kind, source.categories = "text", categories
        return source

    def computed(self, numbers: Sequence[int]) -> list[Column]:
        """Return columns of the flow that hold computed numbers."""
        return [Column(number) for number in numbers]

    def frozen(self, part: str, reason: str = "") -> None:
        """Report that a step was converted exactly, apart from rounding."""
        self.notes.append(ConversionNote(part, "frozen", reason))

    def approximated(self, part: str, reason: str) -> None:
        """Report in which cases a step gives other values than the original."""
        self.notes.append(ConversionNote(part, "approximated", reason))

    def refuse(self, part: str, reason: str, remedy: str) -> NoReturn:
        """Report that a step cannot be converted, and raise ConversionRefused."""
        self.notes.append(ConversionNote(part, "refused", reason))
        raise ConversionRefused(f"model {self.model!r}: {part}: {reason}", kind="registration", remedy=remedy)


def refusal(model: str, problem: str, remedy: str) -> ModelError:
    """Return the error for a pipeline, or a part of it, that cannot be converted."""
    return ModelError(f"model {model!r}: {problem}", kind="registration", remedy=remedy)
