"""The check of `forebay check` that says whether the served models are signed as the configuration demands."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from forebay.models.artefacts.artefact import read_version
from forebay.models.artefacts.signing import read_signature_file
from forebay.models.artefacts.signing_policy import SignatureState
from forebay.schemas.errors import ForebayError
from forebay.stream.config.sections import Settings
from forebay.stream.inference.loading import trust_policy
from forebay.stream.preflight import Check, Status


def check_signatures(settings: Settings) -> Iterator[Check]:
    """Say of each served model which policy it is under, and what that makes of its signature."""
    policy = trust_policy(settings.trust)
    for model in (served.model for served in settings.models_to_serve()):
        try:
            stored = read_version(model.repository, model.name, model.version)
            version = stored.manifest.version
            verdict = policy.inspect(
                stored.manifest,
                repository=str(model.repository),
                manifest_sha256=stored.manifest_sha256,
                read_signature=partial(read_signature_file, model.repository, model.name, version),
            )
        except ForebayError as error:
            yield Check("signatures", Status.FAILED, error.message, error.remedy)
            continue
        detail = f"{model.name}@{version}, policy {verdict.policy}: {verdict.text}"
        if verdict.is_refused:
            yield Check("signatures", Status.FAILED, detail, "sign the version: `forebay models sign`")
        else:
            is_valid = verdict.state is SignatureState.VALID
            yield Check("signatures", Status.OK if is_valid else Status.WARNING, detail)
