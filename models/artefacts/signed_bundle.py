"""Signatures of versions in the format of OpenSSF Model Signing 1.0, which its command `model_signing` reads and writes.

A file holds a Sigstore bundle of version 0.3 with a DSSE envelope, whose payload is an in-toto statement with the SHA-256 of
each file of the version. See https://github.com/ossf/model-signing-spec and
https://github.com/secure-systems-lab/dsse/blob/v1.0.0/protocol.md.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from forebay.models.artefacts.json_object import JsonObject, decode_json
from forebay.models.artefacts.manifest import Manifest
from forebay.models.artefacts.signing_certificates import ChainError, leaf_key
from forebay.models.artefacts.signing_keys import fingerprint_of, hash_of
from forebay.models.artefacts.store import MANIFEST_FILE, SIGNATURE_FILE
from forebay.schemas.errors import ModelError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey, EllipticCurvePublicKey

MAX_BUNDLE_BYTES: Final = 1 << 20

_MEDIA_TYPE: Final = "application/vnd.dev.sigstore.bundle.v0.3+json"
_PAYLOAD_TYPE: Final = "application/vnd.in-toto+json"
_STATEMENT_TYPE: Final = "https://in-toto.io/Statement/v1"
_PREDICATE_TYPE: Final = "https://model_signing/signature/v1.0"
_IGNORED: Final = (SIGNATURE_FILE, ".git", ".gitattributes", ".github", ".gitignore")


class BundleError(Exception):
    """A file is not a signature, or not one of these files by this key. The text says why."""


@dataclass(frozen=True, slots=True)
class SignedBundle:
    """A signature that has been read and not been verified.

    fingerprint: of the key that it claims to be by.
    certificates: in DER, first that of the key; none if it names the key only.
    """

    payload: bytes
    signature: bytes
    fingerprint: str
    certificates: tuple[bytes, ...] = ()


def signed_files(manifest: Manifest, manifest_sha256: str) -> dict[str, str]:
    """Return the SHA-256 of each file of a version that a signature covers: the manifest, and what it lists."""
    return {MANIFEST_FILE: manifest_sha256, **{name: entry.sha256 for name, entry in manifest.files.items()}}


def sign_files(
    files: Mapping[str, str], subject: str, key: EllipticCurvePrivateKey, certificates: Sequence[bytes] = ()
) -> bytes:
    """Return the content of a signature file.

    subject: the version, for people; verification does not depend on it.
    certificates: in DER, first that of the key, then those between it and its authority; none to name the key only.
    """
    from cryptography.hazmat.primitives.asymmetric.ec import ECDSA

    resources = [{"name": name, "algorithm": "sha256", "digest": files[name]} for name in sorted(files)]
    root = hashlib.sha256(b"".join(bytes.fromhex(files[name]) for name in sorted(files))).hexdigest()
    statement = {
        "_type": _STATEMENT_TYPE,
        "subject": [{"name": subject, "digest": {"sha256": root}}],
        "predicateType": _PREDICATE_TYPE,
        "predicate": {
            "serialization": {
                "method": "files",
                "hash_type": "sha256",
                "allow_symlinks": False,
                "ignore_paths": list(_IGNORED),
            },
            "resources": resources,
        },
    }
    payload = json.dumps(statement, indent=2).encode()
    public_key = key.public_key()
    signature = key.sign(_encoded(payload), ECDSA(hash_of(public_key)))
    bundle = {
        "mediaType": _MEDIA_TYPE,
        "verificationMaterial": {**_material(public_key, certificates), "tlogEntries": []},
        "dsseEnvelope": {
            "payload": base64.b64encode(payload).decode(),
            "payloadType": _PAYLOAD_TYPE,
            "signatures": [{"sig": base64.b64encode(signature).decode(), "keyid": ""}],
        },
    }
    return json.dumps(bundle).encode()


def _material(key: EllipticCurvePublicKey, certificates: Sequence[bytes]) -> dict[str, object]:
    if not certificates:
        return {"publicKey": {"hint": fingerprint_of(key)}}
    return {
        "x509CertificateChain": {
            "certificates": [{"rawBytes": base64.b64encode(data).decode()} for data in certificates]
        }
    }


def read_bundle(data: bytes) -> SignedBundle:
    """Return the signature in a file's content. Raises BundleError. Nothing in it may be believed before it is verified."""
    if len(data) > MAX_BUNDLE_BYTES:
        raise BundleError(f"it has more than {MAX_BUNDLE_BYTES} bytes")
    try:
        document = JsonObject(decode_json(data, SIGNATURE_FILE), SIGNATURE_FILE)
        document.text("mediaType", (_MEDIA_TYPE,))
        material = document.child("verificationMaterial")
        chain: tuple[bytes, ...] = ()
        if material.has("x509CertificateChain"):
            certificates = material.child("x509CertificateChain").children("certificates")
            chain = tuple(_decoded(certificate.text("rawBytes")) for certificate in certificates)
        elif not material.has("publicKey"):
            raise BundleError("it is by neither a key nor a chain of certificates: identities do not count here")
        envelope = document.child("dsseEnvelope")
        envelope.text("payloadType", (_PAYLOAD_TYPE,))
        signatures = envelope.children("signatures")
        if len(signatures) != 1:
            raise BundleError(f"it has {len(signatures)} signatures in one envelope; allowed is one")
        fingerprint = fingerprint_of(leaf_key(chain)) if chain else material.child("publicKey").text("hint")
        payload, signature = _decoded(envelope.text("payload")), _decoded(signatures[0].text("sig"))
        return SignedBundle(payload, signature, fingerprint, chain)
    except ChainError as error:
        raise BundleError(str(error)) from None
    except ModelError as error:
        raise BundleError(error.message) from None


def verify_bundle(bundle: SignedBundle, key: EllipticCurvePublicKey, files: Mapping[str, str]) -> None:
    """Raise BundleError unless the key signed exactly these files. files: as `signed_files` gives them."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ec import ECDSA

    try:
        key.verify(bundle.signature, _encoded(bundle.payload), ECDSA(hash_of(key)))
    except InvalidSignature:
        raise BundleError("it was not made by the key that it names, or was changed") from None
    signed = _resources(bundle.payload)
    for name in sorted(files.keys() | signed.keys()):
        if name not in signed:
            raise BundleError(f"it does not cover {name}")
        if name not in files:
            raise BundleError(f"it covers the file {name[:128]!r}, which is not part of the version")
        if signed[name] != files[name]:
            raise BundleError(f"it is of another {name}: signed was sha256 {signed[name][:64]}")


def _resources(payload: bytes) -> dict[str, str]:
    """Return the digests in a statement whose signature has been verified."""
    try:
        statement = JsonObject(decode_json(payload, "statement"), "statement")
        statement.text("_type", (_STATEMENT_TYPE,))
        statement.text("predicateType", (_PREDICATE_TYPE,))
        predicate = statement.child("predicate")
        predicate.child("serialization").text("method", ("files",))
        resources = predicate.children("resources")
        found: dict[str, str] = {}
        for resource in resources:
            resource.text("algorithm", ("sha256",))
            name = resource.text("name")
            if name in found:
                raise BundleError(f"it names {name[:128]!r} twice")
            found[name] = resource.text("digest")
        return found
    except ModelError as error:
        raise BundleError(error.message) from None


def _encoded(payload: bytes) -> bytes:
    """Return what is signed: the pre-authentication encoding of DSSE."""
    return b"DSSEv1 %d %s %d %s" % (len(_PAYLOAD_TYPE), _PAYLOAD_TYPE.encode(), len(payload), payload)


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise BundleError("a value is not base64") from None
