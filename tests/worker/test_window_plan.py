"""Settings and model must agree on whether there are windows."""

from __future__ import annotations

import pytest

from forebay.models.artefacts.signature import Signature
from forebay.models.artefacts.window_input import WindowInput
from forebay.schemas.errors import ConfigError
from forebay.stream.config.sections import Settings, WindowSection
from forebay.stream.eventtime.spec import WindowKind, WindowSpec
from forebay.stream.worker.window_plan import window_plan

EVENTS = Signature((), (3,), "regression", 1)
WINDOWS = Signature(features=(), shape=(3,), task="regression", output_dim=1, labels=(), window=WindowInput(5))


def settings(**window: object) -> Settings:
    return Settings(window=WindowSection(**window))  # type: ignore[arg-type]


def test_no_plan_without_windows() -> None:
    assert window_plan(settings(), EVENTS) is None


def test_a_mismatch_is_refused_with_the_remedy() -> None:
    with pytest.raises(ConfigError, match=r"\(window.kind = none\), but the model default takes windows"):
        window_plan(settings(), WINDOWS)
    with pytest.raises(ConfigError, match=r"window.kind is tumbling, but the model default takes single events"):
        window_plan(settings(kind="tumbling", size_ms=10), EVENTS)


def test_the_plan_has_the_values_of_the_settings() -> None:
    found = window_plan(settings(kind="tumbling", size_ms=10, allowed_lateness_ms=3, on_changed="flush"), WINDOWS)
    assert found is not None and found.flush and found.num_features == 3
    assert found.spec == WindowSpec(
        WindowKind.TUMBLING, size_ms=10, hop_ms=10, gap_ms=0, out_of_orderness_ms=1000, lateness_ms=3
    )
    session = window_plan(settings(kind="session", gap_ms=7, max_session_ms=50), WINDOWS)
    assert session is not None and (session.spec.size_ms, session.spec.gap_ms) == (50, 7)
    assert session.digest != found.digest
