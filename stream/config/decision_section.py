"""Settings of the decision layer: what becomes of a model's scores ([decision], and [models.decision])."""

from __future__ import annotations

import json
from collections.abc import Callable
from difflib import get_close_matches
from typing import Annotated, Any, Final, Self, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from forebay.schemas.topics import PREDICTIONS
from forebay.stream.config.json_value import parse_json
from forebay.stream.config.section import Section
from forebay.stream.config.values import Allowed, Mistake, Mistakes, Name, allowed

MAX_ROUTES: Final = 32
MAX_SEGMENTS: Final = 1_024
_MAX_SHOWN_CHARS: Final = 80


class _Table(BaseModel):
    """Base class of the tables in a list."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, hide_input_in_errors=True)


class SegmentThreshold(_Table):
    """A threshold for the events of a segment."""

    feature: Annotated[str, Allowed("the name of a feature of the model")] = Field(
        min_length=1, description="Name of a feature: a category or a number."
    )
    value: Annotated[str | int | float, Allowed("a text for a category, or a number")] = Field(
        description="The events of the segment have this value: a text for a category, a number for a number."
    )
    threshold: Annotated[float, Allowed("a number above 0 and below 1")] = Field(
        gt=0, lt=1, description="The smallest score with which such an event is of class 1."
    )


class Route(_Table):
    """A topic for the predictions of a class, or of a confidence."""

    topic: Name = Field(description="The topic, without topics.prefix.")
    label: Annotated[str | int, Allowed("the name of a class, or its index if the model does not name its classes")] | (
        None
    ) = Field(default=None, description="The class: its name, or its index if the model does not name its classes.")
    min_confidence: Annotated[float, Allowed("a number from 0 to 1")] | None = Field(
        default=None, ge=0, le=1, description="The least confidence."
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.label is None and self.min_confidence is None:
            raise ValueError("must have label, min_confidence or both")
        if self.topic == PREDICTIONS.name:
            raise ValueError(f"must name another topic than {PREDICTIONS.name}, which has what no route matches")
        return self


T = TypeVar("T", bound=_Table)


def _reader(table_type: type[T], word: str, most: int) -> Callable[[object], tuple[T, ...]]:
    """Return a validator that reads a list of tables, or the same as JSON text, and reports each mistake by itself."""

    def read(value: object) -> tuple[T, ...]:
        if isinstance(value, str):
            try:
                value = parse_json(value) if value.strip() else []
            except ValueError as error:
                raise ValueError(f"not JSON: {error}") from None
        if not isinstance(value, list | tuple):
            raise ValueError("not a list of tables")
        if len(value) > most:
            raise ValueError(f"there are {len(value)}")
        mistakes: list[Mistake] = []
        tables: list[T] = []
        for index, table in enumerate(value):
            subject, part = f"{word} {index + 1}", f"[{index}]"
            if isinstance(table, table_type):
                tables.append(table)
            elif isinstance(table, dict) and all(isinstance(key, str) for key in table):
                try:
                    tables.append(table_type(**table))
                except ValidationError as error:
                    details = {str(detail["loc"][:1]): detail for detail in error.errors(include_url=False)}
                    mistakes += [
                        _mistake(table_type, table, detail, part=part, subject=subject) for detail in details.values()
                    ]
            else:
                mistakes.append(Mistake(part, subject, "must be a table"))
        if mistakes:
            raise Mistakes(mistakes)
        return tuple(tables)

    return read


def _mistake(table_type: type[_Table], table: dict[str, Any], error: Any, *, part: str, subject: str) -> Mistake:
    fields = table_type.model_fields
    if not error["loc"]:
        return Mistake(part, subject, str(error["ctx"]["error"]))
    key = str(error["loc"][0])
    place = f"{part}.{key}"
    if error["type"] == "extra_forbidden":
        near = get_close_matches(key, fields, n=1)
        hint = f"did you mean {near[0]}?" if near else f"the keys are {', '.join(fields)}"
        return Mistake(place, f"{subject}, {key[:_MAX_SHOWN_CHARS]}", f"unknown key; {hint}")
    if error["type"] == "missing":
        return Mistake(place, f"{subject}, {key}", f"is missing; it must be {allowed(fields[key])}")
    shown = json.dumps(table.get(key), ensure_ascii=False, default=str)[:_MAX_SHOWN_CHARS]
    return Mistake(place, f"{subject}, {key} = {shown}", f"must be {allowed(fields[key])}")


Segments = Annotated[
    tuple[SegmentThreshold, ...],
    BeforeValidator(_reader(SegmentThreshold, "segment", MAX_SEGMENTS)),
    AfterValidator(tuple),
    Allowed(f"a list of at most {MAX_SEGMENTS} tables, each with feature, value and threshold"),
]
Routes = Annotated[
    tuple[Route, ...],
    BeforeValidator(_reader(Route, "route", MAX_ROUTES)),
    AfterValidator(tuple),
    Allowed(f"a list of at most {MAX_ROUTES} tables, each with topic, and label, min_confidence or both"),
]


class DecisionSection(Section):
    """What becomes of a model's scores: classes, and the topics of predictions (docs/decision-layer.md)."""

    threshold: Annotated[float, Allowed("a number above 0 and below 1")] | None = Field(
        default=None,
        gt=0,
        lt=1,
        description="Binary models: the smallest score with which an event is of class 1. Default: the threshold of the "
        "model version, else 0.5.",
    )
    segments: Segments = Field(
        default=(),
        description="Binary models of single events: thresholds for events with a value of a feature. The first that fits "
        "applies, instead of threshold.",
    )
    min_confidence: float | None = Field(
        default=None,
        gt=0,
        le=1,
        description="A prediction with a lower confidence goes to the topic review instead of predictions.",
    )
    review_from: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="Binary models: a prediction with a score from this to review_to goes to the topic review instead of "
        "predictions.",
    )
    review_to: float | None = Field(default=None, ge=0, le=1, description="See review_from.")
    routes: Routes = Field(
        default=(),
        description="Other topics for predictions, by class and confidence. The first route that fits applies; what none "
        "fits goes to predictions. `forebay topics create` creates the topics.",
    )

    @property
    def abstains(self) -> bool:
        """Whether predictions can go to the topic review."""
        return self.min_confidence is not None or self.review_from is not None

    @property
    def is_set(self) -> bool:
        """Whether anything but the defaults is configured."""
        return self != DecisionSection()
