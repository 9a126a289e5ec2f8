"""The checks of a version before it is proposed."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from forebay.models.artefacts.window_input import Aggregate, WindowInput
from forebay.schemas.errors import ConfigError, ModelError
from forebay.stream.cli.models_rollout_change import checked_target
from forebay.stream.cli.models_rollout_target import check_target, find_served_model, require_rollouts, split_target
from forebay.stream.config.sections import Settings
from tests.cli.revisions import configured, with_canary
from tests.models.build import make_net, make_signature, make_standardise, publish
from tests.models.own_code import manifest_digest, publish_function

MODEL = "fraud"


def settings(repository: Path, **more: Any) -> Settings:
    return Settings.model_validate({"model": {"repository": str(repository), "name": MODEL}} | more)


def test_an_alias_is_resolved_to_version_and_digest(tmp_path: Path) -> None:
    version = publish(tmp_path, MODEL)
    target = check_target(settings(tmp_path), MODEL, 1)
    assert (target.version, target.sha256, target.requested) == (1, manifest_digest(version), "fraud@1")


def test_models_that_take_windows_are_refused(tmp_path: Path) -> None:
    window = WindowInput(aggregates=(Aggregate("mean", 1),))
    signature = replace(make_signature(), window=window)
    publish(tmp_path, MODEL, signature=signature, net=make_net(1), preprocessing=make_standardise(1))
    with pytest.raises(ConfigError, match="fraud@1 takes windows of events") as caught:
        check_target(settings(tmp_path), MODEL, 1)
    assert caught.value.kind == "rollout_of_windows"


def test_code_of_its_own_must_be_trusted(tmp_path: Path) -> None:
    repository = tmp_path / "models"
    version = publish_function(repository, name=MODEL)
    with pytest.raises(ModelError, match="trust policy does not allow"):
        check_target(settings(repository), MODEL, 1)
    trust = {"manifests": [f"sha256:{manifest_digest(version)}"]}
    assert check_target(settings(repository, trust=trust), MODEL, 1).version == 1


def test_a_version_that_was_changed_after_a_revision_named_it_is_refused(tmp_path: Path) -> None:
    for _ in range(4):
        publish(tmp_path, MODEL)
    with pytest.raises(ModelError, match="was changed after it was published"):
        checked_target(settings(tmp_path), MODEL, 4, with_canary())
    assert checked_target(settings(tmp_path), MODEL, 4, configured())[1] is None


def test_a_repository_that_cannot_be_read_does_not_stop_a_rollback_to_a_known_digest(tmp_path: Path) -> None:
    publish(tmp_path, MODEL)
    manifest = tmp_path / MODEL / "1" / "manifest.json"
    known = with_canary(1, digests={1: manifest_digest(manifest.parent)})
    manifest.unlink()
    manifest.mkdir()
    target, note = checked_target(settings(tmp_path), MODEL, 1, known)
    assert (
        target.sha256 == known.digests[1] and note is not None and "the digest that revision 1 states is used" in note
    )
    with pytest.raises(ModelError):
        checked_target(settings(tmp_path), MODEL, 1, configured())


def test_a_manifest_that_is_wrong_is_refused(tmp_path: Path) -> None:
    manifest = publish(tmp_path, MODEL) / "manifest.json"
    document = json.loads(manifest.read_text())
    del document["signature"]
    manifest.write_text(json.dumps(document))
    with pytest.raises(ModelError, match="signature"):
        checked_target(settings(tmp_path), MODEL, 1, with_canary(1))


def test_a_model_must_be_served_and_rollouts_enabled(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="does not serve a model 'fruad'") as caught:
        find_served_model(settings(tmp_path), "fruad")
    assert caught.value.remedy == "did you mean 'fraud'?"
    with pytest.raises(ConfigError, match="rollouts are disabled"):
        require_rollouts(settings(tmp_path))
    require_rollouts(settings(tmp_path, rollouts={"enabled": True}))


def test_a_version_is_given_once() -> None:
    assert split_target("fraud", "4") == split_target("fraud@4", None) == ("fraud", 4)
    assert split_target("fraud", "champion") == ("fraud", "champion") and split_target("fraud", None) == ("fraud", None)
    with pytest.raises(ConfigError, match="a second one"):
        split_target("fraud@4", "4")
    for version in ("0", "-1", "01", "1000000000"):
        with pytest.raises(ConfigError, match="is not possible"):
            split_target("fraud", version)
    with pytest.raises(ModelError):
        split_target("fraud", "4@5")
