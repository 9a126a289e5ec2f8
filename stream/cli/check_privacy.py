"""The line of `forebay check` about privacy: what the settings protect, and what they do not."""

from __future__ import annotations

from collections.abc import Iterator

from forebay.schemas.errors import ConfigError
from forebay.stream.config.sections import Settings
from forebay.stream.preflight import Check, Status
from forebay.stream.privacy.policy import Action, Place


def check_privacy(settings: Settings) -> Check:
    """Check that the files of [privacy] can be read, and say what is found and what stays as it is."""
    from forebay.stream.worker.privacy_assembly import detectors_of, pseudonyms_of

    section = settings.privacy
    try:
        detectors = {detector.name for detector in detectors_of(section)}
        pseudonyms_of(section)
    except ConfigError as error:
        return Check("privacy", Status.FAILED, error.message, error.remedy)
    found = ", ".join(name for name in section.detectors if name in detectors)
    actions = ", ".join(f"{place} {action}" for place, action in section.policy().of_place.items() if place in _WRITTEN)
    gaps = tuple(_gaps(settings))
    status = Status.WARNING if gaps else Status.OK
    remedy = "these are choices; docs/privacy.md says what follows from each" if gaps else None
    return Check(
        "privacy",
        status,
        f"finds {found}; {actions}; dead letters {section.dead_letters}",
        remedy=remedy,
        problems=gaps,
    )


_WRITTEN = (Place.IDS, Place.KEYS, Place.HEADERS, Place.ERRORS)


def _gaps(settings: Settings) -> Iterator[str]:
    """Yield what the settings do not protect."""
    section, policy = settings.privacy, settings.privacy.policy()
    if section.dead_letters in ("keep", "detect"):
        yield "dead letters and late events hold the original events, so that they can be replayed"
    counted = [place for place in _WRITTEN if policy.of_place[place] is Action.DETECT]
    if counted:
        yield f"what is found in {', '.join(counted)} is only counted"
    if "name" in section.detectors and section.names_file is None:
        yield "names of persons are not found: privacy.names_file is not set"
    if settings.evaluate.enabled and settings.evaluate.slices:
        yield "slices of predictions hold the categories of these features as the model knows them"
