"""Settings and model must agree on whether there are windows."""

from __future__ import annotations

import pytest

from forebay.models.artefacts.signature import Signature
from forebay.models.artefacts.window_input import WindowInput
from forebay.schemas.errors import ConfigError
from forebay.stream.config.sections import WindowSection
from forebay.stream.eventtime.spec import WindowKind, WindowSpec
from forebay.stream.worker.window_plan import window_plan
from tests.core.build import MODEL

EVENTS = Signature((), (3,), "regression", 1)
WINDOWS = Signature(features=(), shape=(3,), task="regression", output_dim=1, labels=(), window=WindowInput(5))


def section(**window: object) -> WindowSection:
    return WindowSection(**window)  # type: ignore[arg-type]


def test_no_plan_without_windows() -> None:
    assert window_plan(section(), EVENTS, MODEL) is None


def test_a_mismatch_is_refused_with_the_remedy() -> None:
    with pytest.raises(ConfigError, match=r"\(window.kind = none\), but the model m takes windows"):
        window_plan(section(), WINDOWS, MODEL)
    with pytest.raises(ConfigError, match=r"window.kind is tumbling, but the model m takes single events"):
        window_plan(section(kind="tumbling", size_ms=10), EVENTS, MODEL)


def test_a_mismatch_names_the_section_of_the_model() -> None:
    with pytest.raises(ConfigError) as caught:
        window_plan(section(), WINDOWS, MODEL, "models[1].window")
    assert "(models[1].window.kind = none)" in caught.value.message
    assert caught.value.remedy is not None and caught.value.remedy.startswith("set models[1].window.kind to tumbling")


def test_the_plan_has_the_values_of_the_section() -> None:
    found = window_plan(section(kind="tumbling", size_ms=10, allowed_lateness_ms=3, on_changed="flush"), WINDOWS, MODEL)
    assert found is not None and found.flush and found.num_features == 3
    assert found.spec == WindowSpec(
        WindowKind.TUMBLING, size_ms=10, hop_ms=10, gap_ms=0, out_of_orderness_ms=1000, lateness_ms=3
    )
    session = window_plan(section(kind="session", gap_ms=7, max_session_ms=50), WINDOWS, MODEL)
    assert session is not None and (session.spec.size_ms, session.spec.gap_ms) == (50, 7)
    assert session.digest != found.digest
