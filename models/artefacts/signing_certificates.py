"""Certificates of keys that sign models, and their chains to a certificate authority that the trust policy names.

Chains are verified by `cryptography.x509.verification`, which follows RFC 5280, with the extensions of code signing instead
of those of TLS. Neither lists nor servers of revoked certificates are asked: the trust policy revokes by fingerprint.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Final, NamedTuple

from forebay.models.artefacts.signing_keys import read_pem, require_cryptography, signing_public_key
from forebay.schemas.errors import ModelError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
    from cryptography.x509 import Certificate, KeyUsage
    from cryptography.x509.verification import Policy as ChainPolicy

    from forebay.models.artefacts.signing_keys import PrivateKey

MAX_CERTIFICATES: Final = 8
_MAX_INTERMEDIATES: Final = 4
_FOR_CODE: Final = frozenset({"1.3.6.1.5.5.7.3.3", "2.5.29.37.0"})
"""Object identifiers of codeSigning and anyExtendedKeyUsage."""


class ChainError(Exception):
    """A chain of certificates does not show whose key signed. The text says why."""


class CertifiedKey(NamedTuple):
    """The key of a verified certificate.

    subject: name of its owner, as RFC 4514 writes it, such as "CN=release,O=Example".
    not_after: end of its validity.
    """

    public: EllipticCurvePublicKey
    subject: str
    not_after: datetime


def read_certificates(file: str) -> list[Certificate]:
    """Return the certificates in a PEM file, in their order. Raises ModelError(kind="signing_key")."""
    require_cryptography()
    from cryptography.x509 import InvalidVersion, load_pem_x509_certificates

    data = read_pem(file)
    try:
        found = load_pem_x509_certificates(data)
    except (ValueError, InvalidVersion):
        raise _error(f"{file}: these are not certificates in PEM", "openssl x509 -in FILE -outform PEM") from None
    if not 0 < len(found) <= MAX_CERTIFICATES:
        raise _error(
            f"{file}: {len(found)} certificates; allowed are 1 to {MAX_CERTIFICATES}",
            "keep those of the signer and between it and the authority",
        )
    return found


def read_chain(file: str, key: PrivateKey) -> list[bytes]:
    """Return the certificates in a PEM file, in DER. Raises ModelError unless the first is that of the key."""
    from cryptography.hazmat.primitives.serialization import Encoding

    certificates = read_certificates(file)
    try:
        certified = _public_key(certificates[0])
    except ChainError as error:
        raise _error(f"{file}: {error}", "name the certificate of the key") from None
    if certified != key.public_key():
        raise _error(
            f"{file}: the first certificate is not that of the key",
            "name a file with the certificate of the key first, then those between it and the authority",
        )
    return [certificate.public_bytes(Encoding.DER) for certificate in certificates]


def leaf_key(chain: Sequence[bytes]) -> EllipticCurvePublicKey:
    """Return the key of the first certificate of a chain in DER, which has not been verified. Raises ChainError."""
    return _public_key(_decode(chain)[0])


def certified_key(chain: Sequence[bytes], authorities: Sequence[Certificate], now: datetime) -> CertifiedKey:
    """Return the key of the first certificate of a chain that leads to one of the authorities.

    chain: certificates in DER; first that of the signer, then those between it and the authority, in any order.
    now: the present time. A certificate that has expired is judged by its last valid moment: see `CertifiedKey.not_after`.

    Raises ChainError.
    """
    from cryptography.x509 import BasicConstraints
    from cryptography.x509 import KeyUsage as Usage
    from cryptography.x509.verification import Criticality, ExtensionPolicy, PolicyBuilder, Store, VerificationError

    leaf, *between = _decode(chain)
    any_extension = ExtensionPolicy.permit_all()
    of_authorities = any_extension.require_present(BasicConstraints, Criticality.AGNOSTIC, None).require_present(
        Usage, Criticality.AGNOSTIC, _require_cert_sign
    )
    verifier = (
        PolicyBuilder()
        .store(Store(list(authorities)))
        .time(min(now, leaf.not_valid_after_utc))
        .max_chain_depth(_MAX_INTERMEDIATES)
        .extension_policies(ca_policy=of_authorities, ee_policy=any_extension)
        .build_client_verifier()
    )
    try:
        verified = verifier.verify(leaf, between).chain
    except VerificationError as error:
        raise ChainError(f"its certificate does not lead to the authority: {error}") from None
    _require_signing(verified)
    return CertifiedKey(_public_key(leaf), leaf.subject.rfc4514_string(), leaf.not_valid_after_utc)


def _decode(chain: Sequence[bytes]) -> list[Certificate]:
    from cryptography.x509 import InvalidVersion, load_der_x509_certificate

    if not 0 < len(chain) <= MAX_CERTIFICATES:
        raise ChainError(f"it has {len(chain)} certificates; allowed are 1 to {MAX_CERTIFICATES}")
    try:
        return [load_der_x509_certificate(data) for data in chain]
    except (ValueError, InvalidVersion):
        raise ChainError("a certificate cannot be read") from None


def _public_key(certificate: Certificate) -> EllipticCurvePublicKey:
    from cryptography.exceptions import UnsupportedAlgorithm

    try:
        return signing_public_key(certificate.public_key(), "its certificate")
    except (ValueError, UnsupportedAlgorithm, ModelError):
        raise ChainError("its certificate has no elliptic curve key P-256, P-384 or P-521") from None


def _require_cert_sign(_policy: ChainPolicy, _certificate: Certificate, usage: KeyUsage) -> None:
    if not usage.key_cert_sign:
        raise ValueError("keyUsage of an authority must allow it to sign certificates")


def _require_signing(chain: Sequence[Certificate]) -> None:
    """Raise ChainError unless a chain is for signatures of code.

    chain: from the signer to the authority, which may be for anything.

    OpenSSF Model Signing accepts each certificate with the key usage digitalSignature. Those of TLS servers have it, too; so a
    certificate that states purposes must have this one among them.
    """
    leaf, between = chain[0], chain[1:-1]
    usage, purposes = _key_usage(leaf), _purposes(leaf)
    if usage is None and purposes is None:
        raise ChainError(
            "its certificate is not for signatures: it needs the key usage digitalSignature, or codeSigning"
        )
    if usage is not None and not usage.digital_signature:
        raise ChainError("its certificate is not for signatures: its key usage lacks digitalSignature")
    for certificate, stated in ((leaf, purposes), *((each, _purposes(each)) for each in between)):
        if stated is not None and not stated & _FOR_CODE:
            raise ChainError(
                f"the certificate of {certificate.subject.rfc4514_string()} is for other purposes than codeSigning"
            )


def _key_usage(certificate: Certificate) -> KeyUsage | None:
    from cryptography.x509 import ExtensionNotFound
    from cryptography.x509 import KeyUsage as Usage

    try:
        return certificate.extensions.get_extension_for_class(Usage).value
    except ExtensionNotFound:
        return None


def _purposes(certificate: Certificate) -> set[str] | None:
    """Return the object identifiers in extendedKeyUsage; None if there is none, which allows everything."""
    from cryptography.x509 import ExtendedKeyUsage, ExtensionNotFound

    try:
        found = certificate.extensions.get_extension_for_class(ExtendedKeyUsage).value
    except ExtensionNotFound:
        return None
    return {purpose.dotted_string for purpose in found}


def _error(problem: str, remedy: str) -> ModelError:
    return ModelError(problem, kind="signing_key", remedy=remedy)
