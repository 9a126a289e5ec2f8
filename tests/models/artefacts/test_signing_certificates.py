"""Signatures with certificates: which chains count, and OpenSSF's own command as the judge of the format."""

from __future__ import annotations

import base64
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from forebay.models.artefacts.artefact import read_version
from forebay.models.artefacts.signing import read_signature_file, sign_version
from forebay.models.artefacts.signing_certificates import MAX_CERTIFICATES
from forebay.models.artefacts.signing_keys import SigningKey, fingerprint_of, read_private_key
from forebay.models.artefacts.signing_policy import Policy, SignatureRule, SignatureState, SigningPolicy
from forebay.models.artefacts.trust import TrustPolicy
from forebay.schemas.errors import ModelError
from tests.models.artefacts.test_signing import model_signing, no_password
from tests.models.build import publish

__all__ = ["model_signing"]
NOW = datetime(2026, 7, 1, tzinfo=UTC)
Key = ec.EllipticCurvePrivateKey


class Party(NamedTuple):
    """A key with its certificate."""

    key: Key
    certificate: x509.Certificate


def name_of(text: str) -> x509.Name:
    return x509.Name(
        [x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Example"), x509.NameAttribute(NameOID.COMMON_NAME, text)]
    )


def certified(
    name: str,
    issuer: Party | None = None,
    *,
    is_authority: bool = False,
    extensions: tuple[x509.ExtensionType, ...] | None = None,
    days: float = 30,
    key: Key | None = None,
) -> Party:
    """Return a party whose certificate an issuer signed, or itself. extensions: besides basicConstraints."""
    key = key or ec.generate_private_key(ec.SECP256R1())
    by = issuer or Party(key, None)  # type: ignore[arg-type]
    builder = (
        x509.CertificateBuilder()
        .subject_name(name_of(name))
        .issuer_name(name_of(name) if issuer is None else issuer.certificate.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW - timedelta(days=1))
        .not_valid_after(NOW + timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
    )
    usage = x509.KeyUsage(not is_authority, False, False, False, False, is_authority, is_authority, False, False)
    for extension in (usage,) if extensions is None else extensions:
        builder = builder.add_extension(extension, critical=True)
    return Party(key, builder.sign(by.key, SHA256()))


def write(folder: Path, name: str, *parties: Party) -> str:
    (folder / name).write_bytes(b"".join(party.certificate.public_bytes(Encoding.PEM) for party in parties))
    return str(folder / name)


def sign(folder: Path, *chain: Party) -> None:
    """Sign version 1 with the key and the chain of the first party."""
    pem = chain[0].key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (folder / "leaf.key").write_bytes(pem)
    key = read_private_key(str(folder / "leaf.key"), no_password)
    sign_version(read_version(folder, "delays", 1), key, certificates=write(folder, "leaf.crt", *chain), replace=True)


def state(folder: Path, *keys: SigningKey, now: datetime = NOW) -> tuple[SignatureState, str]:
    """Return what a policy makes of version 1."""
    rule = SignatureRule(Policy.ENFORCE)
    stored = read_version(folder, "delays", 1)
    verdict = TrustPolicy(signing=SigningPolicy([rule], keys, lambda: now)).inspect(
        stored.manifest,
        repository=str(folder),
        manifest_sha256=stored.manifest_sha256,
        read_signature=lambda: read_signature_file(folder, "delays", 1),
    )
    return verdict.state, verdict.text


@pytest.fixture(scope="module")
def root() -> Party:
    return certified("root", is_authority=True)


@pytest.fixture(scope="module")
def between(root: Party) -> Party:
    return certified("between", root, is_authority=True)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    publish(tmp_path)
    return tmp_path


@pytest.fixture
def trusted(folder: Path, root: Party) -> SigningKey:
    return SigningKey("company", authority=write(folder, "ca.pem", root))


def test_a_chain_to_the_authority_counts_until_the_certificate_expires(
    folder: Path, trusted: SigningKey, between: Party
) -> None:
    leaf = certified("release", between)
    sign(folder, leaf, between)
    assert state(folder, trusted) == (SignatureState.VALID, "valid, by company")
    assert state(folder, trusted, now=NOW + timedelta(days=31))[0] is SignatureState.EXPIRED
    assert state(folder, trusted, now=NOW - timedelta(days=2))[0] is SignatureState.UNKNOWN_KEY
    assert state(folder, replace(trusted, not_after=NOW))[0] is SignatureState.EXPIRED
    assert state(folder, replace(trusted, subject="CN=release,O=Example"))[0] is SignatureState.VALID
    assert state(folder, replace(trusted, subject="CN=other,O=Example"))[0] is SignatureState.UNKNOWN_KEY
    stolen = SigningKey("stolen", fingerprint=fingerprint_of(leaf.key.public_key()), revoked="stolen")
    assert state(folder, trusted, stolen)[0] is SignatureState.REVOKED
    (folder / "delays/1/manifest.json").write_bytes((folder / "delays/1/manifest.json").read_bytes() + b" ")
    assert state(folder, trusted)[0] is SignatureState.INVALID


def test_a_certificate_for_code_signing_counts(folder: Path, trusted: SigningKey, root: Party) -> None:
    sign(folder, certified("release", root, extensions=(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING]),)))
    assert state(folder, trusted)[0] is SignatureState.VALID


def test_chains_that_lead_elsewhere_do_not_count(
    folder: Path, trusted: SigningKey, root: Party, between: Party
) -> None:
    other_root = certified("root", is_authority=True)
    servers = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
    signing = x509.KeyUsage(True, False, False, False, False, False, False, False, False)
    certifying = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
    of_servers = certified("servers", root, is_authority=True, extensions=(certifying, servers))
    no_signing = x509.KeyUsage(False, True, False, False, False, False, False, False, False)
    no_authority = certified("leaf", root)
    cannot_certify = certified("almost", root, is_authority=True, extensions=(no_signing,))
    expired = certified("expired", root, is_authority=True, days=-0.5)
    chains = {
        "another authority of the same name": (certified("release", other_root),),
        "signed by itself": (certified("release"),),
        "the certificate between is missing": (certified("release", between),),
        "issued by a certificate for signatures": (certified("release", no_authority), no_authority),
        "issued by what may not certify": (certified("release", cannot_certify), cannot_certify),
        "issued by an authority that has expired": (certified("release", expired), expired),
        "for servers": (certified("release", root, extensions=(servers,)),),
        "for signatures of servers": (certified("release", root, extensions=(signing, servers)),),
        "issued by an authority for servers": (certified("release", of_servers), of_servers),
        "for nothing that is stated": (certified("release", root, extensions=()),),
        "for encryption": (certified("release", root, extensions=(no_signing,)),),
        "the authority itself": (root,),
    }
    for reason, chain in chains.items():
        sign(folder, *chain)
        found, text = state(folder, trusted)
        assert found is SignatureState.UNKNOWN_KEY, reason
        assert "; for company, " in text


def test_a_key_of_a_file_counts_with_and_without_a_certificate(folder: Path, root: Party) -> None:
    leaf = certified("release", root)
    sign(folder, leaf)
    public = folder / "leaf.pem"
    public.write_bytes(leaf.key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    assert state(folder, SigningKey("release", str(public)))[0] is SignatureState.VALID


def test_what_is_no_chain_is_not_a_signature(folder: Path, trusted: SigningKey, root: Party) -> None:
    leaf = certified("release", root)
    with pytest.raises(ModelError, match="9 certificates; allowed are 1 to 8"):
        sign(folder, leaf, *[root] * MAX_CERTIFICATES)
    with pytest.raises(ModelError, match="not that of the key"):
        sign(folder, Party(ec.generate_private_key(ec.SECP256R1()), leaf.certificate))
    (folder / "text.crt").write_text("no certificate")
    key = read_private_key(str(folder / "leaf.key"), no_password)
    for file, words in (("text.crt", "these are not certificates"), ("none.crt", "cannot be read")):
        with pytest.raises(ModelError, match=words):
            sign_version(read_version(folder, "delays", 1), key, certificates=str(folder / file))
    sign(folder, leaf)
    file = folder / "delays/1/model.sig"
    signed = file.read_text()
    start = signed.index('"rawBytes": "') + len('"rawBytes": "')
    file.write_text(signed[:start] + "AAAA" + signed[start:])
    assert "a certificate cannot be read" in state(folder, trusted)[1]
    der = leaf.certificate.public_bytes(Encoding.DER)
    unknown_version = base64.b64encode(der.replace(b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x07", 1)).decode()
    file.write_text(signed.replace(base64.b64encode(der).decode(), unknown_version))
    assert "a certificate cannot be read" in state(folder, trusted)[1]
    rsa_key = rsa.generate_private_key(65537, 2048)
    with pytest.raises(ModelError, match="has no elliptic curve key"):
        sign(folder, Party(leaf.key, certified("rsa", root, key=rsa_key).certificate))  # type: ignore[arg-type]


def test_without_the_package_the_extra_is_named(
    folder: Path, trusted: SigningKey, root: Party, monkeypatch: pytest.MonkeyPatch
) -> None:
    sign(folder, certified("release", root))
    monkeypatch.setitem(sys.modules, "cryptography", None)
    with pytest.raises(ModelError, match="need the package cryptography"):
        state(folder, trusted)


@pytest.mark.long
@pytest.mark.timeout(600)
def test_the_command_of_model_signing_verifies_certificates_and_we_its(
    folder: Path, trusted: SigningKey, between: Party, root: Party, model_signing: Path
) -> None:
    leaf = certified("release", between)
    sign(folder, leaf, between)
    version, chain = folder / "delays/1", write(folder, "between.pem", between)

    def run(action: str, *options: str) -> None:
        command = [model_signing, action, "certificate", version, "--signature", version / "model.sig", *options]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr

    run("verify", "--certificate_chain", write(folder, "root.pem", root))
    (version / "model.sig").unlink()
    leaf_files = ["--private_key", str(folder / "leaf.key"), "--signing_certificate", write(folder, "leaf.crt", leaf)]
    run("sign", *leaf_files, "--certificate_chain", chain)
    assert state(folder, trusted)[0] is SignatureState.VALID
