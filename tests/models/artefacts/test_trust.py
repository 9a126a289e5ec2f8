"""The trust policy: which repositories and manifests it allows to bring code."""

from __future__ import annotations

from pathlib import Path

import pytest

from forebay.models.artefacts.trust import TRUST_NOTHING, TrustPolicy, normalise_repository
from forebay.schemas.errors import ModelError

DIGEST = "ab" * 32


def allows(policy: TrustPolicy, repository: object, digest: str = DIGEST, backend: str = "python") -> bool:
    try:
        policy.check(backend, repository=str(repository), manifest_sha256=digest, place="m/manifest.json")
    except ModelError as error:
        assert error.kind == "untrusted"
        return False
    return True


def trusting(*repositories: object) -> TrustPolicy:
    return TrustPolicy(frozenset(map(str, repositories)))


def test_nothing_is_trusted_by_default(tmp_path: Path) -> None:
    assert not allows(TRUST_NOTHING, tmp_path)
    assert allows(TRUST_NOTHING, tmp_path, backend="torch")


def test_the_refusal_names_both_remedies(tmp_path: Path) -> None:
    with pytest.raises(ModelError) as raised:
        TRUST_NOTHING.check("python", repository=str(tmp_path), manifest_sha256=DIGEST, place="m/manifest.json")
    assert raised.value.message.startswith("m/manifest.json: the backend python runs code that the model brings")
    remedy = raised.value.remedy or ""
    assert f'add "sha256:{DIGEST}" to trust.manifests' in remedy
    assert f'add "{tmp_path.resolve()}" to trust.repositories' in remedy


@pytest.mark.parametrize("written", [DIGEST, DIGEST.upper(), f"sha256:{DIGEST}"])
def test_a_digest_is_trusted_in_every_notation(tmp_path: Path, written: str) -> None:
    policy = TrustPolicy(manifests=frozenset({written}))
    assert allows(policy, tmp_path)
    assert not allows(policy, tmp_path, "ab" * 31 + "ac")
    assert not allows(policy, tmp_path, "")


def test_a_path_is_trusted_in_every_notation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    models, other = tmp_path / "models", tmp_path / "other"
    for folder in (models, other, models / "inner"):
        folder.mkdir()
    (tmp_path / "link").symlink_to(models)
    monkeypatch.chdir(other)
    notations = (
        models,
        f"{models}/",
        f"{models}//",
        f"{other}/../models",
        "../models",
        tmp_path / "link",
        f"file://{models}",
    )
    for trusted in notations:
        for found in notations:
            assert allows(trusting(trusted), found), (trusted, found)


def test_a_path_that_only_looks_like_a_trusted_one_is_not_trusted(tmp_path: Path) -> None:
    models, other = tmp_path / "models", tmp_path / "other"
    for folder in (models, other, models / "inner"):
        folder.mkdir()
    (models / "link").symlink_to(other)
    for found in (f"{models}/../other", models / "link", models / "inner", tmp_path, f"{models}2", "models", "", "/"):
        assert not allows(trusting(models), found), found
    # `..` follows the link first, as opening the path does.
    assert not allows(trusting(models), f"{models}/link/../../models/link")
    assert not allows(trusting(f"s3://bucket{models}"), models)


@pytest.mark.parametrize(
    "found", ["s3://bucket/models/inner", "s3://bucket/models2", "s3://bucket/models/../models", "gs://bucket/models",
              "s3://bucket/Models", "s3://other/models", "s3://bucket/models%2f", "s3://bucket/models?versionId=1"],
)  # fmt: skip
def test_a_url_is_compared_as_it_is_written(found: str) -> None:
    assert allows(trusting("s3://bucket/models/"), "s3://bucket/models")
    assert allows(trusting("s3://bucket/models"), "s3://bucket/models//")
    assert not allows(trusting("s3://bucket/models"), found)


def test_a_link_to_itself_can_be_compared(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    assert normalise_repository(str(tmp_path / "loop")) != normalise_repository(str(tmp_path))


def test_a_file_url_is_compared_as_the_path_that_is_read(tmp_path: Path) -> None:
    spaced, literal = tmp_path / "my models", tmp_path / "my%20models"
    policy = trusting(f"file://{tmp_path}/my%20models")
    assert allows(policy, spaced) and not allows(policy, literal)
