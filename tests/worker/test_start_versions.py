"""The versions with which a worker starts: those of revisions, else the configured ones."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from forebay.models.backends.protocol import Model
from forebay.schemas.errors import ModelError
from forebay.stream.config.models_section import ServedModelSettings
from forebay.stream.config.sections import Settings
from forebay.stream.core.clock import SystemClock
from forebay.stream.rollouts.changes import promote
from forebay.stream.worker.start_versions import load_models, stable_versions
from tests.brokers.resolve import Broker
from tests.conftest import Names
from tests.worker.rollout_workers import NAME, rollout_group

SERVED = Settings.model_validate({"model": {"name": "a", "version": 3}}).models_to_serve()


class Repository:
    """Loads what is not damaged, and records it."""

    def __init__(self, *damaged: int) -> None:
        self.loaded: list[tuple[str, int | None]] = []
        self._damaged = damaged

    def load(self, settings: ServedModelSettings) -> Model:
        self.loaded.append((settings.model.name, settings.model.version))
        if settings.model.version in self._damaged:
            raise ModelError("the SHA-256 differs", kind="digest")
        return cast(Model, SimpleNamespace(name=settings.model.name, version=settings.model.version))


def test_the_stable_version_of_a_revision_is_loaded_instead_of_the_configured_one() -> None:
    repository = Repository()
    (model,) = load_models(SERVED, {"a": 5, "other": 9}, repository.load)
    assert model.version == 5 and repository.loaded == [("a", 5)]
    assert load_models(SERVED, {}, repository.load)[0].version == 3


def test_a_stable_version_that_cannot_be_loaded_is_replaced_by_the_configured_one(caplog: Any) -> None:
    repository = Repository(5)
    (model,) = load_models(SERVED, {"a": 5}, repository.load)
    assert model.version == 3 and repository.loaded == [("a", 5), ("a", 3)]
    assert "version 5 of a, which the current revision makes stable, cannot be loaded" in caplog.text
    with pytest.raises(ModelError):
        load_models(SERVED, {"a": 3}, Repository(3).load)


async def test_the_topic_says_which_versions_are_stable(embedded_broker: Broker, names: Names, tmp_path: Any) -> None:
    async with rollout_group(embedded_broker.bootstrap, names.prefix, tmp_path) as group:
        assert await stable_versions(group.settings, clock=SystemClock()) == {}
        group.publish_version(2)
        await group.propose(lambda current, proposal: promote(current, 2, proposal), 2)
        assert await stable_versions(group.settings, clock=SystemClock()) == {NAME: 2}
