"""The measured configuration: the user's, with the benchmark's own topics, group and model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from forebay.models.artefacts.artefact import read_version
from forebay.models.backends.protocol import RunOptions
from forebay.models.serving.load_gate import load_model
from forebay.stream.bench.setup import (
    MODEL_NAME,
    as_toml,
    bench_settings,
    save_bench_model,
    signature_of,
    worker_environment,
)
from forebay.stream.config.load import load_settings
from forebay.stream.config.sections import Settings, TrustSection

SECRET = 'quote " and \\ and é'
ENVIRON = {
    "FOREBAY_KAFKA__BOOTSTRAP_SERVERS": "broker.example:9092",
    "FOREBAY_KAFKA__SECURITY_PROTOCOL": "SASL_PLAINTEXT",
    "FOREBAY_KAFKA__SASL_MECHANISM": "PLAIN",
    "FOREBAY_KAFKA__SASL_USERNAME": "bench",
    "FOREBAY_KAFKA__SASL_PASSWORD": SECRET,
    "FOREBAY_KAFKA__GROUP_INSTANCE_ID": "pod-0",
    "FOREBAY_BATCH__MAX_BATCH_SIZE": "64",
    "FOREBAY_INPUT__TOPICS": "orders,returns",
    "FOREBAY_INPUT__AUTO_OFFSET_RESET": "latest",
    "FOREBAY_INPUT__FROM_TIMESTAMP": "1000",
    "FOREBAY_TOPICS__REPLICATION_FACTOR": "3",
}


@pytest.fixture
def configured() -> Settings:
    return load_settings(None, ENVIRON).settings


def test_the_users_cluster_keeps_its_connection_settings(configured: Settings, tmp_path: Path) -> None:
    settings = bench_settings(configured, run_id="r1", embedded_servers=None, own_repository=tmp_path)
    assert settings.kafka.bootstrap_servers == "broker.example:9092"
    assert settings.kafka.sasl_username == "bench"
    assert settings.topics.replication_factor == 3
    assert settings.batch.max_batch_size == 64
    # Never the user's own group and topics.
    assert settings.kafka.group_id != configured.kafka.group_id and "r1" in settings.kafka.group_id
    assert settings.kafka.group_instance_id is None
    assert settings.topics.prefix and "r1" in settings.topics.prefix
    assert settings.input.topics == ("features",)
    assert (settings.input.auto_offset_reset, settings.input.from_timestamp) == ("earliest", None)
    assert (settings.model.repository, settings.model.name) == (str(tmp_path), MODEL_NAME)


def test_an_embedded_broker_needs_no_login(configured: Settings, tmp_path: Path) -> None:
    settings = bench_settings(configured, run_id="r1", embedded_servers="127.0.0.1:9", own_repository=tmp_path)
    assert settings.kafka.bootstrap_servers == "127.0.0.1:9"
    assert (settings.kafka.security_protocol, settings.kafka.sasl_password) == ("PLAINTEXT", None)
    assert settings.topics.replication_factor == 1
    assert settings.batch.max_batch_size == 64


def test_the_configured_model_is_found_from_any_folder(configured: Settings) -> None:
    settings = bench_settings(configured, run_id="r1", embedded_servers=None, own_repository=None)
    assert settings.model.name == configured.model.name
    assert settings.model.repository == str(Path.cwd() / configured.model.repository)


def test_of_several_models_the_default_one_is_measured(tmp_path: Path) -> None:
    models = '[{"name": "a", "repository": "/m", "batch": {"max_batch_size": 8}}, {"name": "b", "topics": ["x"]}]'
    configured = load_settings(None, {"FOREBAY_MODELS": models}).settings
    settings = bench_settings(configured, run_id="r1", embedded_servers="127.0.0.1:9", own_repository=None)
    assert (settings.models, settings.model.name, settings.batch.max_batch_size) == ((), "a", 8)
    path = tmp_path / "worker.toml"
    path.write_text(as_toml(settings), encoding="utf-8")
    assert load_settings(path, {}).settings.models_to_serve() == settings.models_to_serve()


def test_the_worker_reads_the_same_settings_and_no_secret_is_in_the_file(configured: Settings, tmp_path: Path) -> None:
    settings = bench_settings(configured, run_id="r1", embedded_servers=None, own_repository=tmp_path)
    file = tmp_path / "forebay.toml"
    file.write_text(as_toml(settings), encoding="utf-8")
    assert "sasl_password" not in file.read_text(encoding="utf-8")
    assert load_settings(file, worker_environment(settings, {})).settings == settings


def test_the_worker_ignores_the_settings_in_the_users_environment(configured: Settings, tmp_path: Path) -> None:
    settings = bench_settings(configured, run_id="r1", embedded_servers="127.0.0.1:9", own_repository=tmp_path)
    file = tmp_path / "forebay.toml"
    file.write_text(as_toml(settings), encoding="utf-8")
    # FOREBAY_LOG too: the bench reads the worker's log.
    environ = worker_environment(settings, {**ENVIRON, "FOREBAY_LOG": "error", "PATH": "/bin"})
    assert environ == {"PATH": "/bin"}
    assert load_settings(file, environ).settings == settings


def test_the_worker_reads_the_same_alert_rules(tmp_path: Path) -> None:
    own = tmp_path / "own.toml"
    own.write_text(
        '[[aggregate.alerts]]\nname = "many \\"errors\\""\nkind = "model_error"\nrate = 0.05\n'
        '[[aggregate.alerts]]\nname = "late"\ncategory = "quality"\ncount = 10\nseverity = "critical"\n',
        encoding="utf-8",
    )
    configured = load_settings(own, {}).settings
    settings = bench_settings(configured, run_id="r1", embedded_servers=None, own_repository=tmp_path)
    file = tmp_path / "forebay.toml"
    file.write_text(as_toml(settings), encoding="utf-8")
    assert [rule.name for rule in settings.aggregate.alerts] == ['many "errors"', "late"]
    assert load_settings(file, {}).settings == settings


@pytest.mark.parametrize("backend", ["torch", "onnx"])
def test_the_benchmark_model_matches_its_description(backend: str, tmp_path: Path) -> None:
    save_bench_model(tmp_path, backend=backend)
    settings = bench_settings(Settings(), run_id="r1", embedded_servers=None, own_repository=tmp_path)
    signature = signature_of(settings.model)
    assert (signature.num_features, signature.output_dim, signature.task) == (32, 2, "multiclass")
    assert read_version(tmp_path, "bench").manifest.backend == backend
    save_bench_model(tmp_path, name="other", backend="torch")
    rows = np.random.default_rng(0).normal(size=(5, 32)).astype(np.float32)
    found, expected = (load_model(tmp_path, name, options=RunOptions()).forward(rows) for name in ("bench", "other"))
    np.testing.assert_allclose(found.values_BO, expected.values_BO, rtol=1e-4, atol=1e-6)


def test_trusted_repositories_are_absolute(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    configured = Settings(trust=TrustSection(repositories=("models", "s3://bucket/models")))
    settings = bench_settings(configured, run_id="r1", embedded_servers=None, own_repository=None)
    assert settings.trust.repositories == (str(tmp_path / "models"), "s3://bucket/models")
