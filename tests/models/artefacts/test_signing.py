"""Signed versions: what counts, what is refused, and that the format is that of OpenSSF Model Signing."""

from __future__ import annotations

import base64
import json
import logging
import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from fsspec.implementations.memory import MemoryFileSystem

from forebay.models.artefacts.artefact import read_version
from forebay.models.artefacts.export import export_version
from forebay.models.artefacts.signed_bundle import MAX_BUNDLE_BYTES
from forebay.models.artefacts.signing import read_signature_file, sign_version
from forebay.models.artefacts.signing_keys import SigningKey, read_private_key
from forebay.models.artefacts.signing_policy import Policy, SignatureRule, SigningPolicy
from forebay.models.artefacts.trust import TrustPolicy
from forebay.models.backends.protocol import RunOptions
from forebay.models.registration.import_version import import_version
from forebay.models.serving.load_gate import load_model, load_version
from forebay.schemas.errors import ModelError
from tests.models.artefacts.remote import URL
from tests.models.build import make_net, publish
from tests.models.own_code import publish_function, replace_source

NOW = datetime(2026, 11, 29, tzinfo=UTC)
ENFORCE = SignatureRule(Policy.ENFORCE)


def no_password() -> str:
    raise AssertionError("asked for a password")


def make_key(folder: Path, name: str, curve: ec.EllipticCurve | None = None) -> SigningKey:
    """Write NAME.key and NAME.pem."""
    key = ec.generate_private_key(curve or ec.SECP256R1())
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (folder / f"{name}.key").write_bytes(private)
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (folder / f"{name}.pem").write_bytes(public)
    return SigningKey(name, str(folder / f"{name}.pem"))


def sign(repository: Path | str, key: SigningKey, version: int = 1, name: str = "delays", again: bool = False) -> str:
    private = key.file.removesuffix(".pem") + ".key"
    stored = read_version(repository, name, version)
    return sign_version(stored, read_private_key(private, no_password), replace=again).fingerprint


def trusting(*keys: SigningKey, rule: SignatureRule = ENFORCE) -> TrustPolicy:
    return TrustPolicy(signing=SigningPolicy([rule], keys, lambda: NOW))


def load(repository: Path | str, trust: TrustPolicy, version: int = 1, name: str = "delays") -> None:
    load_model(repository, name, version, options=RunOptions(), trust=trust)


def refusal(repository: Path | str, trust: TrustPolicy, version: int = 1, name: str = "delays") -> str:
    with pytest.raises(ModelError) as raised:
        load(repository, trust, version, name)
    assert raised.value.kind == "signature" and raised.value.remedy
    return raised.value.message


@pytest.fixture
def key(tmp_path: Path) -> SigningKey:
    return make_key(tmp_path, "release")


@pytest.fixture
def signed(tmp_path: Path, key: SigningKey) -> Path:
    """A repository with the signed version 1 of delays."""
    publish(tmp_path / "models")
    sign(tmp_path / "models", key)
    return tmp_path / "models"


def test_by_default_nothing_is_checked(tmp_path: Path) -> None:
    folder = publish(tmp_path / "models")
    (folder / "model.sig").write_bytes(b"anything")
    load(tmp_path / "models", TrustPolicy())
    load(tmp_path / "models", trusting(rule=SignatureRule(Policy.OFF)))


@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1()], ids=lambda curve: curve.name)
def test_a_signed_version_is_loaded(tmp_path: Path, curve: ec.EllipticCurve) -> None:
    publish(tmp_path / "models")
    key = make_key(tmp_path, "release", curve)
    sign(tmp_path / "models", key)
    load(tmp_path / "models", trusting(key))


def test_an_unsigned_version_is_refused_or_reported(
    tmp_path: Path, key: SigningKey, caplog: pytest.LogCaptureFixture
) -> None:
    publish(tmp_path / "models")
    assert "the version is not signed" in refusal(tmp_path / "models", trusting(key))
    with caplog.at_level(logging.WARNING, "forebay.repository"):
        load(tmp_path / "models", trusting(key, rule=SignatureRule(Policy.WARN)))
    assert "the version is not signed; the policy in trust.signatures is warn" in caplog.text


def test_several_keys_count_during_a_rotation(signed: Path, tmp_path: Path, key: SigningKey) -> None:
    new, other = make_key(tmp_path, "new"), make_key(tmp_path, "other")
    load(signed, trusting(new, key))
    with pytest.raises(ModelError, match="signed already"):
        sign(signed, new)
    sign(signed, new, again=True)
    load(signed, trusting(key, new))
    assert "signed by an unknown key" in refusal(signed, trusting(key, other))
    only_old = replace(ENFORCE, keys=("release",))
    assert "which is new and does not count for this model" in refusal(signed, trusting(key, new, rule=only_old))


def test_a_revoked_key_does_not_count_and_the_reason_is_shown(signed: Path, key: SigningKey) -> None:
    fingerprint = sign(signed, key, again=True)
    revoked = SigningKey(
        "old laptop", fingerprint=f"SHA256:{fingerprint.upper()}".replace("SHA", "sha"), revoked="stolen"
    )
    assert "the key old laptop is revoked: stolen" in refusal(signed, trusting(key, revoked))
    assert "is revoked: stolen" in refusal(signed, trusting(replace(key, revoked="stolen")))


def test_a_key_counts_until_it_expires(signed: Path, key: SigningKey) -> None:
    load(signed, trusting(replace(key, not_after=NOW + timedelta(seconds=1))))
    assert "the key release expired on 2026-11-29" in refusal(signed, trusting(replace(key, not_after=NOW)))


def test_the_first_rule_that_covers_a_model_counts(signed: Path, tmp_path: Path, key: SigningKey) -> None:
    (tmp_path / "link").symlink_to(signed)
    (signed / "delays" / "1" / "model.sig").unlink()
    scratch = SignatureRule(Policy.OFF, model="scratch-*")
    here = replace(ENFORCE, repository=str(signed))
    policy = TrustPolicy(signing=SigningPolicy([scratch, here, SignatureRule(Policy.OFF)], [key]))
    assert "not signed" in refusal(signed, policy)
    assert "not signed" in refusal(tmp_path / "link", policy)
    assert "not signed" in refusal(f"file://{signed}", policy)
    load(signed, TrustPolicy(signing=SigningPolicy([replace(ENFORCE, model="Delays")], [key])))


def test_a_signature_of_another_model_or_version_does_not_count(signed: Path, key: SigningKey) -> None:
    publish(signed, parent=1, net=make_net(seed=1))
    publish(signed, "prices")
    for moved in ("delays/2", "prices/1"):
        shutil.copy(signed / "delays/1/model.sig", signed / moved)
    assert "it is of another" in refusal(signed, trusting(key), 2)
    assert "it is of another" in refusal(signed, trusting(key), 1, "prices")


def test_an_older_version_under_another_number_is_refused(signed: Path, key: SigningKey) -> None:
    shutil.copytree(signed / "delays/1", signed / "delays/2")
    with pytest.raises(ModelError, match="this is the manifest of delays version 1"):
        load(signed, trusting(key), 2)


def test_files_that_change_after_the_manifest_is_read_are_refused(signed: Path, key: SigningKey) -> None:
    stored = read_version(signed, "delays", 1)
    weights = signed / "delays/1/weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"!")
    with pytest.raises(ModelError) as raised:
        load_version(stored, options=RunOptions(), trust=trusting(key))
    assert raised.value.kind == "digest"


def test_a_changed_manifest_is_refused(signed: Path, key: SigningKey) -> None:
    manifest = signed / "delays/1/manifest.json"
    manifest.write_text(manifest.read_text().replace('"note": "', '"note": "x'))
    assert "it is of another manifest.json" in refusal(signed, trusting(key))


Change = Callable[[dict[str, Any]], None]


def _payload(change: Change) -> Change:
    def apply(bundle: dict[str, Any]) -> None:
        statement = json.loads(base64.b64decode(bundle["dsseEnvelope"]["payload"]))
        change(statement)
        bundle["dsseEnvelope"]["payload"] = base64.b64encode(json.dumps(statement).encode()).decode()

    return apply


CHANGES: dict[str, Change] = {
    "other payload": _payload(lambda statement: statement["predicate"]["resources"].pop()),
    "no signature": lambda bundle: bundle["dsseEnvelope"].update(signatures=[]),
    "two signatures": lambda bundle: bundle["dsseEnvelope"].update(signatures=bundle["dsseEnvelope"]["signatures"] * 2),
    "empty signature": lambda bundle: bundle["dsseEnvelope"]["signatures"][0].update(sig=""),
    "no base64": lambda bundle: bundle["dsseEnvelope"]["signatures"][0].update(sig="é"),
    "other payload type": lambda bundle: bundle["dsseEnvelope"].update(payloadType="text/plain"),
    "other media type": lambda bundle: bundle.update(mediaType="application/json"),
    "certificate": lambda bundle: bundle.update(verificationMaterial={"certificate": {"rawBytes": ""}}),
    "no key": lambda bundle: bundle["verificationMaterial"]["publicKey"].pop("hint"),
    "no envelope": lambda bundle: bundle.pop("dsseEnvelope"),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_a_changed_bundle_is_refused(signed: Path, key: SigningKey, change: Change) -> None:
    file = signed / "delays/1/model.sig"
    bundle = json.loads(file.read_bytes())
    change(bundle)
    file.write_text(json.dumps(bundle))
    assert "the signature is not valid: " in refusal(signed, trusting(key))


@pytest.mark.parametrize("data", [b"", b"{}", b"[" * 100_000, b'{"mediaType": 1, "mediaType": 2}', b"\xff"])
def test_a_file_that_is_no_bundle_is_refused(signed: Path, key: SigningKey, data: bytes) -> None:
    (signed / "delays/1/model.sig").write_bytes(data)
    assert "the signature is not valid: " in refusal(signed, trusting(key))


def test_every_truncated_bundle_is_refused(signed: Path, key: SigningKey) -> None:
    data = read_signature_file(signed, "delays", 1)
    assert data is not None
    stored, policy = read_version(signed, "delays", 1), trusting(key)
    for length in range(0, len(data), 97):
        verdict = policy.inspect(
            stored.manifest,
            repository=str(signed),
            manifest_sha256=stored.manifest_sha256,
            read_signature=lambda length=length: data[:length],  # type: ignore[misc]
        )
        assert verdict.is_refused, length


def test_the_claimed_key_of_a_forged_signature_does_not_make_it_count(
    signed: Path, tmp_path: Path, key: SigningKey
) -> None:
    forger, file = make_key(tmp_path, "forger"), signed / "delays/1/model.sig"
    hint = json.loads(file.read_bytes())["verificationMaterial"]
    sign(signed, forger, again=True)
    bundle = json.loads(file.read_bytes()) | {"verificationMaterial": hint}
    file.write_text(json.dumps(bundle))
    assert "it was not made by the key that it names" in refusal(signed, trusting(key))


def test_a_huge_bundle_a_link_outwards_and_a_pipe_are_refused(signed: Path, tmp_path: Path, key: SigningKey) -> None:
    file = signed / "delays/1/model.sig"
    shutil.copy(file, tmp_path / "outside.sig")
    file.write_bytes(b" " * (MAX_BUNDLE_BYTES + 1))
    with pytest.raises(ModelError, match="allowed are at most"):
        load(signed, trusting(key))
    file.unlink()
    file.symlink_to(tmp_path / "outside.sig")
    with pytest.raises(ModelError, match="leads out of the repository"):
        load(signed, trusting(key))
    file.unlink()
    os.mkfifo(file)
    with pytest.raises(ModelError, match="not a regular file"):
        load(signed, trusting(key))


def test_a_manifest_cannot_list_the_signature(signed: Path) -> None:
    manifest = signed / "delays/1/manifest.json"
    manifest.write_text(manifest.read_text().replace('"weights.safetensors"', '"model.sig"', 1))
    with pytest.raises(ModelError, match=r"not manifest\.json or model\.sig"):
        read_version(signed, "delays", 1)


def test_a_damaged_version_is_not_signed(signed: Path, key: SigningKey) -> None:
    (signed / "delays/1/README.md").write_text("changed")
    with pytest.raises(ModelError) as raised:
        sign(signed, key, again=True)
    assert raised.value.kind == "digest"


def test_an_encrypted_key_asks_for_its_password_and_other_keys_are_refused(signed: Path, tmp_path: Path) -> None:
    stored = read_version(signed, "delays", 1)
    pkcs8 = PrivateFormat.PKCS8
    secret = ec.generate_private_key(ec.SECP256R1()).private_bytes(Encoding.PEM, pkcs8, BestAvailableEncryption(b"pw"))
    (tmp_path / "secret.key").write_bytes(secret)
    sign_version(stored, read_private_key(str(tmp_path / "secret.key"), lambda: "pw"), replace=True)
    wrong = {
        "secret.key": secret,
        "ed.key": ed25519.Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, pkcs8, NoEncryption()),
        "bitcoin.key": ec.generate_private_key(ec.SECP256K1()).private_bytes(Encoding.PEM, pkcs8, NoEncryption()),
        "text.key": b"no key",
    }
    for name, data in wrong.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(ModelError, match=name) as raised:
            read_private_key(str(tmp_path / name), lambda: "no")
        assert raised.value.kind == "signing_key"


def test_a_url_is_signed_and_verified_like_a_folder(tmp_path: Path, memory: MemoryFileSystem, key: SigningKey) -> None:
    publish(URL)
    assert "not signed" in refusal(URL, trusting(key))
    sign(URL, key)
    load(URL, trusting(key, rule=replace(ENFORCE, repository=URL)))


@pytest.mark.parametrize("archive", ["delays.zip", "folder"])
@pytest.mark.parametrize("at", ["folder", "url"])
def test_export_and_import_carry_the_signature(
    signed: Path, tmp_path: Path, memory: MemoryFileSystem, key: SigningKey, archive: str, at: str
) -> None:
    target = str(tmp_path / "other") if at == "folder" else URL
    export_version(read_version(signed, "delays", 1), tmp_path / archive)
    import_version(tmp_path / archive, target, trust=trusting(key))
    load(target, trusting(key))


def test_an_unsigned_archive_is_not_imported(tmp_path: Path, key: SigningKey) -> None:
    publish(tmp_path / "models")
    export_version(read_version(tmp_path / "models", "delays", 1), tmp_path / "delays.zip")
    with pytest.raises(ModelError, match="not signed"):
        import_version(tmp_path / "delays.zip", tmp_path / "other", trust=trusting(key))
    assert not (tmp_path / "other").exists()


def test_a_signature_allows_code_only_where_the_rule_says_so(tmp_path: Path, key: SigningKey) -> None:
    version = publish_function(tmp_path / "models")
    sign(tmp_path / "models", key, name="own")
    with pytest.raises(ModelError) as raised:
        load(tmp_path / "models", trusting(key), name="own")
    assert raised.value.kind == "untrusted"
    allowing = trusting(key, rule=replace(ENFORCE, allow_code=True))
    load(tmp_path / "models", allowing, name="own")
    trusted = replace(trusting(key), repositories=frozenset({str(tmp_path / "models")}))
    replace_source(version, "raise SystemExit")
    for policy in (allowing, trusted):  # code of a trusted repository must be signed too
        assert "it is of another" in refusal(tmp_path / "models", policy, name="own")


@pytest.fixture
def model_signing(tmp_path: Path) -> Path:
    """OpenSSF's own command, in an environment of its own. It imports pyOpenSSL, which it does not declare."""
    environment = tmp_path / "model-signing"
    venv.create(environment, with_pip=False)
    install = [sys.executable, "-m", "pip", "--python", str(environment / "bin/python"), "install", "--quiet"]
    done = subprocess.run([*install, "model-signing==1.1.1", "pyopenssl"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return environment / "bin/model_signing"


@pytest.mark.long
@pytest.mark.timeout(600)
def test_the_command_of_model_signing_verifies_our_signatures_and_we_its(
    signed: Path, key: SigningKey, model_signing: Path
) -> None:
    folder = signed / "delays/1"

    def run(action: str, *options: str) -> None:
        command = [model_signing, action, "key", folder, "--signature", folder / "model.sig", *options]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr

    run("verify", "--public_key", key.file)
    (folder / "model.sig").unlink()
    run("sign", "--private_key", key.file.removesuffix(".pem") + ".key")
    load(signed, trusting(key))
