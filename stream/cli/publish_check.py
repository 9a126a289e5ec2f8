"""What `forebay publish` checks events against: the signature of the model that the configuration names."""

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
    """Print a warning where it does not mix with results."""
    from forebay.stream.terminal.console import visible

    echo(f"warning: {visible(message)}", err=True)


def find_signature(
    loaded: LoadedSettings, *, model: str | None, other_topic: bool, wanted: bool | None, warn: Callable[[str], None]
) -> ServedSignature | None:
    """The signature that events are checked against; None where there is none to be had.

    model: the model that the events name, None for the configured one; other_topic: whether they go to a topic that the
    configured worker does not read. wanted: True for a check that must be possible (raises ModelError where it is not), None
    for one where it is possible, False for none.
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
            warn(f"events are not checked before they are sent: {error.message}")
        return None
    limits = EventLimits(settings.input.max_event_bytes, settings.input.max_key_bytes)
    return ServedSignature(name, signature, limits)
