"""The output of `forebay config` and `forebay init`: it can be read again, and contains no secret."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest

from forebay.schemas.errors import ConfigError
from forebay.stream.config.load import load_settings
from forebay.stream.config.paths import SUBSECTIONS
from forebay.stream.config.render import HIDDEN, render_json, render_toml
from forebay.stream.config.sections import Settings, section_types
from forebay.stream.config.template import COMMON_KEYS, DRIFT, EVALUATE, MODELS, ROLLOUTS, template

SECRET = {
    "kafka.security_protocol": "SASL_SSL",
    "kafka.sasl_mechanism": "PLAIN",
    "kafka.sasl_username": 'me "and" [you]',
    "kafka.sasl_password": "hunter2",
}


def test_the_template_loads_and_equals_the_defaults(tmp_path: Path) -> None:
    path = tmp_path / "forebay.toml"
    path.write_text(template(), encoding="utf-8")
    loaded = load_settings(path, {})
    assert loaded.settings == Settings()
    # Check that each key is really read from the file, at its line.
    lines = template().splitlines()
    for section, keys in COMMON_KEYS.items():
        for key in keys:
            origin = loaded.origins[f"{section}.{key}"]
            if origin != "default":
                assert lines[int(origin.rpartition(":")[2]) - 1].startswith(f"{key} = ")
    assert loaded.origins["input.topics"].startswith(str(path))


def test_commented_settings_of_the_template_are_unset_by_default() -> None:
    document = tomllib.loads(template())
    for section, keys in COMMON_KEYS.items():
        for key in keys:
            value = getattr(getattr(Settings(), section), key)
            assert (key in document[section]) == (value is not None)
            assert f"{key} = " in template()


def test_the_template_is_small() -> None:
    assert len(template().splitlines()) <= 120
    assert max(len(line) for line in template().splitlines()) <= 120


def test_the_template_s_example_of_several_models_is_valid(tmp_path: Path) -> None:
    path = tmp_path / "forebay.toml"
    example = [line.removeprefix("# ") for line in MODELS.splitlines()[2:]]
    text = template().replace(MODELS, "\n".join(example) + "\n").replace('name = "default"\n', "")
    path.write_text(text.replace('topics = ["features"]', 'topics = ["features", "clicks"]'), encoding="utf-8")
    fraud, visits = load_settings(path, {}).settings.models_to_serve()
    assert (fraud.model.name, fraud.topics, fraud.window.kind) == ("fraud", ("features",), "none")
    assert (visits.model.name, visits.topics, visits.window.gap_ms) == ("visits", ("clicks",), 60_000)
    assert visits.batch.max_batch_size == 256


def test_the_template_s_example_of_rollouts_is_valid(tmp_path: Path) -> None:
    path = tmp_path / "forebay.toml"
    example = [line.removeprefix("# ") for line in ROLLOUTS.splitlines()[1:]]
    path.write_text(template().replace(ROLLOUTS, "\n".join(example) + "\n"), encoding="utf-8")
    assert load_settings(path, {}).settings.rollouts.enabled


def test_the_template_s_example_of_the_evaluator_is_valid(tmp_path: Path) -> None:
    path = tmp_path / "forebay.toml"
    example = [line.removeprefix("# ") for line in EVALUATE.splitlines()[1:]]
    path.write_text(template().replace(EVALUATE, "\n".join(example) + "\n"), encoding="utf-8")
    assert load_settings(path, {}).settings.evaluate.enabled


def test_the_template_s_example_of_drift_is_valid(tmp_path: Path) -> None:
    path = tmp_path / "forebay.toml"
    example = [line.removeprefix("# ") for line in DRIFT.splitlines()[1:]]
    path.write_text(template().replace(DRIFT, "\n".join(example) + "\n"), encoding="utf-8")
    assert load_settings(path, {}).settings.drift.enabled


def test_every_setting_has_its_description() -> None:
    for section in (*section_types().values(), *SUBSECTIONS.values()):
        for key, field in section.model_fields.items():
            assert field.description, key


def test_printed_settings_can_be_read_again(tmp_path: Path) -> None:
    path = tmp_path / "printed.toml"
    given = {**SECRET, "input.topics": "a,b", "model.version": 3, "input.from_timestamp": 5, "topics.prefix": "x."}
    loaded = load_settings(None, {}, given)
    path.write_text(render_toml(loaded), encoding="utf-8")
    again = load_settings(path, {}, {"kafka.sasl_password": "hunter2"})
    assert again.settings == loaded.settings


def test_secrets_are_hidden_and_origins_shown() -> None:
    loaded = load_settings(None, {"FOREBAY_LOG__LEVEL": "debug"}, SECRET)
    text = render_toml(loaded)
    assert "hunter2" not in text + json.dumps(render_json(loaded)) + repr(loaded)
    assert f'sasl_password = "{HIDDEN}"' in text
    (line,) = [line for line in text.splitlines() if line.startswith("level = ")]
    assert line.endswith("  # environment FOREBAY_LOG__LEVEL")
    assert "# ssl_cafile is not set" in text


def test_only_what_was_changed() -> None:
    loaded = load_settings(None, {}, {"batch.max_batch_size": 7})
    assert render_toml(loaded, only_changed=True) == "[batch]\nmax_batch_size = 7  # command line\n"
    assert render_json(loaded, only_changed=True)["settings"] == {
        "batch": {
            "max_batch_size": {
                "value": 7,
                "origin": "command line",
                "allowed": "a whole number from 1 to 65536",
                "description": "Maximum number of events in one model call.",
            }
        }
    }
    assert render_toml(load_settings(None, {}), only_changed=True) == ""


HOLDING_SECRETS = {
    "aggregate.webhook_url": "https://user:s3cret@hooks.example/services/s3cret?key=s3cret",
    "telemetry.otlp_endpoint": "https://user:s3cret@collector.example:4318/base?key=s3cret",
    "admin.advertised_url": "http://user:s3cret@pod.example:8080",
    "kafka.sasl_oauth_token_command": "/bin/token --client-secret s3cret",
    "kafka.sasl_mechanism": "OAUTHBEARER",
    "kafka.security_protocol": "SASL_PLAINTEXT",
    "schema_registry.urls": "http://a:8081,https://b/api",
    "schema_registry.username": "forebay",
    "schema_registry.password": "s3cret",
}


def test_parts_that_may_be_secrets_are_hidden_and_the_rest_is_shown() -> None:
    loaded = load_settings(None, {}, HOLDING_SECRETS)
    text = render_toml(loaded)
    assert "s3cret" not in text + json.dumps(render_json(loaded)) + repr(loaded)
    assert f'webhook_url = "https://{HIDDEN}@hooks.example/{HIDDEN}"' in text
    assert f'otlp_endpoint = "https://{HIDDEN}@collector.example:4318/base?{HIDDEN}"' in text
    assert f'advertised_url = "http://{HIDDEN}@pod.example:8080"' in text
    assert 'urls = ["http://a:8081", "https://b/api"]' in text
    assert f'sasl_oauth_token_command = "/bin/token {HIDDEN}"' in text


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("aggregate.webhook_url", "hooks.example/s3cret"),
        ("aggregate.webhook_url", "https://user:s3cret@"),
        ("telemetry.otlp_endpoint", "grpc://user:s3cret@collector.example"),
        ("telemetry.otlp_endpoint", "https://user:s3cret@collector.example:99999"),
        ("kafka.sasl_oauth_token_command", "/bin/token 's3cret"),
        ("schema_registry.urls", "http://a:8081,https://user:s3cret@b"),
        ("schema_registry.urls", "http://a:8081/?key=s3cret"),
        ("kafka.sasl_oauth_token_command", "/bin/token s3cret"),  # without its mechanism
    ],
)
def test_the_error_of_a_wrong_value_shows_no_secret(key: str, value: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_settings(None, {}, {key: value})
    report = " ".join([caught.value.message, *caught.value.problems, caught.value.remedy or ""])
    assert key in report
    assert "s3cret" not in report


MODELS_JSON = """[
    {"name": "a", "threads": 2},
    {"name": "b", "topics": ["y"], "batch": {"max_batch_size": 3}, "window": {"kind": "session", "gap_ms": 5}}
]"""


def test_printed_models_can_be_read_again_with_the_same_effect(tmp_path: Path) -> None:
    loaded = load_settings(
        None, {"FOREBAY_MODELS": MODELS_JSON}, {"model.device": "cpu", "batch.max_queue_delay_ms": 9, **SECRET}
    )
    path = tmp_path / "printed.toml"
    for only_changed in (False, True):
        path.write_text(render_toml(loaded, only_changed=only_changed), encoding="utf-8")
        again = load_settings(path, {}, {"kafka.sasl_password": "hunter2"})
        assert again.settings.models_to_serve() == loaded.settings.models_to_serve()
        assert again.settings.input == loaded.settings.input


def test_inherited_values_of_a_model_have_the_origin_of_the_section() -> None:
    loaded = load_settings(
        None, {"FOREBAY_MODELS": MODELS_JSON, "FOREBAY_MODEL__THREADS": "5"}, {"model.device": "cpu"}
    )
    first, second = render_json(loaded)["models"]  # type: ignore[misc]
    shown = {key: (first[key]["value"], first[key]["origin"]) for key in ("name", "version", "device", "threads")}
    assert shown == {
        "name": ("a", "environment FOREBAY_MODELS"),
        "version": (None, "default"),
        "device": ("cpu", "command line"),
        "threads": (2, "environment FOREBAY_MODELS"),
    }
    assert (second["threads"]["value"], second["threads"]["origin"]) == (5, "environment FOREBAY_MODEL__THREADS")
    assert second["batch"]["max_batch_size"]["value"] == 3
    assert second["batch"]["max_batch_bytes"]["origin"] == "default"
    assert second["window"]["gap_ms"]["value"] == 5


def test_only_what_was_changed_of_the_models() -> None:
    loaded = load_settings(None, {"FOREBAY_MODELS": MODELS_JSON})
    origin = "# environment FOREBAY_MODELS"
    assert render_toml(loaded, only_changed=True) == (
        '[input]\ntopics = ["features", "y"]  # topics of [[models]]\n\n'
        f'[[models]]\nname = "a"   {origin}\nthreads = 2  {origin}\n\n'
        f'[[models]]\nname = "b"      {origin}\ntopics = ["y"]  {origin}\n\n'
        f"[models.batch]\nmax_batch_size = 3  {origin}\n\n"
        f'[models.window]\nkind = "session"  {origin}\ngap_ms = 5        {origin}\n'
    )
