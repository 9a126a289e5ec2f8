"""The signing policy: by whom models must be signed, and what a model gets that is not."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Final, NamedTuple

from forebay.models.artefacts.location import normalise_repository
from forebay.models.artefacts.signed_bundle import BundleError, SignedBundle, read_bundle, verify_bundle
from forebay.models.artefacts.signing_certificates import CertifiedKey, ChainError, certified_key, read_certificates
from forebay.models.artefacts.signing_keys import (
    SigningKey,
    fingerprint_of,
    normalise_fingerprint,
    read_public_key,
    require_cryptography,
)
from forebay.schemas.errors import ModelError


class Policy(StrEnum):
    """What a model gets without a signature that counts. WARN: it is loaded, and a warning is logged."""

    OFF = "off"
    WARN = "warn"
    ENFORCE = "enforce"


class SignatureState(StrEnum):
    """What is known about the signature of a version.

    NOT_CHECKED: the policy is off.
    INVALID: the file is not a signature, or one of other files, or not by the key that it names.
    """

    VALID = "valid"
    UNSIGNED = "unsigned"
    INVALID = "invalid"
    UNKNOWN_KEY = "unknown_key"
    REVOKED = "revoked"
    EXPIRED = "expired"
    NOT_CHECKED = "not_checked"


@dataclass(frozen=True, slots=True)
class SignatureRule:
    """A policy for the models that it names.

    repository: path or URL; empty for all.
    model: a pattern of names, such as "churn-*".
    keys: names of the keys that count; none for all.
    allow_code: whether a signed model may run code of its own; only with ENFORCE.
    """

    policy: Policy
    repository: str = ""
    model: str = "*"
    keys: tuple[str, ...] = ()
    allow_code: bool = False

    def covers(self, repository: str, model: str) -> bool:
        """Return whether the rule is about a model."""
        is_here = not self.repository or normalise_repository(self.repository) == normalise_repository(repository)
        return is_here and fnmatchcase(model, self.model)


@dataclass(frozen=True, slots=True)
class SignatureVerdict:
    """The result of a check. key: the name of the key, if it is known; reason: in words, for all states but VALID."""

    state: SignatureState
    policy: Policy
    key: str = ""
    reason: str = ""
    allows_code: bool = False

    @property
    def is_refused(self) -> bool:
        """Whether the model must not be loaded."""
        return self.policy is Policy.ENFORCE and self.state is not SignatureState.VALID

    @property
    def text(self) -> str:
        """The verdict in words, such as "valid, by release"."""
        if self.state is SignatureState.NOT_CHECKED:
            return "not checked: the policy is off"
        return f"valid, by {self.key}" if self.state is SignatureState.VALID else self.reason


NO_RULE: Final = SignatureRule(Policy.OFF)


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class SigningPolicy:
    """Rules and the keys that they name. The first rule that covers a model counts. Models without a rule are not checked.

    now: the present time, with a time zone.
    """

    rules: Sequence[SignatureRule] = ()
    keys: Sequence[SigningKey] = ()
    now: Callable[[], datetime] = _now

    def rule_of(self, repository: str, model: str) -> SignatureRule:
        """Return the first rule that covers a model."""
        return next((rule for rule in self.rules if rule.covers(repository, model)), NO_RULE)

    def check(self, rule: SignatureRule, bundle: bytes | None, files: Mapping[str, str]) -> SignatureVerdict:
        """Return what the rule makes of a version.

        bundle: the content of its signature file; None if it has none.
        files: the digests of its files, as `signed_files` gives them.

        Raises ModelError(kind="signing_key") if a key of the policy cannot be read, or cryptography is not installed.
        """
        if rule.policy is Policy.OFF:
            return SignatureVerdict(SignatureState.NOT_CHECKED, Policy.OFF)
        if bundle is None:
            return SignatureVerdict(SignatureState.UNSIGNED, rule.policy, reason="the version is not signed")
        require_cryptography()
        try:
            signed = read_bundle(bundle)
            state, key, reason = self._judge(rule, signed, files)
        except BundleError as error:
            state, key, reason = SignatureState.INVALID, "", f"the signature is not valid: {error}"
        allows_code = rule.allow_code and rule.policy is Policy.ENFORCE and state is SignatureState.VALID
        return SignatureVerdict(state, rule.policy, key=key, reason=reason, allows_code=allows_code)

    def _judge(
        self, rule: SignatureRule, signed: SignedBundle, files: Mapping[str, str]
    ) -> tuple[SignatureState, str, str]:
        now = self.now()
        signers = [_signer(key, signed, now) for key in self.keys]
        known = [signer for signer in signers if isinstance(signer, _Signer)]
        # A revocation counts wherever it stands, also beside an entry of the same key that is not revoked.
        for key, _ in known:
            if key.revoked:
                return SignatureState.REVOKED, key.name, f"the key {key.name} is revoked: {key.revoked}"
        counting = [signer for signer in known if not rule.keys or signer.key.name in rule.keys]
        if not counting:
            other = f", which is {known[0].key.name} and does not count for this model" if known else ""
            shown = f"sha256:{signed.fingerprint[:64]}"
            why = "".join(f"; {reason}" for reason in signers if isinstance(reason, str))
            return SignatureState.UNKNOWN_KEY, "", f"the version is signed by an unknown key {shown}{other}{why}"
        key, certified = counting[0]
        verify_bundle(signed, read_public_key(key.file) if certified is None else certified.public, files)
        for end, whose in ((key.not_after, "key"), (certified and certified.not_after, "certificate of")):
            if end is not None and now >= end:
                return SignatureState.EXPIRED, key.name, f"the {whose} {key.name} expired on {end.isoformat()}"
        return SignatureState.VALID, key.name, ""


class _Signer(NamedTuple):
    """An entry of the policy that a signature is by. certified: the key of its certificate; None for a key of a file."""

    key: SigningKey
    certified: CertifiedKey | None


def _signer(key: SigningKey, signed: SignedBundle, now: datetime) -> _Signer | str | None:
    """Return an entry of the policy if a signature claims to be by it; else why its certificate does not count, or None."""
    if not key.authority:
        is_it = _fingerprint(key) == normalise_fingerprint(signed.fingerprint)
        return _Signer(key, None) if is_it else None
    authorities = read_certificates(key.authority)
    if not signed.certificates:
        return None
    try:
        certified = certified_key(signed.certificates, authorities, now)
    except ChainError as error:
        return f"for {key.name}, {error}"
    if key.subject not in ("", certified.subject):
        return f"for {key.name}, its subject is {certified.subject}"
    return _Signer(key, certified)


def _fingerprint(key: SigningKey) -> str:
    return fingerprint_of(read_public_key(key.file)) if key.file else normalise_fingerprint(key.fingerprint)


def refusal(verdict: SignatureVerdict, place: str) -> ModelError:
    """Return the error for a model that the signing policy refuses."""
    return ModelError(
        f"{place}: {verdict.reason}, and the policy in trust.signatures is enforce",
        kind="signature",
        remedy="sign the version with a key that counts (`forebay models sign`), or correct trust.keys and trust.signatures",
    )
