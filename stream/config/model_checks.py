"""Rules for the models and their windows, in the short form and in [[models]]."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from forebay.schemas.topics import ALL_TOPICS
from forebay.stream.config.conflict import Conflict
from forebay.stream.config.sections import DecisionSection, Settings, WindowSection
from forebay.stream.config.values import MAX_NAME_LENGTH

MAX_WINDOWS_PER_EVENT: Final = 1000


def model_conflicts(settings: Settings) -> Iterator[Conflict]:
    """Yield every broken rule about the models."""
    if settings.models:
        yield from _short_form(settings)
        yield from _names(settings)
        yield from _topics(settings)
    for index, served in enumerate(settings.models_to_serve()):
        prefix = f"models[{index}].window" if settings.models else "window"
        yield from _window(served.window, prefix)
        yield from _decision(settings, served.decision, served.decision_section)
        yield from _instances(settings, index, served.model.instances)
        if served.window.kind != "none":
            yield from _topic_of_windows(settings, index)
            yield from _duplicates_of_windows(settings, prefix, served.window.kind)


def effective_key(settings: Settings, index: int, key: str) -> str:
    """Return the key that determines a setting of a model: the model's own, or that of the section.

    key: of the section, such as model.device or batch.max_batch_size.
    """
    section, _, name = key.partition(".")
    if settings.models:
        entry = settings.models[index]
        if section == "model" and getattr(entry, name) is not None:
            return f"models[{index}].{name}"
        if section == "batch" and getattr(entry.batch, name) is not None:
            return f"models[{index}].batch.{name}"
    return key


def _short_form(settings: Settings) -> Iterator[Conflict]:
    """Yield the settings that name or describe the one model of the short form."""
    for name in ("name", "version"):
        if name in settings.model.model_fields_set and getattr(settings.model, name) is not None:
            yield Conflict(
                (f"model.{name}", "models"),
                f"must not be set together with [[models]]: remove it, and set {name} in an entry of [[models]]",
            )
    for table, section, whose in (
        ("window", settings.window, "the model with windows"),
        ("decision", settings.decision, "its model"),
    ):
        for name in type(section).model_fields:
            if name in section.model_fields_set and getattr(section, name) is not None:
                yield Conflict(
                    (f"{table}.{name}", "models"),
                    f"must not be set together with [[models]]: move it to [models.{table}] below {whose}",
                )


def _names(settings: Settings) -> Iterator[Conflict]:
    first: dict[str, int] = {}
    for index, entry in enumerate(settings.models):
        other = first.setdefault(entry.name, index)
        if other != index:
            yield Conflict(
                (f"models[{index}].name", f"models[{other}].name"),
                f"must differ from models[{other}].name: events choose a model by its name",
            )


def _topics(settings: Settings) -> Iterator[Conflict]:
    first: dict[str, int] = {}
    for index, entry in enumerate(settings.models):
        key = f"models[{index}].topics"
        for topic in entry.topics or ():
            other = first.setdefault(topic, index)
            if other != index:
                yield Conflict(
                    (key, f"models[{other}].topics"),
                    f"must not contain {topic!r}, which models[{other}].topics contains: a topic belongs to one model",
                )
            if topic not in settings.input.topics:
                yield Conflict(
                    (key, "input.topics"),
                    f"must not contain {topic!r}, which is not in input.topics: add it there, or leave input.topics "
                    "out to read the topics of all models",
                )


def _instances(settings: Settings, index: int, num_instances: int) -> Iterator[Conflict]:
    if num_instances > 1 and settings.limits.max_in_flight_batches < 2 * num_instances:
        key = effective_key(settings, index, "model.instances")
        yield Conflict(
            ("limits.max_in_flight_batches", key),
            f"must be at least twice {key} ({num_instances}): each instance has one micro-batch in its model and one that "
            "waits, or some would be idle",
        )


def _decision(settings: Settings, decision: DecisionSection, prefix: str) -> Iterator[Conflict]:
    low, high = decision.review_from, decision.review_to
    for key, value, other, other_value in (
        ("review_from", low, "review_to", high),
        ("review_to", high, "review_from", low),
    ):
        if value is None and other_value is not None:
            yield Conflict((f"{prefix}.{key}", f"{prefix}.{other}"), f"must be set with {prefix}.{other}")
    if low is not None and high is not None and low > high:
        yield Conflict(
            (f"{prefix}.review_from", f"{prefix}.review_to"), f"must be at most {prefix}.review_to ({high:g})"
        )
    taken: dict[str, str] = {spec.name: "Forebay uses this topic for something else" for spec in ALL_TOPICS}
    taken[settings.evaluate.labels_topic] = "it is the topic of labels"
    taken |= dict.fromkeys(settings.input.topics, "it is an input topic")
    for route in decision.routes:
        if route.topic in taken:
            yield Conflict(
                (f"{prefix}.routes", "input.topics"),
                f"must not contain the topic {route.topic!r}: {taken[route.topic]}",
            )
        if len(settings.topics.prefix) + len(route.topic) > MAX_NAME_LENGTH:
            yield Conflict(
                (f"{prefix}.routes", "topics.prefix"),
                f"must have topics of at most {MAX_NAME_LENGTH} characters, including topics.prefix",
            )


def _window(window: WindowSection, prefix: str) -> Iterator[Conflict]:
    needed = {"tumbling": ("size_ms",), "hopping": ("size_ms", "hop_ms"), "session": ("gap_ms",)}.get(window.kind, ())
    for key in ("size_ms", "hop_ms", "gap_ms"):
        value = getattr(window, key)
        if value is None and key in needed:
            yield Conflict((f"{prefix}.{key}", f"{prefix}.kind"), f"must be set with {prefix}.kind {window.kind}")
        elif value is not None and key not in needed:
            kinds = {"size_ms": "tumbling or hopping", "hop_ms": "hopping", "gap_ms": "session"}[key]
            yield Conflict((f"{prefix}.{key}", f"{prefix}.kind"), f"requires {prefix}.kind {kinds}")
    if window.kind == "hopping" and window.size_ms is not None and window.hop_ms is not None:
        if window.hop_ms > window.size_ms:
            yield Conflict(
                (f"{prefix}.hop_ms", f"{prefix}.size_ms"),
                f"must be at most {prefix}.size_ms ({window.size_ms}), or some events would be in no window",
            )
        elif window.size_ms > MAX_WINDOWS_PER_EVENT * window.hop_ms:
            yield Conflict(
                (f"{prefix}.hop_ms", f"{prefix}.size_ms"),
                f"must be at least one {MAX_WINDOWS_PER_EVENT}th of {prefix}.size_ms ({window.size_ms}): each event is kept "
                "in every window that contains it",
            )
    if window.kind == "session" and window.gap_ms is not None and window.gap_ms > window.max_session_ms:
        yield Conflict(
            (f"{prefix}.gap_ms", f"{prefix}.max_session_ms"),
            f"must be at most {prefix}.max_session_ms ({window.max_session_ms})",
        )


def _duplicates_of_windows(settings: Settings, prefix: str, kind: str) -> Iterator[Conflict]:
    if settings.input.duplicate_window_events:
        yield Conflict(
            ("input.duplicate_window_events", f"{prefix}.kind"),
            f"must be 0 with {prefix}.kind {kind}: a restart rebuilds open windows from their events, and would not know "
            "which of them were duplicates",
        )


def _topic_of_windows(settings: Settings, index: int) -> Iterator[Conflict]:
    """Yield a conflict unless the events of a model with windows come from one topic."""
    served, why = settings.models_to_serve()[index], "only one topic keeps the order of a key's events"
    if not settings.models:
        if len(served.topics) > 1:
            yield Conflict(
                ("input.topics", "window.kind"),
                f"must be a single topic with window.kind {served.window.kind}: {why}",
            )
        return
    kind, own = f"models[{index}].window.kind", settings.models[index].topics or ()
    keys = (f"models[{index}].topics", "input.topics", kind)
    if len(own) > 1:
        yield Conflict(keys, f"must be a single topic with {kind} {served.window.kind}: {why}")
    elif len(served.topics) > 1:
        yield Conflict(
            ("input.topics", *(f"models[{other}].topics" for other in range(len(settings.models))), kind),
            f"must leave the first model a single topic with {kind} {served.window.kind}: {why}; it takes the topics that "
            "no model lists",
        )
    elif not served.topics and len(settings.input.topics) > 1:
        yield Conflict(keys, f"must name the one topic of its events with {kind} {served.window.kind}: {why}")
