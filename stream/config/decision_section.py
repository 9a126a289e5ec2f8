"""Settings of the decision layer: what becomes of a model's scores ([decision], and [models.decision])."""

from __future__ import annotations

from typing import Annotated, Final, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from forebay.schemas.topics import PREDICTIONS
from forebay.stream.config.section import Section
from forebay.stream.config.table_list import Table, table_reader
from forebay.stream.config.values import Allowed, Name

MAX_ROUTES: Final = 32
MAX_SEGMENTS: Final = 1_024


class SegmentThreshold(Table):
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


class Route(Table):
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


Segments = Annotated[
    tuple[SegmentThreshold, ...],
    BeforeValidator(table_reader(SegmentThreshold, "segment", MAX_SEGMENTS)),
    AfterValidator(tuple),
    Allowed(f"a list of at most {MAX_SEGMENTS} tables, each with feature, value and threshold"),
]
Routes = Annotated[
    tuple[Route, ...],
    BeforeValidator(table_reader(Route, "route", MAX_ROUTES)),
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
