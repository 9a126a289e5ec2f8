"""`forebay.load` and `forebay.testing`: events have the outcomes that a worker gives them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import forebay
from forebay import Aggregate, Signature, WindowInput, save_artefact
from forebay.models.artefacts.alias_moves import move_alias
from forebay.schemas.errors import ConfigError, ModelError
from forebay.stream.offline.outcomes import Outcome
from forebay.testing import ManualClock, OfflineWorker, assert_outcomes
from tests.models.build import CREATED_AT, make_net, make_signature, publish, serve

GOOD = {"features": {"f0": 1.0, "f1": 2.0, "f2": 3.0}}


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    publish(folder)
    return folder


def test_a_loaded_model_predicts_as_the_model_itself(repository: Path) -> None:
    model = forebay.load(repository, "delays")
    assert (model.name, model.version, model.signature.num_features) == ("delays", 1, 3)
    (outcome,) = model.predict([GOOD])
    again, as_bytes, as_array = model.predict(
        [[1.0, 2.0, 3.0], json.dumps(GOOD | {"id": "x", "timestamp": 1}).encode(), np.array([1.0, 2, 3])]
    )
    assert outcome.kind == again.kind == "predicted" and outcome.remedy == ""
    assert outcome.prediction["prediction"] == again.prediction["prediction"] == as_array.prediction["prediction"]
    assert (as_bytes.id, as_bytes.index) == ("x", 1)
    assert outcome.prediction["model"] == "delays" and "source" not in outcome.prediction


def test_a_version_can_be_named_by_its_alias(repository: Path) -> None:
    move_alias(repository, "delays", "live", 1, by="test", at=CREATED_AT)
    assert repr(forebay.load(repository, "delays", "live")) == "<forebay model delays@1>"
    with pytest.raises(ModelError, match="there is no alias 'dead'"):
        forebay.load(repository, "delays", "dead")


def test_settings_of_the_environment_do_not_count_for_a_loaded_model(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FOREBAY_BATCH__MAX_BATCH_SIZE", "wrong")
    forebay.load(repository, "delays")
    with pytest.raises(ConfigError):
        forebay.load(repository, "delays", settings={"batch.max_batch_size": 0})


def test_more_events_than_a_micro_batch_holds_keep_their_order(repository: Path) -> None:
    model = forebay.load(repository, "delays", settings={"batch.max_batch_size": 4})
    outcomes = model.predict([GOOD | {"id": f"e{index}"} for index in range(11)])
    assert [(outcome.index, outcome.id) for outcome in outcomes] == [(index, f"e{index}") for index in range(11)]


def test_a_configuration_with_its_mapping_is_tested(repository: Path, tmp_path: Path) -> None:
    config = tmp_path / "forebay.toml"
    config.write_text(
        f'[model]\nrepository = "{repository}"\nname = "delays"\n[input]\ntopics = ["orders"]\n[topics]\nprefix = "shop-"\n'
        '[input.mapping]\nid = "field:order"\ntimestamp = "record"\nfeatures = "values"\n'
    )
    worker = OfflineWorker.from_config(config, clock=ManualClock())
    outcomes = worker.outcomes(
        [
            b'{"order": 7, "values": {"f0": 1, "f1": 2, "f2": 3}}',
            b'{"order": 8, "values": {"f1": "x", "f2": 3}}',
            b"{",
        ],
        topic="orders",
    )
    assert_outcomes(outcomes, predicted=1, wrong_type=1, not_json=1)
    assert outcomes[0].id == "7"


def test_the_clock_decides_about_deadlines(repository: Path) -> None:
    clock = ManualClock(1_000_000)
    worker = OfflineWorker.from_config(
        settings={"model.repository": str(repository), "model.name": "delays"}, environ={}, clock=clock
    )
    event = GOOD | {"deadline_ms": 1_000_500}
    assert_outcomes(worker.outcomes([event]), predicted=1)
    clock.advance(1.0)
    assert_outcomes(worker.outcomes([event]), deadline_exceeded=1)


def test_the_events_of_a_call_are_one_window(tmp_path: Path) -> None:
    window = WindowInput(aggregates=(Aggregate("mean", 0), Aggregate("max", 1)))
    signature = Signature((), (2,), "multiclass", 2, window=window)
    save_artefact(tmp_path, "windows", make_net(2), signature=signature, created_at=CREATED_AT)
    model = forebay.load(tmp_path, "windows", settings={"window.kind": "tumbling", "window.size_ms": 1000})
    (outcome,) = model.predict([[1.0, 2.0], [3.0, 4.0]])
    scores = serve(make_net(2), make_signature(2)).forward(np.array([[2.0, 4.0]], dtype=np.float32))
    assert outcome.prediction["prediction"] == pytest.approx(scores.values_BO[0].tolist())
    (outcome,) = model.predict([[1.0, 2.0], [3.0]])
    assert outcome.kind == "wrong_length" and outcome.message.startswith("event 1 ")


def test_an_assertion_that_fails_names_the_events_and_the_remedy() -> None:
    outcomes = [
        Outcome(0, "a", "predicted"),
        Outcome(1, None, "missing_field", "there is no field 'id'"),
        Outcome(2, "c", "predicted"),
    ]
    assert_outcomes(outcomes, predicted=2, missing_field=1, late=0)
    with pytest.raises(AssertionError) as failed:
        assert_outcomes(outcomes, predicted=3)
    lines = str(failed.value).splitlines()
    assert lines[0] == "expected predicted=3; found missing_field=1, predicted=2"
    assert lines[1] == "  event 1: missing_field: there is no field 'id'" and lines[2].startswith("    hint: ")
    with pytest.raises(AssertionError, match="'rejected' is not a kind of outcome"):
        assert_outcomes(outcomes, rejected=1)
    with pytest.raises(AssertionError, match="expected predicted=1; found no events"):
        assert_outcomes([], predicted=1)
