"""The trust policy: which models must be signed, and which may bring code of their own. By default none of either."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from forebay.models.artefacts.backend_files import BACKENDS
from forebay.models.artefacts.location import normalise_repository as normalise_repository
from forebay.models.artefacts.signed_bundle import signed_files
from forebay.models.artefacts.signing_policy import Policy, SignatureState, SignatureVerdict, SigningPolicy, refusal
from forebay.models.artefacts.user_module import MODULE_BACKEND, read_user_module
from forebay.schemas.errors import ModelError

if TYPE_CHECKING:
    from forebay.models.artefacts.manifest import Manifest

_DIGEST_PREFIX: Final = "sha256:"

log = logging.getLogger("forebay.repository")

ReadSignature = Callable[[], bytes | None]
"""Returns the content of a version's signature file; None if there is none."""


@dataclass(frozen=True, slots=True)
class TrustPolicy:
    """Where code in a model comes from for it to be run.

    repositories: model repositories, as paths or URLs, whose models are all trusted. Paths are compared as absolute paths
        without symbolic links, URLs as they are written, except for slashes at the end. A repository within a trusted
        one is not trusted.
    manifests: SHA-256 digests, in hexadecimal digits, of the manifests of trusted versions. A manifest states the digest
        of every other file. The prefix "sha256:" is optional.
    signing: which models must be signed, and by whom.
    modules: names of modules, and of packages with all of their modules, that versions may name instead of holding code.
        Neither a repository, nor a digest, nor a signature replaces an entry here: the code is not part of the version.
    """

    repositories: frozenset[str] = frozenset()
    manifests: frozenset[str] = frozenset()
    signing: SigningPolicy = field(default_factory=SigningPolicy)
    modules: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        object.__setattr__(self, "repositories", frozenset(map(normalise_repository, self.repositories)))
        digests = (digest.lower().removeprefix(_DIGEST_PREFIX) for digest in self.manifests)
        object.__setattr__(self, "manifests", frozenset(digests))

    def admit(
        self, manifest: Manifest, *, repository: str, manifest_sha256: str, place: str, read_signature: ReadSignature
    ) -> SignatureVerdict:
        """Return the verdict on a version that may be loaded. The signature is read only if a rule asks for one.

        The verdict is about these digests: a reader that verifies files against this manifest loads what was signed, also if
        files change meanwhile.

        Raises ModelError(kind="signature") for a version without a signature that counts, under the policy "enforce";
        like `check` for code.
        """
        verdict = self.inspect(
            manifest, repository=repository, manifest_sha256=manifest_sha256, read_signature=read_signature
        )
        if verdict.is_refused:
            raise refusal(verdict, place)
        if verdict.state not in (SignatureState.VALID, SignatureState.NOT_CHECKED):
            log.warning("%s: %s; the policy in trust.signatures is warn", place, verdict.reason)
        if manifest.backend == MODULE_BACKEND:
            self._check_module(manifest, place)
        elif not verdict.allows_code:
            self.check(manifest.backend, repository=repository, manifest_sha256=manifest_sha256, place=place)
        return verdict

    def inspect(
        self, manifest: Manifest, *, repository: str, manifest_sha256: str, read_signature: ReadSignature
    ) -> SignatureVerdict:
        """Return the verdict on the signature of a version, whether it may be loaded or not."""
        rule = self.signing.rule_of(repository, manifest.name)
        bundle = None if rule.policy is Policy.OFF else read_signature()
        return self.signing.check(rule, bundle, signed_files(manifest, manifest_sha256))

    def _check_module(self, manifest: Manifest, place: str) -> None:
        """Raise ModelError(kind="untrusted") if the version names a module that is not listed. Imports nothing."""
        named = read_user_module(manifest.params, place)
        if named.is_in(self.modules):
            return
        raise ModelError(
            f"{place}: the model is {named.name} in the module {named.module}, which the trust policy does not list",
            kind="untrusted",
            remedy=f'if workers may import this module, add "{named.module}" to trust.modules',
        )

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


TRUST_NOTHING: Final = TrustPolicy()
