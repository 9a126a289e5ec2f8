"""docker-compose.yml, as far as it can be checked without Docker. test_compose_runs.py tests that it works."""

from __future__ import annotations

import gzip
import json
import os
import re
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from forebay.stream.cli import main
from forebay.stream.config.load import load_settings
from tests.brokers.jars import KAFKA_VERSION
from tests.needed import needed
from tests.packaging.image import ROOT, compose, environment_of, services
from tests.telemetry.promtool import find_promtool

SCHEMA = Path(__file__).parent / "data" / "compose-spec.json.gz"
ALL = compose()["services"]
OURS = {name: service for name, service in ALL.items() if service["image"].startswith("forebay")}


def test_it_is_what_the_specification_allows() -> None:
    schema = json.loads(gzip.decompress(SCHEMA.read_bytes()))
    jsonschema.validators.validator_for(schema)(schema).validate(compose())


@pytest.mark.parametrize("name", ALL)
def test_images_are_pinned(name: str) -> None:
    service = ALL[name]
    repository, _, tag = service["image"].partition(":")
    if name in OURS:
        assert "build" in service and service["image"] == "forebay:compose"
    else:
        assert re.fullmatch(r"v?\d+\.\d+\.\d+", tag), service["image"]
    if repository == "apache/kafka":
        assert tag == KAFKA_VERSION  # the version that the tests use


def test_everything_mounted_exists() -> None:
    document = compose()
    for name, service in document["services"].items():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            if source.startswith("."):
                assert (ROOT / source).exists(), f"{name}: {source}"
            else:
                assert source in document["volumes"], f"{name}: {source}"
        for config in service.get("configs", []):
            assert document["configs"][config["source"]]["content"].strip(), f"{name}: {config}"
    used = {config["source"] for service in ALL.values() for config in service.get("configs", [])}
    assert used == set(document["configs"])


@pytest.mark.parametrize("name", OURS)
def test_every_variable_is_a_setting(name: str) -> None:
    settings = load_settings(None, environment_of(OURS[name])).settings
    host, port = settings.kafka.bootstrap_servers.split(":")
    assert (host in ALL) and int(port) == 19092
    if settings.telemetry.otlp_endpoint is not None:
        assert re.fullmatch(r"http://(otel-collector):4318/?", str(settings.telemetry.otlp_endpoint))


@pytest.mark.parametrize("name", OURS)
def test_commands_parse(name: str) -> None:
    # Unknown commands and options are reported even with --help. test_compose_runs.py tests that the commands run.
    assert main([*OURS[name]["command"], "--help"]) == 0


def test_the_root_file_system_of_ours_is_read_only() -> None:
    for name, service in OURS.items():
        assert service["read_only"] is True and service["tmpfs"] == "/tmp", name
        assert service["cap_drop"] == ["ALL"] and service["security_opt"] == ["no-new-privileges:true"], name
        # Compose cannot put files without a path of their own into such a container.
        assert "configs" not in service, name


def test_only_this_machine_gets_in() -> None:
    for name, service in ALL.items():
        for port in service.get("ports", []):
            assert port.startswith("127.0.0.1:"), f"{name}: {port}"


def needs(name: str, among: Mapping[str, Any]) -> Iterator[str]:
    yield name
    wanted = among[name].get("depends_on", {})
    for other in wanted:
        required = not isinstance(wanted, dict) or wanted[other].get("required", True)
        assert other in among or not required, f"{name} needs {other}"
        if other in among:
            yield from needs(other, among)


def test_the_bare_minimum_is_what_the_worker_needs() -> None:
    assert set(needs("worker", services())) == {"worker", "kafka", "topics", "model"}


def test_three_brokers_and_three_copies() -> None:
    usual, replicated = services(), services(profile="three-brokers")
    for name in replicated:
        set(needs(name, replicated))
    assert set(replicated) - set(usual) == {"kafka-2", "kafka-3", "internal-topics", "topics-replicated"}
    assert "internal-topics" in set(needs("worker", replicated))
    brokers = [service["environment"] for name, service in replicated.items() if name.startswith("kafka")]
    assert sorted(each["KAFKA_NODE_ID"] for each in brokers) == ["1", "2", "3"]
    assert len({each["CLUSTER_ID"] for each in brokers}) == 1
    for _name, service in replicated.items():
        for port in service.get("ports", []):
            assert [p for s in replicated.values() for p in s.get("ports", [])].count(port) == 1


def inline(name: str) -> Any:
    return yaml.safe_load(compose()["configs"][name]["content"])


def test_the_collector_passes_traces_on_to_jaeger() -> None:
    config = inline("otel-collector")
    for pipeline in config["service"]["pipelines"].values():
        for kind in ("receivers", "processors", "exporters"):
            assert set(pipeline[kind]) <= set(config[kind])
    assert config["exporters"]["otlp"]["endpoint"] == "jaeger:4317"
    assert config["receivers"]["otlp"]["protocols"]["http"]["endpoint"].endswith(":4318")


def test_prometheus_finds_workers_and_rules() -> None:
    config = inline("prometheus")
    mounted = [volume.split(":")[1] for volume in ALL["prometheus"]["volumes"]]
    assert set(config["rule_files"]) <= set(mounted)
    (found,) = config["scrape_configs"][0]["dns_sd_configs"]
    settings = load_settings(None, environment_of(OURS["worker"])).settings
    assert found["names"] == ["worker", "aggregator", "evaluator"] and found["port"] == settings.admin.port


def test_promtool_accepts_the_configuration(tmp_path: Path) -> None:
    promtool = needed(lambda: find_promtool(os.environ))
    config = tmp_path / "prometheus.yml"
    rules = str(ROOT / "helm/files/alerts/forebay.rules.yaml")
    config.write_text(
        compose()["configs"]["prometheus"]["content"].replace("/etc/prometheus/forebay.rules.yaml", rules)
    )
    said = subprocess.run([promtool, "check", "config", config], capture_output=True, text=True, check=False)
    assert said.returncode == 0 and "rules found" in said.stdout, said.stdout + said.stderr


def test_grafana_opens_on_a_dashboard_that_exists() -> None:
    grafana = ALL["grafana"]
    (source, target) = next(volume.split(":")[:2] for volume in grafana["volumes"] if volume.startswith("."))
    first = Path(grafana["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"])
    assert first.parent == Path(target) and (ROOT / source / first.name).is_file()
    assert inline("grafana-dashboards")["providers"][0]["options"]["path"] == target
    datasources = inline("grafana-datasources")["datasources"]
    assert [each["uid"] for each in datasources if each.get("isDefault")] == ["prometheus"]
    for each in datasources:
        service, port = re.fullmatch(r"http://([a-z-]+):(\d+)", each["url"]).groups()  # type: ignore[union-attr]
        assert any(published.endswith(f":{port}") for published in ALL[service]["ports"])
