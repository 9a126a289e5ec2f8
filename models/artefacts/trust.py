"""The trust policy: which models may bring code of their own. By default none may."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from forebay.models.artefacts.backend_files import BACKENDS
from forebay.schemas.errors import ModelError


@dataclass(frozen=True, slots=True)
class TrustPolicy:
    """Where code in a model comes from for it to be run.

    repositories: model repositories, as paths or URLs, whose models are all trusted.
    manifests: SHA-256 digests, in hexadecimal digits, of the manifests of trusted versions. A manifest states the digest
        of every other file.
    """

    repositories: frozenset[str] = frozenset()
    manifests: frozenset[str] = frozenset()

    def check(self, backend: str, *, repository: str, manifest_sha256: str, place: str) -> None:
        """Raise ModelError(kind="untrusted") if the backend runs code from the model and the policy does not allow it.

        place: the start of the message: the manifest's path.
        """
        if not BACKENDS[backend].runs_code or repository in self.repositories or manifest_sha256 in self.manifests:
            return
        raise ModelError(
            f"{place}: the backend {backend} runs code that the model brings, and the trust policy does not allow this model",
            kind="untrusted",
            remedy=f'if you trust the model, add "{manifest_sha256}" to trust.manifests, or "{repository}" to '
            "trust.repositories to trust all models there",
        )


TRUST_NOTHING: Final = TrustPolicy()
