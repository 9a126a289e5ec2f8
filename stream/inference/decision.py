"""The decision layer: classes by thresholds, abstentions and routes, from the scores of a micro-batch. Pure.

Scores are compared as float32, as they are published: a score that is shown as 0.7 reaches the threshold 0.7.

Shapes: B rows, O outputs, F columns of a row as decoded.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from forebay.models.artefacts.signature import Feature, Signature
from forebay.schemas.errors import ConfigError
from forebay.schemas.topics import PREDICTIONS, REVIEW
from forebay.stream.config.decision_section import DecisionSection, Route, SegmentThreshold
from forebay.stream.core.decisions import FIRST_ROUTE, IN_BAND, LOW_CONFIDENCE, PREDICT
from forebay.stream.core.model_ref import ModelRef
from forebay.stream.core.records import FloatMatrix
from forebay.stream.inference.bisect import Inference

_DEFAULT_THRESHOLD: Final = 0.5


class SegmentRule(NamedTuple):
    """A threshold for rows with a value in a column."""

    column: int
    value: np.float32
    threshold: np.float32


class RouteRule(NamedTuple):
    """Conditions of a route. None: no condition."""

    class_index: int | None
    min_confidence: np.float32 | None


@dataclass(frozen=True, slots=True)
class DecisionLayer:
    """What becomes of the scores of one model version.

    threshold: the smallest score of class 1; None to leave the classes as the model has them.
    segments: thresholds of rows; the first that fits applies.
    topics: the topics, without prefix, by decision code.
    """

    topics: tuple[str, ...]
    threshold: np.float32 | None = None
    segments: tuple[SegmentRule, ...] = ()
    min_confidence: np.float32 | None = None
    band: tuple[np.float32, np.float32] | None = None
    routes: tuple[RouteRule, ...] = ()

    @property
    def has_topics(self) -> bool:
        """Whether predictions can go to other topics than predictions."""
        return len(set(self.topics)) > 1

    def apply(self, inference: Inference, features: Callable[[], FloatMatrix]) -> Inference:
        """Return the result with its classes, confidences and decisions.

        features: returns the rows, float32 [B, F]; called only if there are segments.
        """
        if inference.classes_B is None or inference.confidences_B is None:
            return inference
        classes_B, confidences_B = inference.classes_B, inference.confidences_B
        scores_B = inference.values_BO[:, 0]
        if self.threshold is not None:
            classes_B = (scores_B >= self._thresholds(features)).astype(np.int64)
            confidences_B = np.where(classes_B == 1, scores_B, 1 - scores_B)
        decided = replace(inference, classes_B=classes_B, confidences_B=confidences_B)
        return replace(decided, decisions_B=self._decisions(decided)) if self.has_topics else decided

    def _thresholds(self, features: Callable[[], FloatMatrix]) -> np.float32 | npt.NDArray[np.float32]:
        """Return the threshold of each row, or the one of all."""
        assert self.threshold is not None
        if not self.segments:
            return self.threshold
        x_BF = features()
        thresholds_B = np.full(len(x_BF), self.threshold, dtype=np.float32)
        # From the last to the first, so that the first that fits is what remains.
        for segment in reversed(self.segments):
            thresholds_B[x_BF[:, segment.column] == segment.value] = segment.threshold
        return thresholds_B

    def _decisions(self, inference: Inference) -> npt.NDArray[np.uint8]:
        assert inference.classes_B is not None and inference.confidences_B is not None
        classes_B, confidences_B = inference.classes_B, inference.confidences_B
        decisions_B = np.full(len(classes_B), PREDICT, dtype=np.uint8)
        # What comes first has precedence, so the last is written first.
        for index in reversed(range(len(self.routes))):
            route = self.routes[index]
            fits_B = np.ones(len(classes_B), dtype=np.bool_)
            if route.class_index is not None:
                fits_B &= classes_B == route.class_index
            if route.min_confidence is not None:
                fits_B &= confidences_B >= route.min_confidence
            decisions_B[fits_B] = FIRST_ROUTE + index
        if self.min_confidence is not None:
            decisions_B[confidences_B < self.min_confidence] = LOW_CONFIDENCE
        if self.band is not None:
            scores_B = inference.values_BO[:, 0]
            decisions_B[(scores_B >= self.band[0]) & (scores_B <= self.band[1])] = IN_BAND
        return decisions_B


def decision_layer(
    section: DecisionSection, signature: Signature, model: ModelRef, name: str, *, own_threshold: float | None = None
) -> DecisionLayer | None:
    """Return the decision layer of a model; None if its scores are used as they are.

    name: of the section, for messages.
    own_threshold: of the model version, which the configured one overrides. Its classes are by this threshold already.

    Raises ConfigError if the section does not fit the model.
    """
    if not section.is_set:
        return None
    if signature.task != "binary":
        for key in ("threshold", "segments", "review_from"):
            if getattr(section, key) not in (None, ()):
                raise _error(
                    model, f"{name}.{key} is set, but the task of the model is {signature.task}, not binary", name
                )
    if signature.task == "regression":
        raise _error(
            model, f"{name} is set, but the model is a regression: it has neither classes nor confidences", name
        )
    threshold = section.threshold
    if threshold is None and section.segments:
        threshold = _DEFAULT_THRESHOLD if own_threshold is None else own_threshold
    return DecisionLayer(
        (PREDICTIONS.name, REVIEW.name, REVIEW.name, *(route.topic for route in section.routes))
        if section.abstains or section.routes
        else (PREDICTIONS.name,),
        threshold=None if threshold is None else np.float32(threshold),
        segments=tuple(_segment(segment, signature, model, name) for segment in section.segments),
        min_confidence=None if section.min_confidence is None else np.float32(section.min_confidence),
        band=None
        if section.review_from is None or section.review_to is None
        else (np.float32(section.review_from), np.float32(section.review_to)),
        routes=tuple(_route(route, signature, model, name) for route in section.routes),
    )


def _segment(segment: SegmentThreshold, signature: Signature, model: ModelRef, name: str) -> SegmentRule:
    if signature.window is not None:
        raise _error(model, f"{name}.segments is set, but the model takes windows, not single events", name)
    column, feature = _feature(segment.feature, signature, model, name)
    value = segment.value
    if isinstance(value, str):
        if feature.dtype != "category":
            raise _error(
                model,
                f"{name}.segments: the value of {feature.name!r} is the text {value!r}, but the feature is {feature.dtype}",
                name,
            )
        if value not in feature.categories:
            raise _error(
                model,
                f"{name}.segments: {feature.name!r} has no category {value!r}; it has {_some(feature.categories)}",
                name,
            )
        code = float(feature.categories.index(value))
    elif feature.dtype != "float32":
        raise _error(
            model,
            f"{name}.segments: the value of {feature.name!r} is the number {value}, but the feature is {feature.dtype}",
            name,
        )
    else:
        code = float(value)
    return SegmentRule(column, np.float32(code), np.float32(segment.threshold))


def _feature(feature_name: str, signature: Signature, model: ModelRef, name: str) -> tuple[int, Feature]:
    for column, feature in enumerate(signature.column_features):
        if feature.name == feature_name:
            return column, feature
    names = signature.column_names
    has = f"its features are {_some(names)}" if names else "its features have no names"
    raise _error(model, f"{name}.segments: the model has no feature {feature_name!r}; {has}", name)


def _route(route: Route, signature: Signature, model: ModelRef, name: str) -> RouteRule:
    least = None if route.min_confidence is None else np.float32(route.min_confidence)
    label = route.label
    if label is None:
        return RouteRule(None, least)
    if isinstance(label, str):
        if label not in signature.labels:
            has = f"its classes are {_some(signature.labels)}" if signature.labels else "it does not name its classes"
            raise _error(model, f"{name}.routes: the model has no class {label!r}; {has}", name)
        return RouteRule(signature.labels.index(label), least)
    if not 0 <= label < signature.num_classes:
        raise _error(
            model,
            f"{name}.routes: there is no class {label}; the model has classes 0 to {signature.num_classes - 1}",
            name,
        )
    return RouteRule(label, least)


def _some(names: tuple[str, ...]) -> str:
    return ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")


def _error(model: ModelRef, message: str, name: str) -> ConfigError:
    return ConfigError(
        f"model {model.name} version {model.version}: {message}",
        kind="decision",
        remedy=f"correct [{name}], or serve a model that it fits; `forebay models show {model.name}` prints its features "
        "and classes",
    )
