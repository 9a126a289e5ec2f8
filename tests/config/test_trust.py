"""The section [trust]: lists of repositories and digests, empty by default."""

from __future__ import annotations

from pathlib import Path

import pytest

from forebay.schemas.errors import ConfigError
from forebay.stream.config.load import load_settings
from forebay.stream.config.render import render_toml
from forebay.stream.config.sections import TrustSection
from forebay.stream.inference.loading import trust_policy

DIGEST = "0123456789abcdef" * 4


def test_nothing_is_trusted_by_default() -> None:
    section = load_settings(None, {}).settings.trust
    assert (section.repositories, section.manifests) == ((), ())
    assert trust_policy(section).repositories == trust_policy(section).manifests == frozenset()
    assert "[trust]\nrepositories = []" in render_toml(load_settings(None, {}))


def test_it_is_read_from_the_file_and_from_the_environment(tmp_path: Path) -> None:
    file = tmp_path / "forebay.toml"
    file.write_text(f'[trust]\nrepositories = ["models", "s3://b/m"]\nmanifests = ["sha256:{DIGEST}"]\n')
    settings = load_settings(file, {}).settings
    assert settings.trust.repositories == ("models", "s3://b/m")
    assert trust_policy(settings.trust).manifests == {DIGEST}
    environ = {"FOREBAY_TRUST__REPOSITORIES": "", "FOREBAY_TRUST__MANIFESTS": f"{DIGEST},{DIGEST.upper()}"}
    section = load_settings(file, environ).settings.trust
    assert section.repositories == () and len(section.manifests) == 2
    assert trust_policy(section).manifests == {DIGEST}


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        ("manifests", [DIGEST[:-1]], "is not a SHA-256 digest"),
        ("manifests", [f"sha512:{DIGEST}"], "is not a SHA-256 digest"),
        ("manifests", [DIGEST + "\n"], "is not a SHA-256 digest"),
        ("manifests", ["*"], "is not a SHA-256 digest"),
        ("manifests", [1], "a list of SHA-256 digests"),
        ("repositories", ["models", " "], "an entry is empty"),
        ("repositories", [True], "a list of paths or URLs"),
    ],
)
def test_a_wrong_entry_is_refused(key: str, value: list[object], reason: str) -> None:
    with pytest.raises(ConfigError) as raised:
        load_settings(None, {}, {f"trust.{key}": value})
    (problem,) = raised.value.problems
    assert problem.startswith(f"trust.{key} = ") and reason in problem


def test_a_repository_is_compared_by_its_resolved_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert trust_policy(TrustSection(repositories=("models/",))).repositories == {str(tmp_path / "models")}
