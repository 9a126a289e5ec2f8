"""The window plan, from the settings of a model and its signature."""

from __future__ import annotations

from forebay.models.artefacts.signature import Signature
from forebay.schemas.errors import ConfigError
from forebay.stream.config.sections import WindowSection
from forebay.stream.core.model_ref import ModelRef
from forebay.stream.eventtime.plan import WindowLimits, WindowPlan
from forebay.stream.eventtime.spec import WindowKind, WindowSpec, digest
from forebay.stream.eventtime.timestamp_guard import TimestampBounds


def window_plan(
    section: WindowSection, signature: Signature, model: ModelRef, name: str = "window", *, keeps_events: bool = False
) -> WindowPlan | None:
    """Return the plan for the configured windows; None without windows.

    name: of the section, for messages. keeps_events: see `WindowPlan`.

    Raises ConfigError if the model takes windows and none are configured, or the other way round.
    """
    if section.kind == "none":
        if signature.window is not None:
            raise ConfigError(
                f"no windows are configured ({name}.kind = none), but the model {model.name} takes windows of events",
                kind="window_kind",
                remedy=f"set {name}.kind to tumbling, hopping or session, as the model was trained, or serve another model",
            )
        return None
    if signature.window is None:
        raise ConfigError(
            f"{name}.kind is {section.kind}, but the model {model.name} takes single events",
            kind="window_kind",
            remedy=f"set {name}.kind to none, or serve a model whose signature has windows",
        )
    spec = window_spec(section)
    rows = section.max_rows_per_window
    return WindowPlan(
        spec=spec,
        model=model,
        window_input=signature.window,
        num_features=signature.num_features,
        digest=digest(
            spec,
            signature.window,
            signature.num_features,
            max_rows_per_window=rows,
            ahead_ms=section.max_timestamp_ahead_ms,
            behind_ms=section.max_timestamp_behind_ms,
        ),
        limits=WindowLimits(
            max_open_windows=section.max_open_windows,
            max_buffered_rows=section.max_buffered_rows,
            max_buffered_bytes=section.max_buffered_bytes,
            max_replay_records=section.max_replay_records,
            max_rows_per_window=rows,
            idle_timeout_s=section.idle_timeout_ms / 1000,
            timestamps=TimestampBounds(section.max_timestamp_ahead_ms, section.max_timestamp_behind_ms),
        ),
        flush=section.on_changed == "flush",
        keeps_events=keeps_events,
    )


def window_spec(section: WindowSection) -> WindowSpec:
    """Return the window specification of a validated section whose kind is not `none`."""
    kind = WindowKind(section.kind)
    size_ms = section.max_session_ms if kind is WindowKind.SESSION else section.size_ms or 0
    return WindowSpec(
        kind,
        size_ms=size_ms,
        hop_ms=section.hop_ms or size_ms,
        gap_ms=section.gap_ms or 0,
        out_of_orderness_ms=section.max_out_of_orderness_ms,
        lateness_ms=section.allowed_lateness_ms,
    )
