"""`forebay models sign` and `verify`, and what other commands say about signatures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from forebay.stream.cli import main
from forebay.stream.cli.check_signatures import check_signatures
from forebay.stream.config.load import load_settings
from forebay.stream.preflight import Status
from tests.models.artefacts.test_signing import make_key
from tests.models.build import publish

POLICY = """
[model]
repository = "models"
name = "delays"
[[trust.keys]]
name = "release"
file = "release.pem"
[[trust.signatures]]
policy = "enforce"
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to run in, with models/, a key, and a configuration that enforces signatures."""
    monkeypatch.chdir(tmp_path)
    publish(tmp_path / "models")
    make_key(tmp_path, "release")
    (tmp_path / "policy.toml").write_text(POLICY)
    return tmp_path


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Any:
    def run(*arguments: str, status: int = 0) -> Any:
        """Run `forebay models`; return its output, decoded if --json is given, or its errors."""
        assert main(["models", *arguments]) == status
        done = capsys.readouterr()
        return json.loads(done.out) if "--json" in arguments else done.out + done.err

    return run


def test_a_version_is_signed_and_verified(run: Any) -> None:
    (before,) = run("verify", "-c", "policy.toml", "--json", status=1)
    assert (before["model"], before["ok"], before["state"]) == ("delays@1", False, "unsigned")
    signed = run("sign", "delays@1", "--key", "release.key", "--json")
    assert (signed["name"], signed["version"]) == ("delays", 1)
    (after,) = run("verify", "-c", "policy.toml", "--json")
    assert (after["ok"], after["state"], after["key"], after["policy"]) == (True, "valid", "release", "enforce")
    assert "delays@1: ok" in run("verify", "delays", "--key", "release.pem")
    assert "forebay models sign" not in run("sign", "delays@1", "--key", "release.key", "--replace")
    assert "signed already" in run("sign", "delays@1", "--key", "release.key", status=1)


def test_a_changed_file_is_not_verified(run: Any, folder: Path) -> None:
    run("sign", "delays@1", "--key", "release.key")
    (folder / "models/delays/1/README.md").write_text("changed")
    (found,) = run("verify", "--key", "release.pem", "--json", status=1)
    assert (found["ok"], found["state"]) == (False, "valid") and "README.md" in found["detail"]


def test_show_says_whether_a_version_is_signed(run: Any) -> None:
    assert run("show", "delays", "--json")["signed"]["present"] is False
    assert "the version is not signed" in run("show", "delays", "-c", "policy.toml")
    run("sign", "delays@1", "--key", "release.key")
    assert "present, not checked: the policy is off" in run("show", "delays")
    assert run("show", "delays", "-c", "policy.toml", "--json")["signed"]["state"] == "valid"


def test_check_says_it_for_each_served_model(run: Any) -> None:
    settings = load_settings(Path("policy.toml"), {}).settings
    (check,) = check_signatures(settings)
    assert check.status is Status.FAILED and "policy enforce: the version is not signed" in check.detail
    run("sign", "delays@1", "--key", "release.key")
    (check,) = check_signatures(settings)
    assert check.status is Status.OK and "valid, by release" in check.detail


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ('[[trust.signatures]]\npolicy = "enforce"', "no key that counts in trust.keys"),
        ('[[trust.signatures]]\npolicy = "off"\nkeys = ["a"]', "the key 'a', which is not in trust.keys"),
        ('[[trust.signatures]]\npolicy = "of"', 'must be "off", "warn" or "enforce"'),
        ('[[trust.signatures]]\npolicy = "off"\nallow_code = true', 'must have policy = "enforce"'),
        ('[[trust.keys]]\nname = "a"', "must have one of file, fingerprint and certificate_authority"),
        ('[[trust.keys]]\nname = "a"\nfingerprint = "abc"', "must be a SHA-256 fingerprint"),
        (f'[[trust.keys]]\nname = "a"\nfingerprint = "{"ab" * 32}"', "a fingerprint only revokes a key"),
        ('[[trust.keys]]\nname = "a"\nfile = "x"\n' * 2, "'a' is present twice"),
    ],
)
def test_a_wrong_policy_is_named(run: Any, folder: Path, table: str, words: str) -> None:
    (folder / "wrong.toml").write_text(table)
    assert words in run("verify", "-c", "wrong.toml", status=2)
