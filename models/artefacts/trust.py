"""The trust policy: which models may bring code of their own. By default none may."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Final

from forebay.models.artefacts.backend_files import BACKENDS
from forebay.models.artefacts.location import is_url, local_folder
from forebay.schemas.errors import ModelError

_DIGEST_PREFIX: Final = "sha256:"


@dataclass(frozen=True, slots=True)
class TrustPolicy:
    """Where code in a model comes from for it to be run.

    repositories: model repositories, as paths or URLs, whose models are all trusted. Paths are compared as absolute paths
        without symbolic links, URLs as they are written, except for slashes at the end. A repository within a trusted
        one is not trusted.
    manifests: SHA-256 digests, in hexadecimal digits, of the manifests of trusted versions. A manifest states the digest
        of every other file. The prefix "sha256:" is optional.
    """

    repositories: frozenset[str] = frozenset()
    manifests: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        object.__setattr__(self, "repositories", frozenset(map(normalise_repository, self.repositories)))
        digests = (digest.lower().removeprefix(_DIGEST_PREFIX) for digest in self.manifests)
        object.__setattr__(self, "manifests", frozenset(digests))

    def check(self, backend: str, *, repository: str, manifest_sha256: str, place: str) -> None:
        """Raise ModelError(kind="untrusted") if the backend runs code from the model and the policy does not allow it.

        place: the start of the message: the manifest's path.
        """
        if not BACKENDS[backend].runs_code or manifest_sha256 in self.manifests:
            return
        repository = normalise_repository(repository)
        if repository in self.repositories:
            return
        raise ModelError(
            f"{place}: the backend {backend} runs code that the model brings, and the trust policy does not allow this model",
            kind="untrusted",
            remedy=f'if you trust this version, add "sha256:{manifest_sha256}" to trust.manifests; if you trust all models '
            f'of the repository, add "{repository}" to trust.repositories',
        )


def normalise_repository(place: str) -> str:
    """Return the path or URL of a repository in the form in which the trust policy compares it."""
    return place.rstrip("/") if is_url(place) else os.path.realpath(local_folder(place))


TRUST_NOTHING: Final = TrustPolicy()
