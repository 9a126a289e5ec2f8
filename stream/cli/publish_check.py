"""The model that predicts what `forebay publish` sends, and the signature against which events are checked."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from forebay.schemas.errors import ConfigError, ModelError
from forebay.stream.cli.output import echo

if TYPE_CHECKING:
    from forebay.models.artefacts.signature import Signature
    from forebay.stream.config.load import LoadedSettings
    from forebay.stream.config.models_section import ServedModelSettings
    from forebay.stream.config.sections import Settings
    from forebay.stream.publish.inspection import ServedSignature

_MODEL_SETTINGS = ("model.repository", "model.name", "model.version")


def warn(message: str) -> None:
    """Print a warning to the standard error."""
    from forebay.stream.terminal.console import visible

    echo(f"warning: {visible(message)}", err=True)


def target_model(settings: Settings, *, model: str | None, topic: str | None) -> ServedModelSettings | None:
    """Return the model to which a worker of these settings gives the events; None if it does not serve that model.

    model: the model that the events name, or None.
    topic: full name of the topic, None for the first input topic.
    """
    from forebay.schemas.topics import topic_name

    served = settings.models_to_serve()
    if model is not None:
        return next((one for one in served if one.model.name == model), None)
    prefix = settings.topics.prefix
    full = topic or topic_name(prefix, settings.input.topics[0])
    return next((one for one in served if full in [topic_name(prefix, own) for own in one.topics]), served[0])


def find_signature(
    loaded: LoadedSettings,
    *,
    model: str | None,
    topic: str | None,
    other_topic: bool,
    wanted: bool | None,
    warn: Callable[[str], None],
    noun: str = "event",
) -> ServedSignature | None:
    """Return the signatures against which events are checked; None if they are not checked.

    noun: what is published, for warnings.
    model, topic: as for `target_model`.
    other_topic: whether the events go to a topic that the configured worker does not read.
    wanted: True to require the check (raises ModelError if the model is not found), None to check if possible, False for none.
    """
    from forebay.models.artefacts.repository import read_signature
    from forebay.schemas.topics import topic_name
    from forebay.stream.config.load import DEFAULT
    from forebay.stream.decode.event_formats import event_formats
    from forebay.stream.decode.validator import EventLimits
    from forebay.stream.publish.inspection import ServedSignature

    if wanted is False or (other_topic and not wanted):
        return None
    settings = loaded.settings
    target = target_model(settings, model=model, topic=topic)
    # A model that is not served can still be found in the repository.
    section = target.model if target is not None else settings.models_to_serve()[0].model
    name, version = (section.name, section.version) if target is not None else (model or section.name, None)
    try:
        signature = read_signature(section.repository, name, version)
    except ModelError as error:
        if wanted:
            raise
        if settings.models or any(loaded.origins[key] != DEFAULT for key in _MODEL_SETTINGS):
            warn(f"the {noun}s are not checked before they are sent: {error.message}")
        return None
    others: dict[str, Signature] = {}
    unchecked = []
    for served in () if other_topic else settings.models_to_serve():
        other = served.model
        if other.name == name:
            continue
        try:
            others[other.name] = read_signature(other.repository, other.name, other.version)
        except ModelError as error:
            if wanted:
                raise
            unchecked.append(other.name)
            warn(f"{noun}s that name the model {other.name} are not checked before they are sent: {error.message}")
    limits = EventLimits(settings.input.max_event_bytes, settings.input.max_key_bytes)
    prefix = settings.topics.prefix
    return ServedSignature(
        name,
        signature,
        limits,
        others=others,
        unchecked=unchecked,
        topic="" if other_topic else topic or topic_name(prefix, settings.input.topics[0]),
        formats=None if other_topic else event_formats(settings.input, prefix=prefix),
    )


def outcome_topics(settings: Settings, *, model: str | None, topic: str | None) -> tuple[str, str]:
    """Return the topics of predictions and dead letters. Raises ConfigError if the model takes windows, not single events.

    model, topic: as for `target_model`.
    """
    from forebay.schemas.topics import DEAD_LETTERS, PREDICTIONS, topic_name

    target = target_model(settings, model=model, topic=topic)
    if target is not None and target.window.kind != "none":
        raise ConfigError(
            "--wait works only if single events are predicted; with window.kind set, windows are predicted when they close",
            kind="wait",
            remedy="remove --wait; `forebay tail predictions` shows the predictions",
        )
    prefix = settings.topics.prefix
    return topic_name(prefix, PREDICTIONS.name), topic_name(prefix, DEAD_LETTERS.name)
