"""The signature against which `forebay publish` checks events: that of the model that the configuration names."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from forebay.schemas.errors import ModelError
from forebay.stream.cli.output import echo

if TYPE_CHECKING:
    from forebay.stream.config.load import LoadedSettings
    from forebay.stream.publish.inspection import ServedSignature

_MODEL_SETTINGS = ("model.repository", "model.name", "model.version")


def warn(message: str) -> None:
    """Print a warning to the standard error."""
    from forebay.stream.terminal.console import visible

    echo(f"warning: {visible(message)}", err=True)


def find_signature(
    loaded: LoadedSettings, *, model: str | None, other_topic: bool, wanted: bool | None, warn: Callable[[str], None]
) -> ServedSignature | None:
    """Return the signature against which events are checked; None if they are not checked.

    model: the model that the events name, None for the configured one.
    other_topic: whether the events go to a topic that the configured worker does not read.
    wanted: True to require the check (raises ModelError if the model is not found), None to check if possible, False for none.
    """
    from forebay.models.artefacts.repository import read_signature
    from forebay.stream.config.load import DEFAULT
    from forebay.stream.decode.validator import EventLimits
    from forebay.stream.publish.inspection import ServedSignature

    if wanted is False or (other_topic and not wanted):
        return None
    settings = loaded.settings
    name = model or settings.model.name
    version = settings.model.version if name == settings.model.name else None
    try:
        signature = read_signature(settings.model.repository, name, version)
    except ModelError as error:
        if wanted:
            raise
        if any(loaded.origins[key] != DEFAULT for key in _MODEL_SETTINGS):
            warn(f"the events are not checked before they are sent: {error.message}")
        return None
    limits = EventLimits(settings.input.max_event_bytes, settings.input.max_key_bytes)
    return ServedSignature(name, signature, limits)
