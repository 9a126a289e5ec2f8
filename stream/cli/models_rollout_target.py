"""The version that a rollout command is about: found in the configuration and the repository, and checked."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, Final

from forebay.schemas.errors import ConfigError

if TYPE_CHECKING:
    from forebay.stream.config.models_section import ServedModelSettings
    from forebay.stream.config.sections import Settings
    from forebay.stream.rollouts.revision_log import Entry

_VERSION: Final = re.compile(r"[1-9][0-9]{0,8}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Target:
    """A version that workers can be asked to serve.

    requested: what the user wrote, such as an alias.
    sha256: of the manifest, in hexadecimal digits. Workers refuse the version if they read another manifest.
    """

    model: str
    version: int
    sha256: str
    requested: str


def split_target(name: str, version: str | None) -> tuple[str, int | str | None]:
    """Return the model and the version of the arguments NAME V or NAME@V. The version is None if it was left out.

    Raises ConfigError for a version in both, and ModelError for a name or version that is not valid.
    """
    from forebay.models.artefacts.repository import split_reference

    if version is not None and "@" in name:
        raise ConfigError(
            f"{name} names a version already, and {version!r} is a second one",
            remedy="give NAME VERSION or NAME@VERSION",
        )
    if version is not None and version.lstrip("-").isdecimal() and not _VERSION.fullmatch(version):
        raise ConfigError(
            f"version {version!r} is not possible", remedy="give a whole number from 1 to 999999999, or an alias"
        )
    return split_reference(name if version is None else f"{name}@{version}")


def find_served_model(settings: Settings, model: str) -> ServedModelSettings:
    """Return the settings of a model that the workers serve. Raises ConfigError if the configuration does not list it."""
    served = {entry.model.name: entry for entry in settings.models_to_serve()}
    if model in served:
        return served[model]
    near = get_close_matches(model, served, n=1)
    raise ConfigError(
        f"the configuration does not serve a model {model!r}; it serves {', '.join(sorted(served))}",
        kind="model_not_served",
        remedy=f"did you mean {near[0]!r}?"
        if near
        else "use the workers' configuration file (-c), or add the model to it and restart the workers",
    )


def require_rollouts(settings: Settings) -> None:
    """Raise ConfigError if rollouts are disabled."""
    if not settings.rollouts.enabled:
        raise ConfigError(
            "rollouts are disabled: rollouts.enabled is false",
            kind="rollouts_disabled",
            remedy="set rollouts.enabled = true in the workers' configuration, run `forebay topics create`, and restart the "
            "workers",
        )


def check_target(settings: Settings, model: str, version: int | str | None) -> Target:
    """Return a version that the repository holds. Raises ConfigError or ModelError that names the place and the remedy.

    version: a number, an alias, or None for the highest.

    The manifest is read and checked, and the trust policy applied. The version is not loaded.
    """
    from functools import partial

    from forebay.models.artefacts.artefact import read_version
    from forebay.models.artefacts.signing import read_signature_file
    from forebay.stream.inference.loading import trust_policy

    served = find_served_model(settings, model)
    stored = read_version(served.model.repository, model, version)
    manifest = stored.manifest
    if manifest.signature.window is not None:
        raise ConfigError(
            f"{model}@{manifest.version} takes windows of events, and rollouts of such models are not possible yet",
            kind="rollout_of_windows",
            remedy="set the version in the configuration and restart the workers",
        )
    trust_policy(settings.trust).admit(
        manifest,
        repository=str(stored.repository),
        manifest_sha256=stored.manifest_sha256,
        place=str(stored.manifest_file) if stored.remote is None else stored.place,
        read_signature=partial(read_signature_file, stored.repository, model, manifest.version),
    )
    requested = model if version is None else f"{model}@{version}"
    return Target(model, manifest.version, stored.manifest_sha256, requested)


def resolve_number(settings: Settings, model: str, version: int | str) -> int:
    """Return the number of a version, which need not exist. Raises ModelError for an unknown alias."""
    if isinstance(version, int):
        return version
    from forebay.models.artefacts.repository import resolve_version

    return resolve_version(find_served_model(settings, model).model.repository, model, version)


def require_not_rejected(target: Target, rejected: Sequence[int], history: Sequence[Entry], *, force: bool) -> None:
    """Raise ConfigError for a version that was rolled back, unless the user insists."""
    if force or target.version not in rejected:
        return
    raise ConfigError(
        f"version {target.version} of {target.model} was rejected{_rejection(target.version, history)}",
        kind="rejected_version",
        remedy="`forebay models history` shows the evidence; if the version is good, use it again with --force",
    )


def _rejection(version: int, history: Sequence[Entry]) -> str:
    """Return which revision rejected a version last, as the end of a sentence; empty if it is not known."""
    from forebay.stream.core.time_format import local_date_time

    accepted = [entry.revision for entry in history if entry.accepted]
    before: frozenset[int] = frozenset()
    found = ""
    for revision in accepted:
        if version in revision.rejected and version not in before:
            reason = f": {revision.reason}" if revision.reason else ""
            found = (
                f" by {revision.author} in revision {revision.number} ({revision.action}, "
                f"{local_date_time(revision.created_ms)}){reason}"
            )
        before = frozenset(revision.rejected)
    return found
