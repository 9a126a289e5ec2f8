"""forebay.toml as the chart writes it, loaded by Forebay itself."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from forebay.stream.admin.hosts import AllowedHosts
from forebay.stream.cli import main
from forebay.stream.config.load import LoadedSettings, load_settings
from forebay.stream.config.sections import Settings, section_types
from forebay.stream.config.values import is_secret
from tests.chart.render import CASES, Helm, Objects, Refused, containers, environment

MOUNTS = "/etc/forebay"


def settings_of(objects: Objects, folder: Path) -> LoadedSettings:
    """Return the settings that the worker would load in its pod, whose mounted files are under `folder`."""
    spec = objects.worker()["spec"]["template"]["spec"]
    (worker,) = [one for one in containers(spec) if one["name"] == "worker"]
    environ = environment(worker, objects, "forebay-0")
    assert environ["FOREBAY_CONFIG"] == f"{MOUNTS}/forebay.toml"
    for volume in spec["volumes"]:
        mounted = [one for one in worker["volumeMounts"] if one["name"] == volume["name"]]
        if "secret" in volume and mounted:
            place = folder / Path(mounted[0]["mountPath"]).relative_to(MOUNTS)
            place.mkdir()
            own = [one for one in objects if one["kind"] == "Secret"]
            data = own[0]["data"] if own else {}
            # The usual contents of a Secret from outside the chart.
            for key in data or ("ca.crt", "tls.crt", "tls.key"):
                (place / key).write_bytes(base64.b64decode(data.get(key, "")))
    path = folder / "forebay.toml"
    path.write_text(objects.toml().replace(MOUNTS, str(folder)))
    return load_settings(path, {name: value for name, value in environ.items() if name.startswith("FOREBAY_")})


@pytest.mark.parametrize("case", CASES)
def test_it_is_accepted(case: str, helm: Helm, tmp_path: Path) -> None:
    settings = settings_of(helm.objects(case), tmp_path).settings
    # What every pod depends on: the address of the probes, the folder of the models, its own transactional id.
    assert (settings.admin.host, settings.admin.port, settings.admin.port_retries) == ("0.0.0.0", 8080, 0)
    assert settings.model.repository == "/models"
    assert settings.delivery.instance_id == "streams.forebay-0"
    assert settings.kafka.group_instance_id == (None if case == "deployment" else "streams.forebay-0")


def test_forebay_check_accepts_it(helm: Helm, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "forebay.toml"
    path.write_text(helm.objects("minimal", "kafka.bootstrapServers=127.0.0.1:1").toml())
    assert main(["check", "-c", str(path), "--json", "--timeout-s", "0.2"]) == 1  # there is no broker
    checks = {one["name"]: one["status"] for one in json.loads(capsys.readouterr().out)["checks"]}
    assert checks["configuration"] == "ok" and checks["broker"] == "failed"


def test_login_and_encryption(helm: Helm, tmp_path: Path) -> None:
    settings = settings_of(helm.objects("sasl-tls"), tmp_path).settings
    kafka = settings.kafka
    assert (kafka.security_protocol, kafka.sasl_mechanism, kafka.sasl_username) == (
        "SASL_SSL",
        "SCRAM-SHA-512",
        "forebay",
    )
    assert kafka.sasl_password is not None and kafka.sasl_password.get_secret_value() == "a: 'secret'"
    assert settings.admin.token is not None and settings.admin.token.get_secret_value() == "token-1"
    assert kafka.ssl_cafile and kafka.ssl_certfile and kafka.ssl_keyfile
    assert Path(kafka.ssl_keyfile).read_text() == "-----BEGIN PRIVATE KEY-----\nkey\n"


def test_login_by_reference(helm: Helm, tmp_path: Path) -> None:
    kafka = settings_of(helm.objects("keda-kafka"), tmp_path).settings.kafka
    assert kafka.sasl_username == "kafka-user/username"
    assert kafka.sasl_password is not None and kafka.sasl_password.get_secret_value() == "kafka-user/password"
    assert kafka.ssl_certfile is None and kafka.ssl_check_hostname


def test_mutual_tls_by_reference(helm: Helm, tmp_path: Path) -> None:
    tls = {
        "enabled": True,
        "existingSecret": "tls",
        "certKey": "tls.crt",
        "keyKey": "tls.key",
        "keyPasswordKey": "password",
    }
    kafka = settings_of(helm.objects(values={"kafka.tls": tls | {"checkHostname": False}}), tmp_path).settings.kafka
    assert kafka.security_protocol == "SSL" and not kafka.ssl_check_hostname
    assert kafka.ssl_certfile == str(tmp_path / "kafka-tls/tls.crt")
    assert kafka.ssl_keyfile == str(tmp_path / "kafka-tls/tls.key")
    assert kafka.ssl_password is not None and kafka.ssl_password.get_secret_value() == "tls/password"


def test_a_schema_registry_by_reference(helm: Helm, tmp_path: Path) -> None:
    values: dict[str, object] = {
        "urls": ["https://a:8081", "https://b/apis/ccompat/v7"],
        "auth": {"existingSecret": "registry", "usernameKey": "username", "passwordKey": "password"},
        "tls": {"existingSecret": "tls", "certKey": "tls.crt", "keyKey": "tls.key", "keyPasswordKey": "password"},
    }
    registry = settings_of(helm.objects(values={"schemaRegistry": values}), tmp_path).settings.schema_registry
    assert registry.urls == ("https://a:8081", "https://b/apis/ccompat/v7")
    assert registry.username == "registry/username"
    assert registry.password is not None and registry.password.get_secret_value() == "registry/password"
    assert registry.ssl_cafile == str(tmp_path / "schema-registry-tls/ca.crt")
    assert registry.ssl_certfile == str(tmp_path / "schema-registry-tls/tls.crt")
    assert registry.ssl_keyfile == str(tmp_path / "schema-registry-tls/tls.key")
    assert registry.ssl_password is not None and registry.ssl_password.get_secret_value() == "tls/password"
    values["auth"] = {"existingSecret": "registry", "bearerTokenKey": "token"}
    del values["tls"]
    objects = helm.objects(values={"schemaRegistry": values})
    registry = settings_of(objects, tmp_path).settings.schema_registry
    assert registry.username is None and registry.bearer_token is not None
    assert registry.bearer_token.get_secret_value() == "registry/token"


def test_a_token_by_a_command(helm: Helm, tmp_path: Path) -> None:
    sasl = {"enabled": True, "mechanism": "OAUTHBEARER", "tokenCommand": 'print-token --scope "a b"'}
    kafka = settings_of(helm.objects(values={"kafka.sasl": sasl}), tmp_path).settings.kafka
    assert (kafka.security_protocol, kafka.sasl_oauth_token_command) == ("SASL_PLAINTEXT", 'print-token --scope "a b"')


def test_any_value_is_preserved(helm: Helm, tmp_path: Path) -> None:
    """Texts that need quoting in TOML and YAML, integers that Helm reads as floats, null, and tables."""
    nasty = 'a "b" \\ \n\t # [c] <d>&é→\u2028 {{ .Values }} $(HOME)'
    config = {
        "kafka": {"client_id": nasty, "session_timeout_ms": 1_800_000},
        "limits": {"max_in_flight_bytes": 68_719_476_736, "max_dead_letter_ratio": 1e-07},
        "model": {"version": 999_999_999},
        "input": {"topics": ["a", "b.c"], "from_timestamp": "2026-01-31T00:00:00Z"},
        "batch": {"max_batch_size": None},
        "decision": {"threshold": 0.25, "routes": [{"topic": "high", "label": 1}, {"topic": "b", "label": "x"}]},
        "aggregate": {
            "alerts": [{"name": nasty[:90], "count": 1_000_000}, {"name": "b", "rate": 0.5, "kind": "not_json"}]
        },
    }
    settings = settings_of(helm.objects(values={"config": config}), tmp_path).settings
    assert settings.kafka.client_id == nasty
    assert settings.kafka.session_timeout_ms == 1_800_000
    assert settings.limits.max_in_flight_bytes == 68_719_476_736
    assert settings.limits.max_dead_letter_ratio == 1e-07
    assert settings.model.version == 999_999_999
    assert settings.input.topics == ("a", "b.c") and settings.input.from_timestamp == 1_769_817_600_000
    assert settings.decision.threshold == 0.25
    assert [(route.topic, route.label) for route in settings.decision.routes] == [("high", 1), ("b", "x")]
    assert settings.batch.max_batch_size == Settings().batch.max_batch_size
    assert [(one.name, one.count, one.rate) for one in settings.aggregate.alerts] == [
        (nasty[:90], 1_000_000, None),
        ("b", None, 0.5),
    ]


def test_several_models(helm: Helm, tmp_path: Path) -> None:
    settings = settings_of(helm.objects("models"), tmp_path).settings
    churn, visits = settings.models_to_serve()
    assert (churn.model.name, churn.model.repository, churn.model.device) == ("churn", "/models", "cpu")
    assert (churn.topics, churn.batch.max_queue_delay_ms, churn.window.kind) == (("features",), 5, "none")
    assert (visits.model.name, visits.model.version, visits.topics) == ("visits", 3, ("clicks",))
    assert (visits.batch.max_batch_size, visits.batch.max_queue_delay_ms, visits.window.gap_ms) == (256, 5, 60_000)


@pytest.mark.parametrize(
    "config",
    [
        {"models": [{"name": "a"}]},
        {"models": [{"name": "a", "topics": ["x"]}, {"name": "b", "topics": ["z", "y"]}]},
        {"models": [{"name": "a"}, {"name": "b", "topics": ["features", "y"]}]},
        {"models": [{"name": "a"}], "input": {"topics": ["q", "r", "s"]}},
        {"models": []},
    ],
)
def test_the_chart_and_forebay_derive_the_same_input_topics(
    config: dict[str, object], helm: Helm, tmp_path: Path
) -> None:
    objects = helm.objects("keda-kafka", values={"config": config})
    settings = settings_of(objects, tmp_path).settings
    (scaled,) = [one for one in objects if one["kind"] == "ScaledObject"]
    topics = [trigger["metadata"]["topic"] for trigger in scaled["spec"]["triggers"]]
    assert topics == list(settings.input.topics)
    assert scaled["spec"]["maxReplicaCount"] == len(topics) * settings.topics.partitions


@pytest.mark.parametrize(
    ("topics", "model", "has_test"),
    [
        (["features"], "", True),
        (["clicks", "features"], "", False),
        (["features"], "visits", False),
        (["clicks"], "churn", True),
    ],
)
def test_helm_test_expects_a_prediction_only_from_a_model_without_windows(
    topics: list[str], model: str, has_test: bool, helm: Helm
) -> None:
    visits = {"name": "visits", "topics": ["clicks"], "window": {"kind": "session"}}
    config = {"input": {"topics": topics}, "models": [{"name": "churn"}, visits]}
    objects = helm.objects(values={"config": config, "tests.model": model})
    assert any(one["kind"] == "Pod" for one in objects) is has_test


def test_what_the_chart_takes_for_defaults_are_the_defaults(helm: Helm) -> None:
    """The chart calculates with the defaults of settings that are not given: the grace period and the number of partitions."""
    defaults = Settings()
    pod = helm.objects().worker()["spec"]["template"]["spec"]
    sleep_s = pod["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert pod["terminationGracePeriodSeconds"] == sleep_s + defaults.delivery.drain_timeout_ms // 1000 + 15
    scaler = helm.objects("minimal", "autoscaling.enabled=true").of("HorizontalPodAutoscaler")
    assert scaler["spec"]["maxReplicas"] == defaults.topics.partitions * len(defaults.input.topics)


def test_another_setting_makes_new_pods(helm: Helm) -> None:
    def checksums(*sets: str) -> dict[str, str]:
        annotations = helm.objects("sasl-tls", *sets).worker()["spec"]["template"]["metadata"]["annotations"]
        return {name: value for name, value in annotations.items() if name.startswith("checksum/")}

    before, config, secret = checksums(), checksums("config.log.level=debug"), checksums("kafka.sasl.password=b")
    assert before["checksum/config"] != config["checksum/config"]
    assert before["checksum/secret"] == config["checksum/secret"] != secret["checksum/secret"]
    assert before["checksum/config"] == secret["checksum/config"]


SECRETS = [
    f"{name}.{key}"
    for name, section in section_types().items()
    for key, field in section.model_fields.items()
    if is_secret(field)
]


@pytest.mark.parametrize("key", SECRETS)
def test_no_secret_gets_into_the_config_map(key: str, helm: Helm) -> None:
    with pytest.raises(Refused, match=rf"config\.{key} is set by the chart; use "):
        helm.template("minimal", f"config.{key}=hidden")


def test_the_admin_api_answers_for_the_services_of_the_release_and_for_names_that_are_added(
    helm: Helm, tmp_path: Path
) -> None:
    settings = settings_of(helm.objects("minimal", "config.admin.allowed_hosts={forebay.example}"), tmp_path).settings
    hosts = AllowedHosts(settings.admin.allowed_hosts)
    for host in ("forebay", "forebay.streams", "forebay.streams.svc", "forebay-0.forebay-headless", "forebay.example"):
        assert host in hosts, host
    for host in ("svc", "other.svc", "evil.example", "streams.svc.evil.example"):
        assert host not in hosts, host
