"""The decision layer: by columns it decides what a plain function decides for one row after the other."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.models.artefacts.signature import Feature, Signature
from forebay.models.artefacts.window_input import WindowInput
from forebay.schemas.errors import ConfigError
from forebay.stream.config.decision_section import DecisionSection, Route, SegmentThreshold
from forebay.stream.core.decisions import FIRST_ROUTE, IN_BAND, LOW_CONFIDENCE, PREDICT
from forebay.stream.core.model_ref import ModelRef
from forebay.stream.core.records import FloatMatrix
from forebay.stream.inference.bisect import Inference
from forebay.stream.inference.decision import DecisionLayer, decision_layer

CARRIER = Feature("carrier", "category", ("AA", "UA"), nullable=True)
BINARY = Signature(
    (Feature("distance"), CARRIER, Feature("city", "hashed", buckets=8)), (3,), "binary", 1, labels=("no", "yes")
)
CLASSES = Signature((), (2,), "multiclass", 3, labels=("a", "b", "c"))
REF = ModelRef("m", 1)

_SHARES = st.integers(1, 9).map(lambda tenths: tenths / 10)
"""Few different numbers, so that scores often equal a limit."""
_SEGMENTS = st.builds(
    SegmentThreshold, feature=st.just("carrier"), value=st.sampled_from(["AA", "UA"]), threshold=_SHARES
) | st.builds(SegmentThreshold, feature=st.just("distance"), value=st.sampled_from([0, 1.5]), threshold=_SHARES)
_ROUTES = st.tuples(st.sampled_from(["high", "low"]), st.none() | st.sampled_from(["yes", 0]), st.none() | _SHARES).map(
    lambda parts: Route(topic=parts[0], label=parts[1], min_confidence=0.1 if parts[1:] == (None, None) else parts[2])
)
_SECTIONS = st.builds(
    DecisionSection,
    threshold=st.none() | _SHARES,
    segments=st.lists(_SEGMENTS, max_size=3).map(tuple),
    min_confidence=st.none() | _SHARES,
    review_from=st.none(),
    routes=st.lists(_ROUTES, max_size=3).map(tuple),
)
_BANDS = st.none() | st.tuples(_SHARES, _SHARES).map(sorted)
_ROWS = st.lists(
    st.tuples(_SHARES, st.sampled_from([0.0, 1.5, math.nan]), st.sampled_from([0.0, 1.0, math.nan])), max_size=20
)


def layer(section: DecisionSection, signature: Signature = BINARY, own: float | None = None) -> DecisionLayer | None:
    return decision_layer(section, signature, REF, "decision", own_threshold=own)


def binary(scores: list[float], threshold: float = 0.5) -> Inference:
    """Return what a binary model gives for these scores, with its own threshold."""
    scores_B = np.array(scores, dtype=np.float32)
    classes_B = (scores_B >= np.float32(threshold)).astype(np.int64)
    return Inference(scores_B[:, None], classes_B, np.where(classes_B == 1, scores_B, 1 - scores_B), {})


def features(rows: list[tuple[float, float, float]]) -> Callable[[], FloatMatrix]:
    return lambda: np.array([[distance, carrier, 3] for _, distance, carrier in rows], np.float32).reshape(-1, 3)


def decide(
    section: DecisionSection, score: float, distance: float, carrier: float, own: float | None
) -> tuple[int, np.float32, int]:
    """Return class, confidence and decision of one row, as the documentation defines them."""
    p = np.float32(score)
    threshold = section.threshold if section.threshold is not None else 0.5 if own is None else own
    for segment in section.segments:
        if segment.value == (distance if segment.feature == "distance" else {0.0: "AA", 1.0: "UA"}.get(carrier)):
            threshold = segment.threshold
            break
    class_index = int(p >= np.float32(threshold))
    confidence = p if class_index else np.float32(1) - p
    low, high = section.review_from, section.review_to
    if low is not None and high is not None and np.float32(low) <= p <= np.float32(high):
        return class_index, confidence, IN_BAND
    if section.min_confidence is not None and confidence < np.float32(section.min_confidence):
        return class_index, confidence, LOW_CONFIDENCE
    for index, route in enumerate(section.routes):
        wanted = 1 if route.label == "yes" else route.label
        if wanted in (None, class_index) and confidence >= np.float32(route.min_confidence or 0):
            return class_index, confidence, FIRST_ROUTE + index
    return class_index, confidence, PREDICT


@given(_SECTIONS, _BANDS, _ROWS, st.none() | _SHARES)
def test_the_columns_decide_what_one_row_after_the_other_decides(
    section: DecisionSection, band: list[float] | None, rows: list[tuple[float, float, float]], own: float | None
) -> None:
    if band is not None:
        section = section.model_copy(update={"review_from": band[0], "review_to": band[1]})
    inference = binary([score for score, _, _ in rows], 0.5 if own is None else own)
    decision = layer(section, own=own)
    if decision is not None:
        inference = decision.apply(inference, features(rows))
    expected = [decide(section, *row, own) for row in rows]
    assert inference.classes_B is not None and inference.confidences_B is not None
    assert inference.classes_B.tolist() == [class_index for class_index, _, _ in expected]
    assert inference.confidences_B.tolist() == [confidence for _, confidence, _ in expected]
    decisions = [PREDICT] * len(rows) if inference.decisions_B is None else inference.decisions_B.tolist()
    assert decisions == [code for _, _, code in expected]


def test_several_classes_are_routed_and_reviewed() -> None:
    section = DecisionSection(
        min_confidence=0.5, routes=(Route(topic="t", label="c"), Route(topic="u", min_confidence=0.9))
    )
    decision = layer(section, CLASSES)
    values_BO = np.array([[0.1, 0.2, 0.7], [0.4, 0.3, 0.3], [0.95, 0.05, 0], [0.6, 0.3, 0.1]], np.float32)
    inference = Inference(values_BO, values_BO.argmax(1), values_BO.max(1), {})
    assert decision is not None and decision.topics == ("predictions", "review", "review", "t", "u")
    decided = decision.apply(inference, lambda: pytest.fail("no segment needs the rows"))
    assert decided.decisions_B is not None
    assert decided.decisions_B.tolist() == [FIRST_ROUTE, LOW_CONFIDENCE, FIRST_ROUTE + 1, PREDICT]
    assert decided.classes_B is inference.classes_B


def test_without_settings_nothing_is_decided() -> None:
    assert layer(DecisionSection(), own=0.3) is None
    only_threshold = layer(DecisionSection(threshold=0.3))
    assert only_threshold is not None and not only_threshold.has_topics
    assert only_threshold.apply(binary([0.3]), features([])).decisions_B is None


REGRESSION = Signature((), (2,), "regression", 1)
WINDOWS = Signature((Feature("x"),), (1,), "binary", 1, window=WindowInput(sequence_length=3))


@pytest.mark.parametrize(
    ("section", "signature", "message"),
    [
        ({"threshold": 0.4}, CLASSES, "decision.threshold is set, but the task of the model is multiclass, not binary"),
        (
            {"review_from": 0.4, "review_to": 0.6},
            CLASSES,
            "decision.review_from is set, but the task of the model is multi",
        ),
        ({"min_confidence": 0.4}, REGRESSION, "decision is set, but the model is a regression"),
        ({"segments": [{"feature": "x", "value": 1, "threshold": 0.4}]}, WINDOWS, "but the model takes windows"),
        (
            {"segments": [{"feature": "carier", "value": "AA", "threshold": 0.4}]},
            BINARY,
            "the model has no feature 'carier'; its features are distance, carrier, city",
        ),
        (
            {"segments": [{"feature": "carrier", "value": "ZZ", "threshold": 0.4}]},
            BINARY,
            "'carrier' has no category 'ZZ'; it has AA, UA",
        ),
        (
            {"segments": [{"feature": "city", "value": "Basel", "threshold": 0.4}]},
            BINARY,
            "the value of 'city' is the text 'Basel', but the feature is hashed",
        ),
        (
            {"segments": [{"feature": "carrier", "value": 1, "threshold": 0.4}]},
            BINARY,
            "the value of 'carrier' is the number 1, but the feature is category",
        ),
        ({"routes": [{"topic": "t", "label": "maybe"}]}, BINARY, "has no class 'maybe'; its classes are no, yes"),
        ({"routes": [{"topic": "t", "label": 2}]}, BINARY, "there is no class 2; the model has classes 0 to 1"),
    ],
)
def test_settings_that_do_not_fit_the_model_are_refused(
    section: Mapping[str, Any], signature: Signature, message: str
) -> None:
    with pytest.raises(ConfigError) as refused:
        layer(DecisionSection(**section), signature)
    assert message in refused.value.message and refused.value.remedy is not None
